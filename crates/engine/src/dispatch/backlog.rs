//! Messages that did not go at once: per destination a backoff, per instance an order that is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knarr_model::work::Outgoing;
use knarr_model::{InstanceId, MessageId, RetryPolicy, RowId};

/// A message and the chunk it is part of.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) chunk: RowId,
    pub(super) message: Outgoing,
}

/// What waits, by destination.
#[derive(Default)]
pub(super) struct Backlog {
    destinations: BTreeMap<String, Destination>,
    /// Instances of which a message waits: their later ones wait behind it.
    instances: BTreeMap<InstanceId, String>,
}

struct Destination {
    waiting: Vec<Waiting>,
    failures: u32,
    /// Monotonic time of the next try.
    due: Duration,
}

impl Backlog {
    /// Whether a message has to wait, and if so keeps it.
    pub(super) fn keeps(&mut self, waiting: &Waiting) -> bool {
        let behind = waiting
            .message
            .sequence
            .and_then(|sequence| self.instances.get(&sequence.instance).cloned());
        let name = match behind {
            Some(name) => name,
            None if self.destinations.contains_key(&waiting.message.exchange) => {
                waiting.message.exchange.clone()
            }
            None => return false,
        };
        self.note(waiting, &name);
        if let Some(destination) = self.destinations.get_mut(&name) {
            destination.waiting.push(waiting.clone());
        }
        true
    }

    fn note(&mut self, waiting: &Waiting, name: &str) {
        if let Some(sequence) = waiting.message.sequence {
            self.instances.entry(sequence.instance).or_insert_with(|| name.to_owned());
        }
    }

    /// Puts messages that did not go to the front of their destination, and lets it rest.
    pub(super) fn failed(&mut self, failed: Vec<Waiting>, now: Duration, spread: u32) {
        let policy =
            RetryPolicy::doubling(u32::MAX, Duration::from_millis(100), Duration::from_secs(5));
        let mut names = BTreeSet::new();
        let mut fronts: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
        for waiting in failed {
            let behind = waiting
                .message
                .sequence
                .and_then(|sequence| self.instances.get(&sequence.instance).cloned());
            let name = behind.unwrap_or_else(|| waiting.message.exchange.clone());
            self.note(&waiting, &name);
            names.insert(name.clone());
            fronts.entry(name).or_default().push(waiting);
        }
        for name in names {
            let destination = self.destinations.entry(name.clone()).or_insert(Destination {
                waiting: Vec::new(),
                failures: 0,
                due: now,
            });
            destination.failures += 1;
            destination.due = now + policy.backoff(destination.failures, spread);
            let mut front = fronts.remove(&name).unwrap_or_default();
            front.append(&mut destination.waiting);
            destination.waiting = front;
        }
    }

    /// Takes everything of the destinations that are due.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for destination in self.destinations.values_mut() {
            if destination.due <= now {
                taken.append(&mut destination.waiting);
            }
        }
        for waiting in &taken {
            if let Some(sequence) = waiting.message.sequence {
                self.instances.remove(&sequence.instance);
            }
        }
        taken
    }

    /// Forgets destinations that have nothing waiting any more after a try that worked.
    pub(super) fn worked(&mut self, now: Duration) {
        self.destinations.retain(|_, d| !d.waiting.is_empty() || d.due > now);
    }

    /// The messages of a chunk that wait, of those asked for.
    pub(super) fn messages_of(&self, chunk: RowId, asked: &BTreeSet<MessageId>) -> Vec<Outgoing> {
        self.destinations
            .values()
            .flat_map(|destination| &destination.waiting)
            .filter(|w| w.chunk == chunk && asked.contains(&w.message.id))
            .map(|waiting| waiting.message.clone())
            .collect()
    }

    /// When the first destination is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.destinations
            .values()
            .filter(|destination| !destination.waiting.is_empty())
            .map(|destination| destination.due)
            .min()
    }

    /// Drops everything: others publish it.
    pub(super) fn clear(&mut self) {
        *self = Backlog::default();
    }
}
