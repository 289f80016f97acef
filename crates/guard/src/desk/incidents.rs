//! Orders about incidents: retry, resolve, discard.

use knarr_model::ports::guard::{Plan, Refusal, Scene};
use uuid::Uuid;

use super::asking::{Answer, Desk, Error, unknown};
use crate::called::Called;
use crate::incident;
use crate::order::{Moment, Order};

impl Desk {
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

    pub(super) async fn end_incident(
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
}

fn on_incident(verb: &'static str, id: Uuid) -> Called {
    Called::on(verb, format!("incident {id}"))
}
