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
    /// Instances of which a message waits or is tried again: their later ones wait behind it.
    instances: BTreeMap<InstanceId, Behind>,
    /// Instances of which messages were taken and nothing is known yet.
    trying: BTreeSet<InstanceId>,
}

struct Destination {
    waiting: Vec<Waiting>,
    failures: u32,
    /// Monotonic time of the next try.
    due: Duration,
}

/// Where all waiting messages of one instance are, and how many.
struct Behind {
    destination: String,
    waiting: usize,
}

fn instance(waiting: &Waiting) -> Option<InstanceId> {
    waiting.message.sequence.map(|sequence| sequence.instance)
}

impl Backlog {
    /// Whether a message has to wait, and if so keeps it.
    pub(super) fn keeps(&mut self, waiting: &Waiting) -> bool {
        let behind = instance(waiting).and_then(|id| self.instances.get(&id));
        let name = match behind {
            Some(behind) => behind.destination.clone(),
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
        if let Some(id) = instance(waiting) {
            let behind = self
                .instances
                .entry(id)
                .or_insert_with(|| Behind { destination: name.to_owned(), waiting: 0 });
            behind.waiting += 1;
        }
    }

    /// Puts messages that did not go to the front of their destination, and lets it rest. What
    /// else waits of their instances, behind another destination, comes along.
    pub(super) fn failed(&mut self, failed: Vec<Waiting>, now: Duration, spread: u32) {
        let policy =
            RetryPolicy::doubling(u32::MAX, Duration::from_millis(100), Duration::from_secs(5));
        let mut names: BTreeMap<InstanceId, String> = BTreeMap::new();
        let mut fronts: BTreeMap<String, Vec<Waiting>> = BTreeMap::new();
        for waiting in failed {
            let exchange = waiting.message.exchange.clone();
            let name = match instance(&waiting) {
                Some(id) => names.entry(id).or_insert(exchange).clone(),
                None => exchange,
            };
            fronts.entry(name).or_default().push(waiting);
        }
        for (id, name) in names {
            let along = self.move_along(id, &name);
            fronts.entry(name).or_default().extend(along);
        }
        for (name, mut front) in fronts {
            for waiting in &front {
                self.note(waiting, &name);
            }
            let destination = self.destinations.entry(name).or_insert(Destination {
                waiting: Vec::new(),
                failures: 0,
                due: now,
            });
            destination.failures += 1;
            destination.due = now + policy.backoff(destination.failures, spread);
            front.append(&mut destination.waiting);
            destination.waiting = front;
        }
    }

    /// An instance's messages wait behind one destination only: those behind another are taken out.
    fn move_along(&mut self, id: InstanceId, to: &str) -> Vec<Waiting> {
        let Some(behind) = self.instances.get_mut(&id) else { return Vec::new() };
        if behind.destination == to {
            return Vec::new();
        }
        let from = std::mem::replace(&mut behind.destination, to.to_owned());
        behind.waiting = 0;
        let Some(destination) = self.destinations.get_mut(&from) else { return Vec::new() };
        let (along, left) = std::mem::take(&mut destination.waiting)
            .into_iter()
            .partition(|waiting| instance(waiting) == Some(id));
        destination.waiting = left;
        along
    }

    /// Takes what is to be tried of the destinations that are due: their own messages, and what
    /// waits behind none of them any more. Tell [`Backlog::concluded`] afterwards.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Waiting> {
        let mut taken = Vec::new();
        for (name, destination) in &mut self.destinations {
            if destination.due > now {
                continue;
            }
            // A message to elsewhere does not go with the one that it waits behind: that one may
            // fail again, and then it would have overtaken it.
            let mut ahead = BTreeSet::new();
            let mut held = BTreeSet::new();
            for waiting in std::mem::take(&mut destination.waiting) {
                let id = instance(&waiting);
                let foreign = waiting.message.exchange != *name;
                let stays =
                    id.is_some_and(|id| held.contains(&id) || (foreign && ahead.contains(&id)));
                if stays {
                    held.extend(id);
                    destination.waiting.push(waiting);
                } else {
                    ahead.extend(id);
                    taken.push(waiting);
                }
            }
        }
        for id in taken.iter().filter_map(instance) {
            if let Some(behind) = self.instances.get_mut(&id) {
                behind.waiting -= 1;
                self.trying.insert(id);
            }
        }
        taken
    }

    /// What [`Backlog::due`] gave has been tried: instances of which nothing waits are free.
    pub(super) fn concluded(&mut self) {
        for id in std::mem::take(&mut self.trying) {
            if self.instances.get(&id).is_some_and(|behind| behind.waiting == 0) {
                self.instances.remove(&id);
            }
        }
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
