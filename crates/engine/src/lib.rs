//! From delivery to commit, and from commit to the wire: the road that every message travels.

mod delivery;
mod dispatch;
mod engine;
mod error;
mod hand;
mod node;
mod receive;
mod route;
mod settings;
mod shared;
mod spans;
mod standing;
mod telemetry;
mod unsent;
mod waits;

pub use engine::{Engine, Health, Running};
pub use error::Error;
#[cfg(feature = "mutations")]
pub use settings::Mutations;
pub use settings::{Retention, Settings};
pub use shared::Ports;
pub use telemetry::{Counters, Reading, Reported};
