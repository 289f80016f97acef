//! The real clock: wall-clock time, tokio's timers, random ids. The only place that takes them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::ports::Clock;
use uuid::Uuid;

/// Time and chance as the machine gives them.
#[derive(Clone, Debug)]
pub struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock port's one real implementation"
    )]
    pub fn new() -> Self {
        SystemClock { began: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock port's one real implementation")]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn random(&self, below: u32) -> u32 {
        // The first 32 bits of a random UUID are all random; the product's upper half is below `below`.
        let (random, ..) = Uuid::new_v4().as_fields();
        ((u64::from(random) * u64::from(below)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_stay_below_their_bound_and_reach_all_of_it() {
        let clock = SystemClock::new();
        let mut seen = [false; 8];
        for _ in 0..2000 {
            seen[clock.random(8) as usize] = true;
        }
        assert_eq!(seen, [true; 8]);
        assert_eq!((clock.random(0), clock.random(1)), (0, 0));
    }

    #[test]
    fn ids_are_fresh_and_ordered_by_time() {
        let clock = SystemClock::new();
        let ids: Vec<_> = (0..100).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted());
        assert!(ids.windows(2).all(|two| two[0] != two[1]));
    }
}
