//! Many messages failing at once is a bad deploy, not bad messages: the endpoint pauses.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use knarr_model::InstanceId;

/// When the breaker trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Whether it trips at all.
    pub on: bool,
    /// Decisions looked back on.
    pub window: usize,
    /// Failures among them.
    pub failures: usize,
    /// From at least so many instances.
    pub instances: usize,
    /// Older decisions do not count.
    pub within: Duration,
    /// After how long one node tries whether it goes again; none waits for a person.
    pub restart_after: Option<Duration>,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        BreakerSettings {
            on: true,
            window: 40,
            failures: 20,
            instances: 5,
            within: Duration::from_secs(60),
            restart_after: Some(Duration::from_secs(60)),
        }
    }
}

/// The last decisions of one endpoint on this node.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// When, and whose failure it was.
    last: VecDeque<(Duration, Option<Option<InstanceId>>)>,
}

impl Breaker {
    /// One that has seen nothing.
    pub fn new(settings: BreakerSettings) -> Breaker {
        Breaker { settings, last: VecDeque::with_capacity(settings.window) }
    }

    /// Notes one decision at `now` (monotonic): `failed` names the instance of a failure.
    pub fn note(&mut self, now: Duration, failed: Option<Option<InstanceId>>) {
        while self.last.len() >= self.settings.window.max(1) {
            self.last.pop_front();
        }
        self.last.push_back((now, failed));
    }

    /// Failures and decisions that count at `now`, if they are too many.
    pub fn trips(&self, now: Duration) -> Option<(usize, usize)> {
        let since = now.saturating_sub(self.settings.within);
        let recent = || self.last.iter().filter(move |(at, _)| *at >= since);
        let failed: Vec<_> = recent().filter_map(|(_, failed)| *failed).collect();
        let instances: BTreeSet<_> = failed.iter().collect();
        let trips =
            failed.len() >= self.settings.failures && instances.len() >= self.settings.instances;
        (self.settings.on && trips).then(|| (failed.len(), recent().count()))
    }

    /// Forgets what it saw: the endpoint is tried again.
    pub fn reset(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn fails(breaker: &mut Breaker, count: u128, instances: u128, at: Duration) {
        for n in 0..count {
            breaker.note(at, Some(Some(InstanceId(Uuid::from_u128(n % instances)))));
        }
    }

    #[test]
    fn row_084_twenty_of_forty_from_five_instances_within_a_minute() {
        let now = Duration::from_secs(1000);
        let mut breaker = Breaker::new(BreakerSettings::default());
        (0..20).for_each(|_| breaker.note(now, None));
        fails(&mut breaker, 19, 5, now);
        assert_eq!(breaker.trips(now), None, "one too few");
        fails(&mut breaker, 1, 5, now);
        assert_eq!(breaker.trips(now), Some((20, 40)));
        assert_eq!(breaker.trips(now + Duration::from_secs(61)), None, "long ago");
        breaker.reset();
        fails(&mut breaker, 40, 4, now);
        assert_eq!(breaker.trips(now), None, "a few bad instances are no bad deploy");
        let mut off = Breaker::new(BreakerSettings { on: false, ..BreakerSettings::default() });
        fails(&mut off, 40, 40, now);
        assert_eq!(off.trips(now), None, "switched off");
    }

    #[test]
    fn successes_push_failures_out() {
        let now = Duration::from_secs(1000);
        let mut breaker = Breaker::new(BreakerSettings::default());
        fails(&mut breaker, 20, 20, now);
        (0..21).for_each(|_| breaker.note(now, None));
        assert_eq!(breaker.trips(now), None);
    }
}
