//! Why a client cannot be made.

/// Why a client cannot be made. Requests fail with a [`crate::Failure`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting cannot be used.
    #[error("the web client cannot be made: {0}")]
    Setup(String),
}
