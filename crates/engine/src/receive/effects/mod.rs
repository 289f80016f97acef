//! From what a decision asked for to rows of its slice: one file a kind of effect.

mod activity;
mod address;
mod each;
mod fault;
mod mirror;
mod outgoing;
mod sender;
mod sql;
mod timers;

pub(super) use each::fold;
pub(super) use fault::{Why, fault, receive_fault};
pub(super) use mirror::{QUARANTINE_ID, mirror};
pub(crate) use sender::Sender;
