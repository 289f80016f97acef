//! From committed rows to what they ask for: due rows to lanes, chunks to the wire, calls to activities.

mod activities;
mod attempted;
mod backlog;
mod counts;
mod lease;
mod relay;
mod rounds;
mod scheduler;
mod sent;
mod suspect;
mod sweep;
mod unclaimed;

pub(crate) use activities::run as run_calls;
pub(crate) use counts::run as run_counts;
pub(crate) use lease::keep as keep_lease;
pub(crate) use relay::{RelaySeat, run as run_relay, take_over};
pub(crate) use rounds::run as look_round;
pub(crate) use scheduler::run as run_scheduler;
pub(crate) use sweep::run as run_sweep;
pub(crate) use unclaimed::run as look_for_unclaimed;
