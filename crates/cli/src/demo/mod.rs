//! `knarr demo`: the whole of it on one machine, without broker, database, network or keys.

mod contained;
mod expected;
mod play;
mod show;
mod urls;
mod verb;

pub(crate) use verb::{command, run};
