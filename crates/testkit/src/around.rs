//! A definition with somebody around it who looks on while it decides, or changes a word.

use std::sync::Arc;

use knarr_model::incident::FailurePolicy;
use knarr_model::shape::Shape;
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, Instance, InstanceId, Name, RetryPolicy, Script, Statement};
use knarr_saga::check::Finding;
use knarr_saga::definition::{BadMessage, Cause, Correlated, Decision, Definition, Event, Live};

/// Who is around a definition.
pub trait Around: Clone + Send + Sync + 'static {
    /// Has `live` decide, and returns what counts as its decision.
    fn decide(
        &self,
        id: InstanceId,
        live: &mut dyn Live,
        cause: &Cause,
        event: &Event<'_>,
    ) -> Decision;

    /// What counts as declared of failed runs.
    fn failures(&self, declared: FailurePolicy) -> FailurePolicy {
        declared
    }
}

/// A definition in all but what `A` changes.
pub struct Surrounded<A> {
    inner: Arc<dyn Definition>,
    around: A,
}

impl<A: Around> Surrounded<A> {
    /// Puts `around` around a definition.
    pub fn new(inner: Arc<dyn Definition>, around: A) -> Self {
        Surrounded { inner, around }
    }

    fn live(&self, id: InstanceId, live: Box<dyn Live>) -> Box<dyn Live> {
        Box::new(SurroundedLive { id, live, around: self.around.clone() })
    }
}

impl<A: Around> Definition for Surrounded<A> {
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
        self.around.failures(self.inner.failures())
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
        Ok(self.live(id, self.inner.open(id, stored)?))
    }

    fn reopen(&self, over: &Instance) -> Box<dyn Live> {
        self.live(over.id, self.inner.reopen(over))
    }
}

struct SurroundedLive<A> {
    id: InstanceId,
    live: Box<dyn Live>,
    around: A,
}

impl<A: Around> Live for SurroundedLive<A> {
    fn decide(&mut self, cause: &Cause, event: &Event<'_>) -> Decision {
        self.around.decide(self.id, &mut *self.live, cause, event)
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
        let (live, around) = (self.live.snapshot(), self.around.clone());
        Box::new(SurroundedLive { id: self.id, live, around })
    }
}
