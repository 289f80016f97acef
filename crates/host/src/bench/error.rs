//! What keeps a bench from measuring.

use std::time::Duration;

use knarr_model::ports::TransportError;

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
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] knarr_engine::Error),
    /// Not everything came through.
    #[error("after {0:?} only {1} of {2} events had been applied")]
    Stuck(Duration, u64, usize),
}
