//! Time, randomness and ids: the only source of each, so that a run can be simulated.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use uuid::Uuid;

/// Time, randomness and fresh ids. Nothing in the engine takes them from elsewhere.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> DateTime<Utc>;

    /// Time since this process began; never goes back.
    fn monotonic(&self) -> Duration;

    /// Returns after `duration`. Cancel-safe.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// A fresh id, ordered by time (UUIDv7).
    fn new_id(&self) -> Uuid;

    /// A number in `0..below`; 0 for `below == 0`.
    fn random(&self, below: u32) -> u32;
}
