//! The only backoff arithmetic: from an attempt's number to the delay before the next.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often something is tried, and how long it waits in between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// The delay before the second attempt.
    pub first: Duration,
    /// What each further delay is multiplied by, in percent; 100 keeps it the same.
    pub growth_percent: u32,
    /// No delay is longer.
    pub longest: Duration,
}

impl RetryPolicy {
    /// One attempt, no retry.
    pub fn none() -> Self {
        RetryPolicy {
            attempts: 1,
            first: Duration::ZERO,
            growth_percent: 100,
            longest: Duration::ZERO,
        }
    }

    /// `attempts` in all, the same delay between them.
    pub fn fixed(attempts: u32, delay: Duration) -> Self {
        RetryPolicy { attempts, first: delay, growth_percent: 100, longest: delay }
    }

    /// `attempts` in all, each delay twice the one before, at most `longest`.
    pub fn doubling(attempts: u32, first: Duration, longest: Duration) -> Self {
        RetryPolicy { attempts, first, growth_percent: 200, longest }
    }

    /// The delay after attempt number `attempt` (from 1) failed; `None` when it was the last one.
    ///
    /// `spread` (0 ..= 999, from the clock port) takes up to a quarter off, so that many do not
    /// return at once.
    pub fn delay_after(&self, attempt: u32, spread: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        Some(self.backoff(attempt, spread))
    }

    /// The delay after failure number `attempt`, however many attempts there are.
    pub fn backoff(&self, attempt: u32, spread: u32) -> Duration {
        let longest = self.longest.max(self.first);
        let mut delay = self.first;
        for _ in 1..attempt.min(64) {
            delay = (delay.saturating_mul(self.growth_percent) / 100).min(longest);
        }
        delay - delay / 4000 * spread.min(999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_stops_at_the_longest_and_at_the_last_attempt() {
        let policy = RetryPolicy::doubling(4, Duration::from_secs(1), Duration::from_secs(3));
        let delays: Vec<_> = (1..=4).map(|n| policy.delay_after(n, 0)).collect();
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(delays, [seconds(1), seconds(2), seconds(3), None]);
    }

    #[test]
    fn pe_079_spread_takes_at_most_a_quarter_and_comes_again() {
        let policy = RetryPolicy::fixed(9, Duration::from_secs(4));
        assert!(policy.backoff(1, 999) > Duration::from_secs(3));
        assert_eq!(policy.backoff(60, 0), Duration::from_secs(4));
        let bounds = Duration::from_secs(3)..=Duration::from_secs(4);
        for spread in 0..10_000 {
            let delay = policy.backoff(1, spread);
            assert!(bounds.contains(&delay), "{delay:?}");
            assert_eq!(policy.backoff(1, spread), delay, "the same number, the same delay");
        }
    }

    #[test]
    fn no_policy_overflows_and_none_waits_longer_than_its_longest() {
        let huge = RetryPolicy::doubling(u32::MAX, Duration::from_secs(1), Duration::MAX);
        assert!(huge.backoff(u32::MAX, 999) > Duration::from_secs(1 << 50));
        let policy = RetryPolicy::doubling(9, Duration::from_secs(8), Duration::from_secs(2));
        assert_eq!(policy.backoff(5, 0), Duration::from_secs(8), "the first delay is never cut");
        assert_eq!(RetryPolicy::none().delay_after(1, 0), None);
        assert_eq!(policy.delay_after(0, 0), Some(Duration::from_secs(8)));
    }
}
