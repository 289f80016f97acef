//! Stops, cleans up, sets aside: tokens, halts, containment, quarantine and the way back from it.
//!
//! Every verb is a pure plan over what the store shows under the endpoint's closed fence
//! (`knarr_model::ports::guard`); [`Desk`] is where people and programs ask for one.

pub mod admit;
pub mod blocks;
pub mod breaker;
mod called;
pub mod contain;
pub mod desk;
pub mod halt;
mod halted;
pub mod incident;
pub mod losses;
pub mod notice;
pub mod order;
pub mod peers;
pub mod purge;
pub mod release;
#[cfg(test)]
mod scenes;
pub mod suspect;
pub mod token;
pub mod verdict;

pub use admit::{Admission, admit};
pub use blocks::{Blocks, Met};
pub use breaker::{Breaker, BreakerSettings};
pub use contain::{Failing, Failure, contain};
pub use desk::{Answer, Desk, Error};
pub use halted::NodeHalt;
pub use order::{GUARD, Moment, Order};
pub use peers::{Lately, PeerSettings, stands_out};
pub use suspect::{CrashSettings, Holder, Trial};
pub use token::{CallToken, Tokens};
pub use verdict::{Verdict, judge};
