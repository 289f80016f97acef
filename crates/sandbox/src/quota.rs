//! A quota per minute and per day, in windows that turn with the clock.

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use std::time::Duration;

/// Requests allowed in each of several windows.
pub(crate) struct Quota {
    windows: Vec<(u32, Duration)>,
    used: Mutex<Vec<(i64, u32)>>,
}

impl Quota {
    pub(crate) fn new(windows: Vec<(u32, Duration)>) -> Self {
        let used = Mutex::new(vec![(i64::MIN, 0); windows.len()]);
        Quota { windows, used }
    }

    /// Takes one request from every window, or says how long until there is one to take.
    pub(crate) fn take(&self, now: DateTime<Utc>) -> Result<(), Duration> {
        let mut used = self.used.lock();
        let now = now.timestamp_millis();
        let mut wait = None;
        for ((limit, window), (number, count)) in self.windows.iter().zip(used.iter_mut()) {
            let length = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
            let current = now.div_euclid(length);
            if *number != current {
                (*number, *count) = (current, 0);
            }
            if *count >= *limit {
                let left = u64::try_from(length - now.rem_euclid(length)).unwrap_or(0);
                wait = wait.max(Some(Duration::from_millis(left)));
            }
        }
        match wait {
            Some(wait) => Err(wait),
            None => {
                used.iter_mut().for_each(|(_, count)| *count += 1);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a valid time")
    }

    #[test]
    fn four_a_minute_are_four_a_minute() {
        let minute = Duration::from_secs(60);
        let quota = Quota::new(vec![(4, minute), (6, Duration::from_secs(86_400))]);
        for _ in 0..4 {
            assert_eq!(quota.take(at(10)), Ok(()));
        }
        assert_eq!(quota.take(at(15)), Err(Duration::from_secs(45)));
        assert_eq!(quota.take(at(60)), Ok(()));
        assert_eq!(quota.take(at(61)), Ok(()));
        assert_eq!(quota.take(at(62)), Err(Duration::from_secs(86_400 - 62)), "the day is used up");
    }
}
