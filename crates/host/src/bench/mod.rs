//! `knarr bench`: the engine beside a bare forwarder and beside one message a transaction, in one run.

mod error;
mod machine;
mod queues;
mod report;
mod rounds;

pub(crate) use report::{Report, median};
pub(crate) use rounds::Bench;
