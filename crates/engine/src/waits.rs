//! What an endpoint's batches have met that waits: lines that are too long, and instances that only
//! another definition can read.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use knarr_model::ports::store::Loaded;
use knarr_model::{Instance, InstanceId};
use parking_lot::Mutex;

/// Instances of newer definitions that are remembered at most: they are counted, not served.
const REMEMBERED: usize = 1_000;

/// A message for an instance of a newer definition is offered again every second.
const LATELY: TimeDelta = TimeDelta::seconds(10);

/// What waits at one endpoint, as this node has last seen it.
#[derive(Default)]
pub(crate) struct Waits {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Instances at the cap, and how many messages wait for each.
    full: BTreeMap<InstanceId, u64>,
    /// Instances that a newer definition wrote.
    newer: BTreeMap<InstanceId, Newer>,
}

struct Newer {
    version: u32,
    since: DateTime<Utc>,
    last: DateTime<Utc>,
}

impl Waits {
    /// Looks over what a batch has loaded. At `cap` waiting messages an instance is full, and below
    /// nine tenths of it no more.
    pub(crate) fn note(
        &self,
        asked: &[InstanceId],
        loaded: &Loaded,
        cap: usize,
        reads: impl Fn(&Instance) -> bool,
        now: DateTime<Utc>,
    ) {
        let (cap, mut seen) = (cap as u64, self.seen.lock());
        // What waits for the end of an incident does not hold up the others: it has its own bound.
        let held = |id: &InstanceId| loaded.instances.get(id).is_some_and(Instance::holds_messages);
        let waiting = || loaded.waiting.iter().filter(|(id, _)| !held(id));
        let rows = |of: &InstanceId| {
            loaded.waiting.get(of).filter(|_| !held(of)).map_or(0, |waiting| waiting.rows)
        };
        seen.full.retain(|id, known| {
            if asked.contains(id) || loaded.waiting.contains_key(id) {
                *known = rows(id);
            }
            *known * 10 >= cap * 9
        });
        let full = waiting().filter(|(_, waiting)| waiting.rows >= cap);
        seen.full.extend(full.map(|(id, waiting)| (*id, waiting.rows)));
        for (id, instance) in &loaded.instances {
            if reads(instance) {
                seen.newer.remove(id);
            } else if seen.newer.len() < REMEMBERED || seen.newer.contains_key(id) {
                let version = instance.definition_version;
                let first = Newer { version, since: now, last: now };
                let newer = seen.newer.entry(*id).or_insert(first);
                (newer.version, newer.last) = (version, now);
            }
        }
    }

    /// The instances of which too many messages wait.
    pub(crate) fn full(&self) -> Vec<(InstanceId, u64)> {
        self.seen.lock().full.iter().map(|(id, rows)| (*id, *rows)).collect()
    }

    pub(crate) fn is_full(&self) -> bool {
        !self.seen.lock().full.is_empty()
    }

    /// Whether something that only a newer definition can read was met lately.
    pub(crate) fn meets_newer(&self, now: DateTime<Utc>) -> bool {
        self.seen.lock().newer.values().any(|newer| newer.last >= now - LATELY)
    }

    /// How many instances have waited for a newer definition since `before`, and the version that
    /// all of them can be read with. Those that were not met lately are somebody else's.
    pub(crate) fn newer(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Option<(usize, u32)> {
        let mut seen = self.seen.lock();
        seen.newer.retain(|_, newer| newer.last >= now - LATELY);
        let long = || seen.newer.values().filter(|newer| newer.since <= before);
        long().map(|newer| newer.version).max().map(|version| (long().count(), version))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_model::Book;
    use knarr_model::ports::store::{EndpointRow, EndpointState, Waiting};
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::*;

    /// As a process with definition version 1 does.
    fn reads(stored: &Instance) -> bool {
        stored.definition_version <= 1
    }

    fn loaded(rows: u64, version: u32) -> (InstanceId, Loaded) {
        let id = InstanceId(Uuid::from_u128(1));
        let waiting = Waiting { rows, first_seq: 1, last_seq: 1, due_at: None };
        let instance = Instance {
            saga: "a".into(),
            id,
            run: 1,
            state: "b".to_owned(),
            version: 1,
            definition_version: version,
            data: Arc::from(RawValue::NULL.to_owned()),
            book: Book::default(),
            incident: None,
        };
        let loaded = Loaded {
            endpoint: EndpointRow {
                name: "a".into(),
                state: EndpointState::Open,
                epoch: 1,
                guard_version: 0,
                stop: None,
                holder: None,
                watched_until: None,
                restored_at: None,
            },
            instances: [(id, instance)].into(),
            unreadable: BTreeMap::new(),
            keys: BTreeMap::new(),
            journal: BTreeMap::new(),
            parked: BTreeMap::new(),
            waiting: if rows == 0 { BTreeMap::new() } else { [(id, waiting)].into() },
        };
        (id, loaded)
    }

    #[test]
    fn a_line_is_full_from_the_cap_until_below_nine_tenths_of_it() {
        let waits = Waits::default();
        for (rows, full) in
            [(9, false), (10, true), (12, true), (9, true), (8, false), (9, false), (10, true)]
        {
            let (id, loaded) = loaded(rows, 1);
            waits.note(&[id], &loaded, 10, reads, DateTime::UNIX_EPOCH);
            assert_eq!(waits.is_full(), full, "{rows}");
        }
        // A batch that does not ask for it says nothing about it; one that finds nothing does.
        let (id, nothing) = loaded(0, 1);
        waits.note(&[], &nothing, 10, reads, DateTime::UNIX_EPOCH);
        assert!(waits.is_full());
        waits.note(&[id], &nothing, 10, reads, DateTime::UNIX_EPOCH);
        assert!(!waits.is_full());
    }

    #[test]
    fn what_waits_for_the_end_of_an_incident_fills_no_line() {
        let waits = Waits::default();
        let (id, mut loaded) = loaded(12, 1);
        waits.note(&[id], &loaded, 10, reads, DateTime::UNIX_EPOCH);
        assert!(waits.is_full());
        let stone = loaded.instances.get_mut(&id).expect("it is there");
        stone.state = knarr_model::instance::PURGED.to_owned();
        stone.book.holds = true;
        waits.note(&[id], &loaded, 10, reads, DateTime::UNIX_EPOCH);
        assert!(!waits.is_full());
    }

    #[test]
    fn a_newer_definition_is_told_once_it_was_needed_for_long_and_still_is() {
        let waits = Waits::default();
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let told = |now: i64| waits.newer(at(now - 60), at(now));
        let meet = |version, now| {
            let (id, loaded) = loaded(0, version);
            waits.note(&[id], &loaded, 10, reads, at(now));
        };
        meet(1, 0);
        for second in 0..60 {
            meet(3, second);
            assert_eq!(told(second), None);
        }
        meet(3, 60);
        assert_eq!(told(60), Some((1, 3)));
        assert_eq!(told(80), None, "another node serves it");
        for second in 80..145 {
            meet(3, second);
        }
        assert_eq!(told(144), Some((1, 3)));
        meet(1, 145);
        assert_eq!(told(145), None);
    }
}
