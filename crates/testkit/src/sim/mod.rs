//! Seeded simulation: the real engine over a simulated broker, store, clock and activities, with a
//! checker that knows what must be true of every history.

#![expect(
    clippy::disallowed_methods,
    reason = "the world is what the engine's clock runs on: its time is tokio's, paused"
)]

mod activities;
mod broker;
mod dice;
mod guard_stub;
mod node;
mod oracle;
mod run;
mod store;
pub mod toy;
mod transport;
mod twice;
mod world;

pub use dice::Faults;
pub use run::{Mutation, Outcome, Plan, simulate};
