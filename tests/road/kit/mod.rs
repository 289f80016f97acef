//! What the road's tests stand on: broker, store, outside world, nodes, and two small sagas.

pub(crate) mod errand;
pub(crate) mod harness;
mod node;
pub(crate) mod outside;
pub(crate) mod shelf;
pub(crate) mod ticket;
pub(crate) mod watch;
pub(crate) mod wire;

pub(crate) use errand::{Act, Begin, Cried, Go, Later, Never, Shrug, Told, errand};
pub(crate) use harness::Road;
pub(crate) use outside::Answer;
pub(crate) use shelf::{Fault, Op};
pub(crate) use wire::Reply;
