//! One process that fails far more than its peers: its disk, its resolver, its clock, not the messages.

use std::collections::VecDeque;
use std::time::Duration;

use knarr_model::ports::crash::Record;

/// When a process takes itself for the one that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Older attempts do not count.
    pub window: Duration,
    /// Failures that it must have had.
    pub failures: u64,
    /// Failures among a hundred attempts that it must have had.
    pub percent: u64,
    /// How many times as often as its peers it must have failed.
    pub times: u64,
    /// How long it stands back before it tries again.
    pub rest: Duration,
}

impl Default for PeerSettings {
    fn default() -> Self {
        PeerSettings {
            window: Duration::from_secs(60),
            failures: 20,
            percent: 50,
            times: 5,
            rest: Duration::from_secs(300),
        }
    }
}

/// Whether a process stands out among its live peers, and if so what people read of it. Peers count
/// that made a fair number of attempts themselves; the middle one of them is compared with. A
/// process alone never judges itself, and where others fail too it is not the process.
pub fn stands_out(settings: &PeerSettings, own: Record, peers: &[Record]) -> Option<String> {
    let mut fair: Vec<Record> = peers.to_vec();
    fair.retain(|peer| peer.worked.saturating_add(peer.failed) >= settings.failures.max(1));
    fair.sort_by(|a, b| {
        let cross = |x: &Record, y: &Record| u128::from(x.failed) * total(y);
        cross(a, b).cmp(&cross(b, a))
    });
    // Of an even number the worse one.
    let middle = fair.get(fair.len() / 2)?;
    let many = own.failed >= settings.failures.max(1)
        && u128::from(own.failed) * 100 >= total(&own) * u128::from(settings.percent);
    let far = u128::from(own.failed) * total(middle)
        >= u128::from(middle.failed) * total(&own) * u128::from(settings.times);
    (many && far).then(|| {
        format!(
            "{} of the last {} attempts failed here, {} of {} at a live peer: it is this process \
             (disk, resolver, clock?), not what it works on",
            own.failed,
            total(&own),
            middle.failed,
            total(middle)
        )
    })
}

fn total(record: &Record) -> u128 {
    u128::from(record.worked) + u128::from(record.failed)
}

/// The attempts of one process within a window.
#[derive(Debug, Default)]
pub struct Lately {
    /// By the second in which they ended.
    seconds: VecDeque<(u64, Record)>,
}

impl Lately {
    /// Notes attempts that ended at `now` (monotonic).
    pub fn note(&mut self, now: Duration, worked: u64, failed: u64) {
        let second = now.as_secs();
        match self.seconds.back_mut().filter(|(of, _)| *of == second) {
            Some((_, record)) => {
                record.worked += worked;
                record.failed += failed;
            }
            None => self.seconds.push_back((second, Record { worked, failed })),
        }
    }

    /// What counts at `now`; older attempts are forgotten.
    pub fn record(&mut self, now: Duration, window: Duration) -> Record {
        let since = now.saturating_sub(window).as_secs();
        self.seconds.retain(|(second, _)| *second >= since);
        self.seconds.iter().fold(Record::default(), |sum, (_, one)| Record {
            worked: sum.worked + one.worked,
            failed: sum.failed + one.failed,
        })
    }

    /// Forgets what it saw.
    pub fn reset(&mut self) {
        self.seconds.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(failed: u64, worked: u64) -> Record {
        Record { worked, failed }
    }

    fn broken(own: Record, peers: &[Record]) -> bool {
        stands_out(&PeerSettings::default(), own, peers).is_some()
    }

    #[test]
    fn a_process_that_fails_far_more_than_its_peers_stands_out() {
        assert!(broken(of(30, 10), &[of(1, 99)]));
        assert!(broken(of(30, 10), &[of(1, 99), of(0, 40)]));
        assert!(broken(of(30, 10), &[of(50, 0), of(0, 40), of(2, 50)]), "one peer is broken too");
        let told = stands_out(&PeerSettings::default(), of(30, 10), &[of(1, 99)]);
        assert!(told.is_some_and(|told| told.contains("30 of the last 40 attempts failed here")));
    }

    #[test]
    fn a_process_alone_or_among_those_that_fail_does_not() {
        assert!(!broken(of(400, 0), &[]), "alone");
        assert!(!broken(of(400, 0), &[of(0, 5)]), "its peer has hardly tried");
        assert!(!broken(of(40, 0), &[of(40, 0)]), "an outage outside");
        assert!(!broken(of(40, 10), &[of(40, 60)]), "not far more");
        assert!(!broken(of(40, 0), &[of(40, 0), of(0, 40)]), "half of the peers fail too");
        assert!(!broken(of(19, 0), &[of(0, 99)]), "too few");
        assert!(!broken(of(40, 60), &[of(0, 99)]), "most of its attempts work");
    }

    #[test]
    fn old_attempts_do_not_count() {
        let (window, at) = (Duration::from_secs(60), Duration::from_secs);
        let mut lately = Lately::default();
        lately.note(at(100), 0, 30);
        lately.note(at(130), 5, 1);
        lately.note(at(130), 2, 0);
        assert_eq!(lately.record(at(140), window), of(31, 7));
        assert_eq!(lately.record(at(161), window), of(1, 7));
        lately.reset();
        assert_eq!(lately.record(at(161), window), Record::default());
    }
}
