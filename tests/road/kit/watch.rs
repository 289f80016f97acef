//! Looks over the engine's shoulder: what is decided when, on how many lanes at once, and which
//! message never comes back from being decided.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::ports::Clock;
use knarr_model::{InstanceId, MessageId};
use knarr_saga::definition::{Cause, Decision, Event, Live};
use knarr_testkit::around::Around;
use parking_lot::Mutex;

/// One event that a machine was asked about.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) id: MessageId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) state: String,
}

/// What was seen so far.
pub(crate) struct Watch {
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    decided: Vec<Decided>,
    /// Messages that never come back from being decided.
    stuck: BTreeSet<MessageId>,
    /// The lane that decides now never comes back.
    is_stuck: bool,
    /// Instances decided since a lane last asked.
    fresh: Vec<InstanceId>,
    lanes: BTreeMap<String, usize>,
    lanes_busy: usize,
    most_lanes_busy: usize,
    instances_busy: Vec<(usize, InstanceId)>,
    overlaps: usize,
}

impl Watch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Watch { clock, seen: Mutex::default() }
    }

    /// Deciding this message never ends.
    pub(crate) fn stick(&self, id: MessageId) {
        self.seen.lock().stuck.insert(id);
    }

    /// Every event that a machine was asked about, in order.
    pub(crate) fn decided(&self) -> Vec<Decided> {
        self.seen.lock().decided.clone()
    }

    /// The times at which one message was decided. Deciding it again at the same instant, with the
    /// rest of its batch, counts once.
    pub(crate) fn times(&self, id: MessageId) -> Vec<DateTime<Utc>> {
        let seen = self.seen.lock();
        let mut times: Vec<_> =
            seen.decided.iter().filter(|one| one.id == id).map(|one| one.at).collect();
        times.dedup();
        times
    }

    /// How often each lane has decided.
    pub(crate) fn lanes(&self) -> BTreeMap<String, usize> {
        self.seen.lock().lanes.clone()
    }

    /// The most lanes that decided at the same time.
    pub(crate) fn most_lanes_busy(&self) -> usize {
        self.seen.lock().most_lanes_busy
    }

    /// How often an instance was decided on one node while it still was.
    pub(crate) fn overlaps(&self) -> usize {
        self.seen.lock().overlaps
    }

    pub(super) fn begin(&self, lane: &str) {
        let mut seen = self.seen.lock();
        *seen.lanes.entry(lane.to_owned()).or_default() += 1;
        seen.lanes_busy += 1;
        seen.most_lanes_busy = seen.most_lanes_busy.max(seen.lanes_busy);
        seen.fresh.clear();
    }

    /// The lane has just decided; its instances are busy until it ends.
    pub(super) fn hold(&self, node: usize) -> Vec<InstanceId> {
        let mut seen = self.seen.lock();
        let mut fresh = std::mem::take(&mut seen.fresh);
        fresh.sort_unstable();
        fresh.dedup();
        for instance in &fresh {
            seen.overlaps += usize::from(seen.instances_busy.contains(&(node, *instance)));
            seen.instances_busy.push((node, *instance));
        }
        fresh
    }

    pub(super) fn end(&self, node: usize, held: &[InstanceId]) {
        let mut seen = self.seen.lock();
        seen.lanes_busy -= 1;
        for instance in held {
            let busy = seen.instances_busy.iter().position(|one| *one == (node, *instance));
            if let Some(at) = busy {
                seen.instances_busy.swap_remove(at);
            }
        }
    }

    fn decides(&self, id: MessageId, instance: InstanceId, state: &str) {
        let mut seen = self.seen.lock();
        let at = self.clock.now();
        seen.decided.push(Decided { id, at, state: state.to_owned() });
        seen.fresh.push(instance);
        let stuck = seen.stuck.contains(&id);
        seen.is_stuck |= stuck;
        drop(seen);
        if stuck {
            // Whatever becomes of the panic, the lane is not heard of again.
            resume_unwind(Box::new("stuck"));
        }
    }

    /// Whether the lane that has just decided is stuck instead.
    pub(super) fn is_stuck(&self) -> bool {
        std::mem::take(&mut self.seen.lock().is_stuck)
    }
}

/// Sees every decision of the definition that it is around.
#[derive(Clone)]
pub(crate) struct Seeing(pub(crate) Arc<Watch>);

impl Around for Seeing {
    fn decide(
        &self,
        id: InstanceId,
        live: &mut dyn Live,
        cause: &Cause,
        event: &Event<'_>,
    ) -> Decision {
        self.0.decides(cause.id, id, live.state());
        live.decide(cause, event)
    }
}
