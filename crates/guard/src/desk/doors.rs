//! What the desk stands on: the store's doors, the clock, and what is known of the sagas.

use std::sync::Arc;

use knarr_model::Statement;
use knarr_model::ports::guard::Guarded;
use knarr_model::ports::{Clock, Incidents, Records};
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, InstanceId, Name};

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
