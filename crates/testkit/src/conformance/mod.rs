//! The suites that every store has to pass: the one place where an adapter's behaviour is specified.

mod list;
mod run;
pub mod store;
pub mod transport;

pub use list::STORE_CASES;
pub use run::run_store_case;
