//! Where people and programs ask for a verb: it finds the endpoint, asks under its fence, answers.

mod asking;
mod doors;
mod endpoints;
mod incidents;
mod quarantine;
mod runs;

pub use asking::{Answer, Desk, Error};
pub use doors::{Doors, Sagas};
pub use quarantine::BULK;
