//! What came of the scans, checked against what should have come.

use std::collections::BTreeMap;
use std::time::Duration;

use knarr::uuid::Uuid;

use super::urls::{End, Sample};

/// One scan and its end, once there is one.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub(super) id: Uuid,
    pub(super) sample: Sample,
    /// When it was submitted, by the clock's monotonic time.
    pub(super) submitted: Duration,
    pub(super) ended: Option<Ended>,
}

/// The end of a scan.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    /// What the sources said, or why the run failed.
    pub(super) detail: String,
    pub(super) took: Duration,
}

impl Scan {
    pub(super) fn is_as_expected(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.end == self.sample.end)
    }
}

/// All scans by id, in the order in which they were submitted.
#[derive(Debug, Default)]
pub(super) struct Scans {
    all: Vec<Scan>,
    at: BTreeMap<Uuid, usize>,
    /// Verdicts on scans that had ended already.
    pub(super) doubles: usize,
}

impl Scans {
    pub(super) fn add(&mut self, scan: Scan) {
        self.at.insert(scan.id, self.all.len());
        self.all.push(scan);
    }

    /// Notes the end of a scan; `None` when there is no such scan or it has ended already.
    pub(super) fn end(
        &mut self,
        id: Uuid,
        end: End,
        detail: String,
        now: Duration,
    ) -> Option<&Scan> {
        let scan = self.at.get(&id).and_then(|at| self.all.get_mut(*at))?;
        if scan.ended.is_some() {
            self.doubles += 1;
            return None;
        }
        let took = now.saturating_sub(scan.submitted);
        scan.ended = Some(Ended { end, detail, took });
        Some(scan)
    }

    pub(super) fn all(&self) -> &[Scan] {
        &self.all
    }

    pub(super) fn is_open(&self, id: Uuid) -> bool {
        self.at.get(&id).is_some_and(|at| self.all[*at].ended.is_none())
    }

    pub(super) fn have_ended(&self) -> bool {
        self.all.iter().all(|scan| scan.ended.is_some())
    }

    /// Whether every scan ended as it should, once.
    pub(super) fn are_as_expected(&self) -> bool {
        self.doubles == 0 && self.all.iter().all(Scan::is_as_expected)
    }
}

#[cfg(test)]
mod tests {
    use super::super::urls::SAMPLES;
    use super::*;

    fn scans() -> Scans {
        let mut scans = Scans::default();
        for (n, sample) in (1..).zip(SAMPLES) {
            let id = Uuid::from_u128(n);
            let submitted = Duration::from_secs(1);
            scans.add(Scan { id, sample: *sample, submitted, ended: None });
        }
        scans
    }

    fn end_all(scans: &mut Scans) {
        for (n, sample) in (1..).zip(SAMPLES) {
            let now = Duration::from_secs(3);
            let scan = scans.end(Uuid::from_u128(n), sample.end, String::new(), now);
            let took = scan.and_then(|scan| scan.ended.as_ref()).map(|ended| ended.took);
            assert_eq!(took, Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn all_ends_as_they_should_be_is_what_is_expected() {
        let mut scans = scans();
        assert!(!scans.have_ended() && !scans.are_as_expected());
        end_all(&mut scans);
        assert!(scans.have_ended() && scans.are_as_expected());
    }

    #[test]
    fn a_wrong_verdict_or_a_second_one_is_not() {
        let ended = |scans: &mut Scans, n, end| {
            scans.end(Uuid::from_u128(n), end, String::new(), Duration::ZERO).is_some()
        };
        let mut wrong = scans();
        assert!(ended(&mut wrong, 1, End::Malicious));
        for (n, sample) in (2..).zip(&SAMPLES[1..]) {
            assert!(ended(&mut wrong, n, sample.end));
        }
        assert!(wrong.have_ended() && !wrong.are_as_expected());
        let mut twice = scans();
        end_all(&mut twice);
        assert!(!ended(&mut twice, 999, End::Clean), "left over from another demo: nobody's");
        assert!(twice.are_as_expected());
        assert!(!ended(&mut twice, 1, End::Clean));
        assert!(!twice.are_as_expected());
    }
}
