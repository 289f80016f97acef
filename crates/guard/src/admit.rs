//! Before work: may this endpoint's messages be decided now?

use knarr_model::ports::store::{EndpointRow, EndpointState};

/// What is done with what an endpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everything may be decided.
    Go,
    /// Nothing is taken from the broker; what the store has waiting goes on.
    Internal,
    /// Everything is given back: the broker's messages to their queue, claimed rows to the store.
    Return,
    /// As [`Admission::Return`], though nothing is wrong: another node serves this endpoint.
    Wait,
}

/// Judges by the endpoint's row: the epoch in the store is the truth, a token only a fast signal.
pub fn admit(row: &EndpointRow) -> Admission {
    match row.state {
        EndpointState::Open | EndpointState::Probing => Admission::Go,
        EndpointState::Paused if row.stop.as_ref().is_some_and(|stop| stop.internal_too) => {
            Admission::Return
        }
        EndpointState::Paused => Admission::Internal,
        EndpointState::Halted => Admission::Return,
    }
}
