//! Looks over the engine's shoulder: what is decided when, on how many lanes at once, and which
//! message never comes back from being decided.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::incident::FailurePolicy;
use knarr_model::ports::Clock;
use knarr_model::shape::Shape;
use knarr_model::topology::Subscription;
use knarr_model::{
    Envelope, Instance, InstanceId, MessageId, Name, RetryPolicy, Script, Statement,
};
use knarr_saga::check::Finding;
use knarr_saga::definition::{BadMessage, Cause, Correlated, Decision, Definition, Event, Live};
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

/// A definition whose decisions are seen.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Definition>,
    pub(crate) watch: Arc<Watch>,
}

impl Definition for Watched {
    fn name(&self) -> &Name {
        self.inner.name()
    }

    fn version(&self) -> u32 {
        self.inner.version()
    }

    fn subscriptions(&self) -> Vec<Subscription> {
        self.inner.subscriptions()
    }

    fn calls(&self) -> Vec<String> {
        self.inner.calls()
    }

    fn retry(&self) -> RetryPolicy {
        self.inner.retry()
    }

    fn is_ordered(&self) -> bool {
        self.inner.is_ordered()
    }

    fn has_state(&self, state: &str) -> bool {
        self.inner.has_state(state)
    }

    fn failures(&self) -> FailurePolicy {
        self.inner.failures()
    }

    fn purge_steps(&self, instance: InstanceId, run: u32) -> Vec<Statement> {
        self.inner.purge_steps(instance, run)
    }

    fn migrations(&self) -> Vec<Script> {
        self.inner.migrations()
    }

    fn shape(&self) -> Shape {
        self.inner.shape()
    }

    fn key_is_reusable(&self, name: &str) -> bool {
        self.inner.key_is_reusable(name)
    }

    fn findings(&self) -> Vec<Finding> {
        self.inner.findings()
    }

    fn correlate(&self, envelope: &Envelope) -> Result<Correlated, BadMessage> {
        self.inner.correlate(envelope)
    }

    fn open(&self, id: InstanceId, stored: Option<&Instance>) -> Result<Box<dyn Live>, String> {
        let live = self.inner.open(id, stored)?;
        Ok(Box::new(WatchedLive { id, live, watch: self.watch.clone() }))
    }

    fn reopen(&self, over: &Instance) -> Box<dyn Live> {
        let live = self.inner.reopen(over);
        Box::new(WatchedLive { id: over.id, live, watch: self.watch.clone() })
    }
}

struct WatchedLive {
    id: InstanceId,
    live: Box<dyn Live>,
    watch: Arc<Watch>,
}

impl Live for WatchedLive {
    fn decide(&mut self, cause: &Cause, event: &Event<'_>) -> Decision {
        self.watch.decides(cause.id, self.id, self.live.state());
        self.live.decide(cause, event)
    }

    fn state(&self) -> &str {
        self.live.state()
    }

    fn save(&self) -> Result<Option<Instance>, String> {
        self.live.save()
    }

    fn is_changed(&self) -> bool {
        self.live.is_changed()
    }

    fn note_deferred(&mut self, event: &str) {
        self.live.note_deferred(event);
    }

    fn snapshot(&self) -> Box<dyn Live> {
        let (live, watch) = (self.live.snapshot(), self.watch.clone());
        Box::new(WatchedLive { id: self.id, live, watch })
    }
}
