//! Seeded simulation: the real engine over a simulated broker, store, clock and activities, with a
//! checker that knows what must be true of every history.

#![expect(
    clippy::disallowed_methods,
    reason = "the world is what the engine's clock runs on: its time is tokio's, paused"
)]

mod activities;
mod broker;
mod commits;
mod crash;
mod dice;
mod guard;
mod ledger;
mod mutation;
mod node;
mod operator;
mod oracle;
mod plan;
mod run;
mod script;
mod store;
pub mod toy;
mod transport;
mod twice;
mod verbs;
mod world;

pub use dice::Faults;
pub use mutation::Mutation;
pub use plan::Plan;
pub use run::{Outcome, simulate};
