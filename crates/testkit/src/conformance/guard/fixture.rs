//! What a case of the guard's suite gets from an adapter.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_model::ports::{Guarded, Incidents};

use crate::conformance::store::Stores;

/// Makes fresh, empty stores with the guard's doors. An adapter writes this and
/// `guard_conformance!`, and no more.
#[async_trait]
pub trait GuardUnderTest: Send + Sync {
    /// A store without rows, as far as its handles can see.
    async fn fresh(&self) -> Guards;
}

/// One fresh store with the guard's doors.
pub struct Guards {
    /// The store's other doors, on the same data.
    pub stores: Stores,
    /// The guard's door of the case's own node.
    pub guard: Arc<dyn Guarded>,
    /// The same through the second handle.
    pub second: Arc<dyn Guarded>,
    /// The reading side.
    pub incidents: Arc<dyn Incidents>,
    /// Whether purge steps are carried out: a store without SQL has nothing that they could touch,
    /// and skips the cases about them.
    pub sql: bool,
}
