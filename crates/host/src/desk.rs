//! The guard's desk over the sagas of this process.

use std::sync::Arc;

use knarr_guard::Desk;
use knarr_guard::desk::{Doors, Sagas};
use knarr_guard::notice::Sender;
use knarr_model::ports::Clock;
use knarr_model::ports::guard::Statement;
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, InstanceId, Name};
use knarr_saga::Definition;

use crate::late::LateStore;

/// The sagas that this process serves. Each is fed by the endpoint that bears its name.
struct Served(Vec<Arc<dyn Definition>>);

impl Served {
    fn get(&self, name: &Name) -> Option<&Arc<dyn Definition>> {
        self.0.iter().find(|saga| saga.name() == name)
    }
}

impl Sagas for Served {
    fn endpoint(&self, saga: &Name) -> Option<Name> {
        self.get(saga).map(|saga| saga.name().clone())
    }

    fn subscriptions(&self, endpoint: &Name) -> Vec<Subscription> {
        self.get(endpoint).map(|saga| saga.subscriptions()).unwrap_or_default()
    }

    fn check(&self, endpoint: &Name, envelope: &Envelope) -> Result<(), String> {
        let Some(saga) = self.get(endpoint) else {
            return Err(format!("this process does not serve {endpoint}"));
        };
        saga.correlate(envelope).map(|_| ()).map_err(|bad| bad.to_string())
    }

    fn purge_steps(&self, saga: &Name, instance: InstanceId, run: u32) -> Vec<Statement> {
        self.get(saga).map(|saga| saga.purge_steps(instance, run)).unwrap_or_default()
    }
}

/// Takes orders for these sagas, once the store is there.
pub(crate) fn desk(
    sagas: &[Arc<dyn Definition>],
    store: &LateStore,
    clock: &Arc<dyn Clock>,
    sender: Sender,
) -> Desk {
    let store = Arc::new(store.clone());
    let doors = Doors {
        guarded: store.clone(),
        records: store.clone(),
        incidents: store,
        clock: clock.clone(),
        sagas: Arc::new(Served(sagas.to_vec())),
    };
    Desk::new(doors, sender)
}
