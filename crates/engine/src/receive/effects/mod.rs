//! From what a decision asked for to rows of its slice: one file a kind of effect.

mod activity;
mod each;
mod outgoing;
mod sender;
mod sql;
mod timers;

pub(super) use each::fold;
pub(crate) use sender::Sender;
