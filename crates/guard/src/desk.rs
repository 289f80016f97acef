//! Where people and programs ask for a verb: it finds the endpoint, asks under its fence, answers.

use std::sync::Arc;

use bytes::Bytes;
use knarr_model::Statement;
use knarr_model::incident::{Audit, Incident};
use knarr_model::ports::guard::{Ask, Decide, Guarded, Plan, Refusal, Run, Scene};
use knarr_model::ports::records::{PageRequest, QuarantineFilter};
use knarr_model::ports::{Clock, Incidents, Records, StoreError};
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::topology::Subscription;
use knarr_model::{Class, Envelope, InstanceId, MessageId, Name, NodeId, RowId};
use serde::Serialize;
use uuid::Uuid;

use crate::called::Called;
use crate::halted::{self, NodeHalt};
use crate::notice::{Sender, announce};
use crate::order::{Moment, Order};
use crate::{halt, incident, purge, release};

/// What the desk must know of the sagas: how they read messages, and what they remove.
pub trait Sagas: Send + Sync {
    /// The endpoint that feeds a saga.
    fn endpoint(&self, saga: &Name) -> Option<Name>;

    /// What an endpoint takes.
    fn subscriptions(&self, endpoint: &Name) -> Vec<Subscription>;

    /// Whether the saga of an endpoint takes this message.
    ///
    /// # Errors
    /// Why it does not, for people.
    fn check(&self, endpoint: &Name, envelope: &Envelope) -> Result<(), String>;

    /// The saga's purge steps for one run.
    fn purge_steps(&self, saga: &Name, instance: InstanceId, run: u32) -> Vec<Statement>;
}

/// The doors that the desk needs.
#[derive(Clone)]
pub struct Doors {
    /// Verbs.
    pub guarded: Arc<dyn Guarded>,
    /// What there is.
    pub records: Arc<dyn Records>,
    /// Incidents and the audit.
    pub incidents: Arc<dyn Incidents>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// The sagas that this process knows.
    pub sagas: Arc<dyn Sagas>,
}

/// Takes orders. Every verb is one transaction and one line of the audit; a dry run is neither.
#[derive(Clone)]
pub struct Desk {
    doors: Doors,
    sender: Sender,
}

/// What an order did, or would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The audit's line.
    pub audit: Audit,
    /// Whether nothing was written: it was only shown.
    pub dry_run: bool,
    /// Whether this is the answer to an earlier request under the same key.
    pub repeated: bool,
    /// The incident that was opened or ended.
    pub incident: Option<Incident>,
    /// Of a halt: what each live node that serves the endpoint did with what it had in hand.
    pub nodes: Option<Vec<NodeHalt>>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be, as things stand.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tries of a verb whose scene changed while it was looked at.
const TRIES: usize = 5;
/// Messages in one bulk verb at most; more are left for the next.
pub const BULK: usize = 500;

impl Desk {
    /// A desk over these doors.
    pub fn new(doors: Doors, sender: Sender) -> Desk {
        Desk { doors, sender }
    }

