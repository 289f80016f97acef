//! From delivery to commit: endpoint → router → lane → batch → step → settle.

mod batch;
mod effects;
mod endpoint;
mod fold;
mod lane;
mod router;
mod settle;
mod step;

pub(crate) use endpoint::{serve, watch};
pub(crate) use lane::run as run_lane;
pub(crate) use router::{lane_of_row as lane_instance, of_ended, of_parked, of_timer};
