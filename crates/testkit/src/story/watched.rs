//! A definition that is watched: every event is decided twice, every decision is written down.

use std::sync::Arc;

use knarr_model::incident::FailurePolicy;
use knarr_model::shape::Shape;
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, Instance, InstanceId, Name, RetryPolicy, Script, Statement};
use knarr_saga::check::Finding;
use knarr_saga::definition::{BadMessage, Cause, Correlated, Decision, Definition, Event, Live};

use super::trace::Trace;
use super::words;

/// What a watched definition and its instances share.
#[derive(Clone)]
struct Watch {
    shape: Arc<Shape>,
    trace: Arc<Trace>,
}

/// A definition under watch.
pub(super) struct Watched {
    inner: Arc<dyn Definition>,
    watch: Watch,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Definition>, trace: Arc<Trace>) -> Self {
        let watch = Watch { shape: Arc::new(inner.shape()), trace };
        Watched { inner, watch }
    }

    fn live(&self, live: Box<dyn Live>) -> Box<dyn Live> {
        Box::new(WatchedLive { live, watch: self.watch.clone() })
    }
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
        Ok(self.live(self.inner.open(id, stored)?))
    }

    fn reopen(&self, over: &Instance) -> Box<dyn Live> {
        self.live(self.inner.reopen(over))
    }
}

struct WatchedLive {
    live: Box<dyn Live>,
    watch: Watch,
}

impl Live for WatchedLive {
    fn decide(&mut self, cause: &Cause, event: &Event<'_>) -> Decision {
        let mut copy = self.live.snapshot();
        let decision = self.live.decide(cause, event);
        let again = copy.decide(cause, event);
        let trace = &self.watch.trace;
        if format!("{decision:?}") != format!("{again:?}") || saved(&*self.live) != saved(&*copy) {
            trace.fault(format!(
                "deciding {} twice gave two answers: a behaviour reads something else than the \
                 machine, the event and `Effects`",
                decision.event
            ));
        }
        for warning in &decision.warnings {
            trace.fault(format!("{}: {warning}", decision.event));
        }
        trace.decided(cause.id, words::decision(&self.watch.shape, &decision));
        decision
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
        Box::new(WatchedLive { live: self.live.snapshot(), watch: self.watch.clone() })
    }
}

fn saved(live: &dyn Live) -> String {
    format!("{:?}", live.save())
}
