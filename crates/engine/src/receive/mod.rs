//! From delivery to commit: endpoint → router → lane → batch → step → settle.

mod batch;
mod effects;
mod endpoint;
mod fate;
mod fold;
mod lane;
mod returned;
mod router;
mod settle;
mod step;
mod tombstone;

pub(crate) use endpoint::{serve, watch};
pub(crate) use lane::run as run_lane;
