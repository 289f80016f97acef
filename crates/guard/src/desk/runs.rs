//! Orders about runs: purge, cancel, and bringing one back.

use knarr_model::ports::guard::Refusal;
use knarr_model::{Class, InstanceId, Name};

use super::asking::{Answer, Desk, Error, unknown};
use crate::called::Called;
use crate::order::Order;
use crate::{incident, purge};

impl Desk {
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
