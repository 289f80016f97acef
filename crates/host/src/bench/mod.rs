//! `knarr bench`: the engine beside a bare forwarder and beside one message a transaction, in one
//! run; and how soon a halt has reached the last consumer.

mod error;
mod halt_report;
mod halts;
mod machine;
mod queues;
mod report;
mod rounds;

pub(crate) use halt_report::HaltVariant;
pub(crate) use halts::{Halts, Replica};
pub(crate) use report::{Report, median};
pub(crate) use rounds::Bench;
