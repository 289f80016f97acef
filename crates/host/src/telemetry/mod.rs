//! Traces and metrics for a collector, over OTLP: taken without waiting, sent beside everything else.

mod exported;
mod metrics;
mod queue;
mod running;
mod sampler;
mod target;
mod teller;
mod traces;
mod wire;

pub(crate) use exported::Exported;
pub(crate) use running::{Plan, Telemetry, Who};
pub(crate) use sampler::Sampler;
pub(crate) use target::Target;
