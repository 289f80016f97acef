//! Orders about set-aside messages: release, edit, discard, unblock, one by one or all that is held.

use bytes::Bytes;
use knarr_model::ports::guard::{Ask, Plan, Refusal, Scene};
use knarr_model::ports::records::{PageRequest, QuarantineFilter};
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::{Class, Envelope, Name};
use uuid::Uuid;

use super::asking::{Answer, Desk, Error, unknown};
use super::doors::Sagas;
use crate::called::Called;
use crate::order::{Moment, Order};
use crate::release;

/// Messages in one bulk verb at most; more are left for the next.
pub const BULK: usize = 500;

impl Desk {
    /// Lets set-aside messages of one endpoint go, each once, under new ids.
    ///
    /// # Errors
    /// Unknown ids; a conflict when one has been released or discarded; invalid when one cannot be
    /// read.
    pub async fn release(&self, order: &Order, ids: &[Uuid]) -> Result<Answer, Error> {
        let (endpoint, ask, at) = self.of_quarantined(order, ids).await?;
        let sagas = self.doors.sagas.clone();
        self.ask(&at, ask, Called::rows("release", ids), move |scene, at| {
            let read = |row| checked(&*sagas, &endpoint, row);
            let envelopes: Vec<_> = scene.quarantined.iter().map(read).collect();
            release::release(scene, at, &envelopes)
        })
        .await
    }

    /// Lets go what is held at an endpoint, of one class or of all, in one transaction: all of it
    /// or nothing, at most [`BULK`] messages.
    ///
    /// # Errors
    /// As [`Desk::release`]; unknown when nothing is held there.
    pub async fn release_held(
        &self,
        order: &Order,
        endpoint: &Name,
        class: Option<Class>,
    ) -> Result<Answer, Error> {
        let (sagas, of) = (self.doors.sagas.clone(), endpoint.clone());
        self.all_held(order, endpoint, class, "release", move |scene, at| {
            let read = |row| checked(&*sagas, &of, row);
            let envelopes: Vec<_> = scene.quarantined.iter().map(read).collect();
            release::release(scene, at, &envelopes)
        })
        .await
    }

    /// Gives up what is held at an endpoint, of one class or of all, as [`Desk::release_held`].
    ///
    /// # Errors
    /// Unknown when nothing is held there.
    pub async fn discard_held(
        &self,
        order: &Order,
        endpoint: &Name,
        class: Option<Class>,
    ) -> Result<Answer, Error> {
        self.all_held(order, endpoint, class, "discard", release::discard).await
    }

    /// A verb on all that is held at an endpoint, in one transaction.
    async fn all_held(
        &self,
        order: &Order,
        endpoint: &Name,
        class: Option<Class>,
        name: &'static str,
        verb: impl Fn(&Scene, &Moment) -> Result<Plan, Refusal> + Send + Sync + 'static,
    ) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let filter = QuarantineFilter {
            status: Some(Status::Held),
            endpoint: Some(endpoint.clone()),
            class,
        };
        let page = PageRequest { limit: BULK, cursor: None };
        let found = self.doors.records.quarantine(&filter, &page).await?;
        let at = self.moment(order);
        let mut ask = at.ask(endpoint);
        ask.quarantined = found.items.into_iter().map(|row| row.id).collect();
        let (endpoint, more) = (endpoint.clone(), found.next.is_some());
        self.ask(&at, ask, Called::any(name), move |scene, at| {
            // What somebody else let go meanwhile is no concern of this order.
            let mut scene = scene.clone();
            scene.quarantined.retain(|row| row.status == Status::Held);
            if scene.quarantined.is_empty() {
                return Err(Refusal::Unknown(format!(
                    "nothing of that kind is held at {endpoint}"
                )));
            }
            let mut plan = verb(&scene, at)?;
            if let Some(audit) = plan.audit.as_mut().filter(|_| more) {
                audit.done.push(format!("more than {BULK} are held: {name} again"));
            }
            Ok(plan)
        })
        .await
    }

    /// Replaces what a set-aside message says, if its endpoint takes it so.
    ///
    /// # Errors
    /// As [`Desk::release`]; invalid says what is wrong with the new body.
    pub async fn edit(
        &self,
        order: &Order,
        id: Uuid,
        body: Bytes,
        content_type: Option<String>,
    ) -> Result<Answer, Error> {
        let (endpoint, ask, at) = self.of_quarantined(order, &[id]).await?;
        let sagas = self.doors.sagas.clone();
        self.ask(&at, ask, Called::rows("edit", &[id]), move |scene, at| {
            let media = content_type.as_deref();
            let row = scene.quarantined.first();
            let check = row.map_or(Err(String::new()), |row| {
                checked(&*sagas, &endpoint, &release::as_edited(row, &body, media))
            });
            release::edit(scene, at, &body, media, &check)
        })
        .await
    }

    /// Gives set-aside messages of one endpoint up.
    ///
    /// # Errors
    /// As [`Desk::release`].
    pub async fn discard(&self, order: &Order, ids: &[Uuid]) -> Result<Answer, Error> {
        let (_, ask, at) = self.of_quarantined(order, ids).await?;
        self.ask(&at, ask, Called::rows("discard", ids), release::discard).await
    }

    /// Lets copies of a set-aside start message start runs again.
    ///
    /// # Errors
    /// Unknown ids; a conflict when it blocks nothing.
    pub async fn unblock(&self, order: &Order, id: Uuid) -> Result<Answer, Error> {
        let (_, ask, at) = self.of_quarantined(order, &[id]).await?;
        self.ask(&at, ask, Called::rows("unblock", &[id]), release::unblock).await
    }

    async fn of_quarantined(
        &self,
        order: &Order,
        ids: &[Uuid],
    ) -> Result<(Name, Ask, Moment), Error> {
        let Some(first) = ids.first() else {
            return Err(Error::Refused(Refusal::Invalid("no message is named".to_owned())));
        };
        let found = self.doors.records.quarantined(*first).await?;
        let Some(found) = found else {
            return Err(unknown(format!("there is no set-aside message {first}")));
        };
        let at = self.moment(order);
        let mut ask = at.ask(&found.endpoint);
        ask.quarantined = ids.to_vec();
        Ok((found.endpoint, ask, at))
    }
}

fn checked(sagas: &dyn Sagas, endpoint: &Name, row: &Quarantined) -> Result<Envelope, String> {
    let envelope = release::read(row, &sagas.subscriptions(endpoint))?;
    sagas.check(endpoint, &envelope)?;
    Ok(envelope)
}
