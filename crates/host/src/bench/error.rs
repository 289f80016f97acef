//! What keeps a bench from measuring.

use std::time::Duration;

use knarr_model::ports::guard::Refusal;
use knarr_model::ports::{StoreError, TransportError};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The queue could not be filled.
    #[error("a message of the bench was not taken: {0}")]
    Filling(String),
    /// The broker.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A halt or its end was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The fleet did not become as it should.
    #[error("after {0:?} the queue did not have {1} consumers, or not all of them had told")]
    Consumers(Duration, u32),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] knarr_engine::Error),
    /// Not everything came through.
    #[error("after {0:?} only {1} of {2} events had been applied")]
    Stuck(Duration, u64, usize),
}
