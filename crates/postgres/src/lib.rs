//! Store over Postgres: one short transaction a batch, fences that halt, rows that wait.

mod activities;
mod claims;
mod commit;
mod correlation;
mod due;
mod endpoints;
mod error;
mod guard_stub;
mod instances;
mod journal;
mod load;
mod migrate;
mod nodes;
mod origins;
mod outbox;
mod parked;
mod permits;
mod pools;
mod purge;
mod quarantine;
mod records;
mod rows;
mod schema;
mod scripts;
mod session;
mod settings;
mod signal;
mod statements;
mod store;
mod timers;
mod writes;

pub use error::Error;
pub use migrate::{SCHEMA_VERSION, drop_schema, migrate};
pub use settings::Settings;
pub use store::Store;