    /// Stops an endpoint, and tells what the nodes did with what they had in hand: waits for them,
    /// for two seconds at most.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`Refusal::Unknown`] for an endpoint that never was.
    pub async fn halt(&self, order: &Order, endpoint: &Name) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let at = self.moment(order);
        let called = Called::on("halt", &**endpoint);
        let mut done = self.ask(&at, at.ask(endpoint), called, halt::halt).await?;
        if done.dry_run {
            return Ok(done);
        }
        // It is in force, whether or not the store can say more about it now.
        done.nodes = self.halted(endpoint).await.unwrap_or_default();
        Ok(done)
    }

    /// What the nodes did with what they had in hand of a halted endpoint.
    async fn halted(&self, endpoint: &Name) -> Result<Option<Vec<NodeHalt>>, StoreError> {
        let rows = self.doors.records.endpoints().await?;
        let Some(row) = rows.into_iter().find(|row| row.name == *endpoint) else {
            return Ok(None);
        };
        let (guarded, clock) = (&*self.doors.guarded, &*self.doors.clock);
        halted::nodes(guarded, clock, &row).await.map(Some)
    }

    /// Stops an endpoint's intake.
    ///
    /// # Errors
    /// As [`Desk::halt`]; a conflict when it is halted.
    pub async fn pause(&self, order: &Order, endpoint: &Name) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let at = self.moment(order);
        self.ask(&at, at.ask(endpoint), Called::on("pause", &**endpoint), halt::pause).await
    }

    /// Opens an endpoint, at once or after a careful try.
    ///
    /// # Errors
    /// As [`Desk::halt`].
    pub async fn resume(
        &self,
        order: &Order,
        endpoint: &Name,
        probe: bool,
    ) -> Result<Answer, Error> {
        self.known_endpoint(endpoint).await?;
        let at = self.moment(order);
        let called = Called::on("resume", &**endpoint);
        self.ask(&at, at.ask(endpoint), called, move |scene, at| halt::resume(scene, at, probe))
            .await
    }

    /// Notes that somebody sent a message by hand, once the broker has it; a dry order only asks
    /// whether its key is free. `endpoint` takes the message, or is any that this process serves.
    ///
    /// # Errors
    /// Invalid when the key is another order's.
    pub async fn note_sent(
        &self,
        order: &Order,
        endpoint: &Name,
        message: MessageId,
        exchange: &str,
    ) -> Result<Answer, Error> {
        let at = self.moment(order);
        let target = format!("message {message}");
        let done = format!("{target} went to the exchange {exchange}");
        let called = Called::on("send", target.clone());
        self.ask(&at, at.ask(endpoint), called, move |scene, at| {
            let line = at.line("send", &target, &scene.endpoint.name, vec![done.clone()]);
            Ok(Plan { audit: Some(line), ..Plan::default() })
        })
        .await
    }

    /// Ends a run and removes everything of it, the saga's own entries included.
    ///
    /// # Errors
    /// Unknown instances; a conflict when the run has ended.
    pub async fn purge(&self, order: &Order, saga: &Name, id: InstanceId) -> Result<Answer, Error> {
        self.end_run(order, saga, id, Class::Purged).await
    }

    /// Ends a run; what the saga wrote elsewhere stays, and the run can be resumed.
    ///
    /// # Errors
    /// As [`Desk::purge`].
    pub async fn cancel(
        &self,
        order: &Order,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Answer, Error> {
        self.end_run(order, saga, id, Class::Cancelled).await
    }

    async fn end_run(
        &self,
        order: &Order,
        saga: &Name,
        id: InstanceId,
        class: Class,
    ) -> Result<Answer, Error> {
        let endpoint = self.doors.sagas.endpoint(saga);
        let Some(endpoint) = endpoint else {
            return Err(unknown(format!("there is no saga {saga} here")));
        };
        let at = self.moment(order);
        let mut ask = at.ask(&endpoint);
        ask.instance = Some((saga.clone(), id));
        let verb = if class == Class::Cancelled { "cancel" } else { "purge" };
        let called = Called::on(verb, format!("{saga}/{id}"));
        let (sagas, saga) = (self.doors.sagas.clone(), saga.clone());
        self.ask(&at, ask, called, move |scene, at| {
            let run = scene.whole.as_ref().map(|whole| whole.instance.run);
            let steps = match (class, run) {
                (Class::Purged, Some(run)) => sagas.purge_steps(&saga, id, run),
                _ => Vec::new(),
            };
            purge::end_run(scene, at, class, steps)
        })
        .await
    }

    /// Brings back the run that an instance's incident keeps.
    ///
    /// # Errors
    /// Unknown instances; a conflict when nothing is kept.
    pub async fn resume_instance(
        &self,
        order: &Order,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Answer, Error> {
        let found = self.doors.records.instance(saga, id).await?;
        let Some(found) = found else {
            return Err(unknown(format!("there is no instance {id} of {saga}")));
        };
        match found.instance.incident {
            Some(incident) => {
                let called = Called::any("retry");
                let done = self.end_incident(order, incident, called, incident::retry).await?;
                of_instance(done, id)
            }
            None => self.resumed_before(order, saga, id).await,
        }
    }

    /// A run that no incident keeps may have been brought back by this very request.
    async fn resumed_before(
        &self,
        order: &Order,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Answer, Error> {
        let none = Refusal::Conflict(format!("instance {id} is not held by an incident"));
        if order.key.is_none() {
            return Err(none.into());
        }
        let endpoint = self.doors.sagas.endpoint(saga).unwrap_or_else(|| saga.clone());
        let at = self.moment(order);
        let called = Called::any("retry");
        let done = self.ask(&at, at.ask(&endpoint), called, move |_, _| Err(none.clone())).await?;
        of_instance(done, id)
    }

    /// Brings a purged run back and tries again.
    ///
    /// # Errors
    /// Unknown incidents; a conflict when it has ended.
    pub async fn retry(&self, order: &Order, id: Uuid) -> Result<Answer, Error> {
        self.end_incident(order, id, on_incident("retry", id), incident::retry).await
    }

    /// Accepts the loss.
    ///
    /// # Errors
    /// As [`Desk::retry`].
    pub async fn resolve(&self, order: &Order, id: Uuid) -> Result<Answer, Error> {
        self.end_incident(order, id, on_incident("resolve", id), incident::resolve).await
    }

    /// Accepts the loss and deletes what was kept.
    ///
    /// # Errors
    /// As [`Desk::retry`].
    pub async fn discard_incident(&self, order: &Order, id: Uuid) -> Result<Answer, Error> {
        self.end_incident(order, id, on_incident("discard", id), incident::discard).await
    }

    async fn end_incident(
        &self,
        order: &Order,
        id: Uuid,
        called: Called,
        verb: fn(&Scene, &Moment) -> Result<Plan, Refusal>,
    ) -> Result<Answer, Error> {
        let found = self.doors.incidents.incident(id).await?;
        let Some(found) = found else {
            return Err(unknown(format!("there is no incident {id}")));
        };
        let at = self.moment(order);
        let mut ask = at.ask(&found.endpoint);
        ask.incident = Some(id);
        ask.instance = found.instance.map(|instance| (found.saga.clone(), instance));
        ask.quarantined.extend(found.quarantined);
        self.ask(&at, ask, called, verb).await
    }

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
        let (sagas, endpoint, more) =
            (self.doors.sagas.clone(), endpoint.clone(), found.next.is_some());
        self.ask(&at, ask, Called::any("release"), move |scene, at| {
            // What somebody else let go meanwhile is no concern of this order.
            let mut scene = scene.clone();
            scene.quarantined.retain(|row| row.status == Status::Held);
            if scene.quarantined.is_empty() {
                return Err(Refusal::Unknown(format!(
                    "nothing of that kind is held at {endpoint}"
                )));
            }
            let read = |row| checked(&*sagas, &endpoint, row);
            let envelopes: Vec<_> = scene.quarantined.iter().map(read).collect();
            let mut plan = release::release(&scene, at, &envelopes)?;
            if let Some(audit) = plan.audit.as_mut().filter(|_| more) {
                audit.done.push(format!("more than {BULK} are held: release again"));
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

    async fn known_endpoint(&self, endpoint: &Name) -> Result<(), Error> {
        let rows = self.doors.records.endpoints().await?;
        if rows.iter().any(|row| row.name == *endpoint) {
            return Ok(());
        }
        Err(unknown(format!("there is no endpoint {endpoint}")))
    }

    /// The incident that an order carried out before opened or ended.
    async fn incident_of(&self, ask: &Ask, audit: &Audit) -> Result<Option<Incident>, Error> {
        let named = audit.target.strip_prefix("incident ").and_then(|id| id.parse().ok());
        let id = match (named, &ask.instance) {
            (Some(id), _) => Some(id),
            (None, Some((saga, id))) => {
                let found = self.doors.records.instance(saga, *id).await?;
                found.and_then(|detail| detail.instance.incident)
            }
            (None, None) => None,
        };
        let Some(id) = id else { return Ok(None) };
        let found = self.doors.incidents.incident(id).await?;
        Ok(found.filter(|it| it.opened_at == audit.at || it.closed_at == Some(audit.at)))
    }

    fn moment(&self, order: &Order) -> Moment {
        let clock = &self.doors.clock;
        Moment {
            order: order.clone(),
            now: clock.now(),
            audit: clock.new_id(),
            incident: clock.new_id(),
            chunk: RowId(clock.new_id()),
            // Nobody's: whichever node is alive takes the messages over and publishes them.
            node: NodeId(Uuid::nil()),
            place: None,
        }
    }

    async fn ask(
        &self,
        at: &Moment,
        ask: Ask,
        called: Called,
        verb: impl Fn(&Scene, &Moment) -> Result<Plan, Refusal> + Send + Sync + 'static,
    ) -> Result<Answer, Error> {
        let (own, sender) = (at.clone(), self.sender.clone());
        let decide: Decide = Arc::new(move |scene| {
            if let Some(before) = &scene.repeated {
                return Err(Refusal::Repeated(Box::new(before.clone())));
            }
            let mut plan = verb(scene, &own)?;
            announce(&mut plan, &own, &sender);
            Ok(plan)
        });
        let mut tries = 0;
        loop {
            tries += 1;
            let done =
                self.doors.guarded.under_fence(ask.clone(), decide.clone(), at.order.run).await?;
            match done {
                Ok(done) => return Ok(answer(done.plan, at)),
                Err(Refusal::Repeated(audit)) => {
                    called.is_the_same(&ask.endpoint, &at.order, &audit)?;
                    let incident = self.incident_of(&ask, &audit).await?;
                    return Ok(Answer {
                        audit: *audit,
                        dry_run: false,
                        repeated: true,
                        incident,
                        nodes: None,
                    });
                }
                Err(Refusal::Changed) if tries < TRIES => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }
}

fn answer(plan: Plan, at: &Moment) -> Answer {
    let audit = plan.audit.unwrap_or_else(|| at.line("", "", &Name::from(""), Vec::new()));
    Answer {
        audit,
        dry_run: at.order.run == Run::Dry,
        repeated: false,
        incident: plan.incidents.into_iter().next(),
        nodes: None,
    }
}

fn on_incident(verb: &'static str, id: Uuid) -> Called {
    Called::on(verb, format!("incident {id}"))
}

/// An earlier request under the same key must have been for this instance.
fn of_instance(done: Answer, id: InstanceId) -> Result<Answer, Error> {
    let same = done.incident.as_ref().is_some_and(|incident| incident.instance == Some(id));
    if same || !done.repeated {
        return Ok(done);
    }
    let text =
        format!("its key was used before, for `retry {}`: take a new one", done.audit.target);
    Err(Error::Refused(Refusal::Invalid(text)))
}

fn checked(sagas: &dyn Sagas, endpoint: &Name, row: &Quarantined) -> Result<Envelope, String> {
    let envelope = release::read(row, &sagas.subscriptions(endpoint))?;
    sagas.check(endpoint, &envelope)?;
    Ok(envelope)
}

fn unknown(text: String) -> Error {
    Error::Refused(Refusal::Unknown(text))
}
