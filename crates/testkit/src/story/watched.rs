//! Watches a definition: every event is decided twice, every decision is written down.

use std::sync::Arc;

use knarr_model::InstanceId;
use knarr_model::shape::Shape;
use knarr_saga::definition::{Cause, Decision, Definition, Event, Live};

use super::trace::Trace;
use super::words;
use crate::around::{Around, Surrounded};

/// Who watches.
#[derive(Clone)]
pub(super) struct Watch {
    shape: Arc<Shape>,
    trace: Arc<Trace>,
}

/// A definition under watch.
pub(super) fn watched(inner: Arc<dyn Definition>, trace: Arc<Trace>) -> Surrounded<Watch> {
    let shape = Arc::new(inner.shape());
    Surrounded::new(inner, Watch { shape, trace })
}

impl Around for Watch {
    fn decide(
        &self,
        _: InstanceId,
        live: &mut dyn Live,
        cause: &Cause,
        event: &Event<'_>,
    ) -> Decision {
        let mut copy = live.snapshot();
        let decision = live.decide(cause, event);
        let again = copy.decide(cause, event);
        let trace = &self.trace;
        if format!("{decision:?}") != format!("{again:?}") || saved(live) != saved(&*copy) {
            trace.fault(format!(
                "deciding {} twice gave two answers: a behaviour reads something else than the \
                 machine, the event and `Effects`",
                decision.event
            ));
        }
        for warning in &decision.warnings {
            trace.fault(format!("{}: {warning}", decision.event));
        }
        trace.decided(cause.id, words::decision(&self.shape, &decision));
        decision
    }
}

fn saved(live: &dyn Live) -> String {
    format!("{:?}", live.save())
}
