//! What the guard asks of a store, case by case: scenes under the closed fence, plans as one write.

mod fixture;
mod list;
mod plan;
mod runs;
pub mod world;

pub mod blocks;
pub mod counts;
pub mod dry;
pub mod halts;
pub mod incidents;
pub mod order;
pub mod purges;
pub mod restores;
pub mod rows;
pub mod steps;

pub use fixture::{GuardUnderTest, Guards};
pub use list::GUARD_CASES;
pub use plan::halting_purge;
pub use runs::full_run;
pub use world::GuardWorld;
