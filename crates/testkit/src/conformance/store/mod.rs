//! What a store does, case by case. Where the design leaves a choice, the case's doc is the rule.

mod stores;
mod values;
pub mod world;

pub mod calls;
pub mod claims;
pub mod commits;
pub mod crashes;
pub mod exact;
pub mod fences;
pub mod finished;
pub mod holders;
pub mod keys;
pub mod losses;
pub mod nodes;
pub mod outbox;
pub mod parked;
pub mod permits;
pub mod purges;
pub mod quarantine;
pub mod races;
pub mod reading;
pub mod statements;
pub mod texts;
pub mod timers;
pub mod unclaimed;

pub use stores::{Hook, Sql, StoreUnderTest, Stores};
pub use world::World;
