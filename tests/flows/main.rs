//! The whole house in one process, on the embedded default: in over the API, out as messages.

mod clocks;
mod house;
mod scans;
mod starts;
mod stuck;
mod telemetry;
