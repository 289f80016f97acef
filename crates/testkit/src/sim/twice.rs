//! Decides every event twice and compares: behaviours must be pure.

use std::sync::Arc;

use knarr_model::incident::FailurePolicy;
use knarr_model::shape::Shape;
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, Instance, InstanceId, Name, RetryPolicy, Script, Statement};
use knarr_saga::check::Finding;
use knarr_saga::definition::{BadMessage, Cause, Correlated, Decision, Definition, Event, Live};

use super::ledger::kills;
use super::world::World;

/// A definition whose every decision is made twice, and which declares what the seed says of failures.
pub(super) struct Twice {
    pub(super) inner: Arc<dyn Definition>,
    pub(super) failures: FailurePolicy,
    pub(super) world: Arc<World>,
}

impl Definition for Twice {
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

    fn migrations(&self) -> Vec<Script> {
        self.inner.migrations()
    }

    fn shape(&self) -> Shape {
        self.inner.shape()
    }

    fn findings(&self) -> Vec<Finding> {
        self.inner.findings()
    }

    fn key_is_reusable(&self, name: &str) -> bool {
        self.inner.key_is_reusable(name)
    }

    fn failures(&self) -> FailurePolicy {
        self.failures
    }

    fn purge_steps(&self, instance: InstanceId, run: u32) -> Vec<Statement> {
        self.inner.purge_steps(instance, run)
    }

    fn correlate(&self, envelope: &Envelope) -> Result<Correlated, BadMessage> {
        self.inner.correlate(envelope)
    }

    fn open(&self, id: InstanceId, stored: Option<&Instance>) -> Result<Box<dyn Live>, String> {
        let live = self.inner.open(id, stored)?;
        Ok(Box::new(TwiceLive { live, world: self.world.clone() }))
    }

    fn reopen(&self, over: &Instance) -> Box<dyn Live> {
        Box::new(TwiceLive { live: self.inner.reopen(over), world: self.world.clone() })
    }
}

struct TwiceLive {
    live: Box<dyn Live>,
    world: Arc<World>,
}

impl Live for TwiceLive {
    fn decide(&mut self, cause: &Cause, event: &Event<'_>) -> Decision {
        if matches!(event, Event::Message(envelope) if kills(envelope)) {
            self.world.doom();
        }
        let mut copy = self.live.snapshot();
        let first = self.live.decide(cause, event);
        let second = copy.decide(cause, event);
        if format!("{first:?}") != format!("{second:?}") {
            self.world.violation(format!("deciding {event:?} twice gave two answers"));
        }
        first
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
        Box::new(TwiceLive { live: self.live.snapshot(), world: self.world.clone() })
    }
}
