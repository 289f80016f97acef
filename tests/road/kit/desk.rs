//! The desk at which a test operates a road.

use std::sync::Arc;

use knarr_guard::desk::{Doors, Sagas};
use knarr_guard::notice::Sender;
use knarr_guard::{Desk, Order};
use knarr_model::format::masstransit::Host;
use knarr_model::ports::Clock;
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, InstanceId, Name};
use knarr_saga::definition::Definition;
use knarr_testkit::memory::MemoryStore;

/// The sagas of a road: each is fed by an endpoint of its name.
pub(super) struct Known(pub(super) Vec<Arc<dyn Definition>>);

impl Known {
    fn find(&self, name: &Name) -> Option<&Arc<dyn Definition>> {
        self.0.iter().find(|saga| saga.name() == name)
    }
}

impl Sagas for Known {
    fn endpoint(&self, saga: &Name) -> Option<Name> {
        self.find(saga).map(|saga| saga.name().clone())
    }

    fn subscriptions(&self, endpoint: &Name) -> Vec<Subscription> {
        self.find(endpoint).map(|saga| saga.subscriptions()).unwrap_or_default()
    }

    fn check(&self, endpoint: &Name, envelope: &Envelope) -> Result<(), String> {
        let saga = self.find(endpoint).ok_or("nobody reads it")?;
        saga.correlate(envelope).map(drop).map_err(|bad| bad.to_string())
    }

    fn purge_steps(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Vec<knarr_model::Statement> {
        self.find(saga).map(|saga| saga.purge_steps(instance, run)).unwrap_or_default()
    }
}

/// A desk over the memory store.
pub(super) fn desk(store: &MemoryStore, clock: Arc<dyn Clock>, sagas: Known) -> Desk {
    let doors = Doors {
        guarded: Arc::new(store.clone()),
        records: Arc::new(store.clone()),
        incidents: Arc::new(store.clone()),
        clock,
        sagas: Arc::new(sagas),
    };
    let address = "rabbitmq://localhost/errand".to_owned();
    Desk::new(doors, Sender { address, host: Host::default() })
}

/// Somebody at the desk.
pub(crate) fn anna() -> Order {
    Order::by("anna")
}
