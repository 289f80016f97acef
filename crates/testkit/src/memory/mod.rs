//! A store in memory: every table a sorted map, time from a clock port, answers always the same.

mod calls;
mod claims;
mod commit;
mod crash;
mod due;
mod guarded;
mod incidents;
mod load;
mod nodes;
mod outbox;
mod parked;
mod permits;
mod plan;
mod purge;
mod records;
mod rows;
mod scene;
mod store;

pub use rows::{CallRow, Claimed, InstanceRow, JournalEntry, Mutations, OutboxRow, Rows};
pub use store::MemoryStore;
