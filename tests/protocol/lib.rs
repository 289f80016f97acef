//! The guard's protocol as a model: every order of the steps of two nodes, operators and a crash.

pub mod bounds;
mod commit;
mod desk;
mod history;
mod look;
mod model;
mod node;
mod plan;
mod promises;
mod relay;
mod rules;
mod seen;
mod step;
mod walk;
mod words;
mod world;

pub use model::{Counts, check, counterexample};
pub use rules::{Bounds, Kind, Protocol, Reaction, Rule, Verb};
pub use step::Step;
pub use walk::{Ends, walk};
