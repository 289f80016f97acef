//! The suites that every store and transport has to pass: here their behaviour is specified.

pub mod guard;
mod list;
mod run;
pub mod store;
pub mod transport;

pub use list::STORE_CASES;
pub use run::{run_guard_case, run_store_case};
