//! `knarr bench`: the engine beside a bare forwarder and beside one message a transaction, in one run.

mod machine;
mod queues;
mod report;
mod rounds;

pub use report::{Report, Variant};
pub use rounds::{Bench, Error};
