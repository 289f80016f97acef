//! What goes wrong in a store, classed where it arises.

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Away, overloaded, deadlocked, timed out: nobody's fault, try again.
    #[error("store: {0}")]
    Transient(String),
    /// The data of a message cannot be stored (SQLSTATE 22, 23).
    #[error("store refused the data: {0}")]
    Data(String),
    /// Something that trying again will not mend, such as a newer schema.
    #[error("store: {0}")]
    Fatal(String),
}

impl StoreError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Transient(_))
    }

    /// Whether some message's data are at fault (behaviours 12).
    pub fn is_data(&self) -> bool {
        matches!(self, StoreError::Data(_))
    }
}
