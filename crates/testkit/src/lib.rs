//! One-line saga tests, private services, conformance suites, seeded simulation.

#[cfg(feature = "engine")]
pub mod around;
pub mod clock;
#[cfg(feature = "collector")]
pub mod collector;
pub mod conformance;
pub mod memory;
pub mod proxy;
pub mod services;
#[cfg(feature = "engine")]
pub mod sim;
mod steering;
#[cfg(feature = "engine")]
pub mod story;

pub use steering::{Change, Steering};
