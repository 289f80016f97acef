//! From delivery to commit: endpoint → router → lane → batch → step → settle.

mod batch;
mod contain;
mod effects;
mod endpoint;
mod fate;
mod fold;
mod halting;
mod lane;
mod oversight;
mod returned;
mod router;
mod settle;
mod step;
mod suspect;
mod tally;

pub(crate) use endpoint::serve;
pub(crate) use lane::run as run_lane;
pub(crate) use oversight::{hear_verbs, watch};
