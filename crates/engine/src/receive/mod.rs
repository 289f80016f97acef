//! From delivery to commit: endpoint → router → lane → batch → step → settle.

mod apply;
mod batch;
mod before;
mod commit;
mod contain;
mod deliveries;
mod effects;
mod endpoint;
mod fate;
mod fold;
mod halting;
mod lane;
mod oversight;
mod router;
mod settle;
mod step;
mod suspect;
mod tally;
mod transitions;

pub(crate) use endpoint::serve;
pub(crate) use lane::run as run_lane;
pub(crate) use oversight::{hear_verbs, watch};
