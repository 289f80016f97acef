//! What the road's tests stand on: broker, store, outside world, nodes, and two small sagas.

mod acts;
mod crash;
mod desk;
mod due;
mod errand;
mod guarded;
mod harness;
mod letters;
mod node;
mod outside;
mod recorded;
mod shelf;
pub(crate) mod ticket;
mod tracer;
mod watch;
mod wire;

pub(crate) use acts::{ask, cancel, cry, dare, fails, fails_first, respond, send, set, tell};
pub(crate) use desk::anna;
pub(crate) use errand::{
    Act, Ask, Begin, Cried, Go, Later, Never, Phase, Shrug, Told, errand, errand_with,
};
pub(crate) use harness::{Road, id, millis_between};
pub(crate) use outside::{Answer, Tried};
pub(crate) use recorded::Recorded;
pub(crate) use shelf::{Fault, Op};
pub(crate) use tracer::attribute;
pub(crate) use wire::{Reply, Sent};
