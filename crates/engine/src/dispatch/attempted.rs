//! The span of one attempt at a call: what the activity does is done within it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::trace::SpanKind;
use knarr_model::within::Scope;
use knarr_model::work::{ActivityTask, AttemptOutcome, CallEnd};

use crate::spans::{Begun, Traces, about};

/// An attempt that is under way.
pub(super) struct Attempted {
    begun: Option<Begun>,
    began: DateTime<Utc>,
    /// What the activity runs in.
    pub(super) scope: Option<Arc<Scope>>,
}

impl Attempted {
    /// An attempt begins. Where nobody takes spans, the trace context of its cause is handed on.
    pub(super) fn begin(traces: &Traces, task: &ActivityTask, began: DateTime<Utc>) -> Attempted {
        let context = &task.context;
        let begun = traces.begin(context.trace_parent.as_deref(), context.trace_state.clone());
        let place = match &begun {
            Some(begun) => Some(begun.place),
            None => context.trace_parent.as_deref().and_then(|text| text.parse().ok()),
        };
        let scope = place.map(|place| {
            let state = context.trace_state.clone();
            Arc::new(Scope { place, state, spans: traces.port().cloned() })
        });
        Attempted { begun, began, scope }
    }

    /// What is logged meanwhile, under the ids of the trace.
    pub(super) fn logged(&self, task: &ActivityTask) -> tracing::Span {
        match &self.scope {
            // Whatever level is logged: a span below it would be left out with its ids.
            Some(scope) => tracing::error_span!(
                "call",
                call = %task.call,
                instance = %task.instance,
                trace_id = %scope.place.trace_id(),
                span_id = %scope.place.span_id(),
            ),
            None => tracing::Span::none(),
        }
    }

    /// The attempt has ended; `None` when it was cancelled.
    pub(super) fn end(
        self,
        traces: &Traces,
        task: &ActivityTask,
        outcome: Option<&AttemptOutcome>,
        now: DateTime<Utc>,
    ) {
        let Some(begun) = self.begun.filter(Begun::is_told) else { return };
        let name = (format!("call {}", task.call), SpanKind::Internal);
        let mut span = begun.span(name, (self.began, now));
        span.set("knarr.endpoint", task.endpoint.to_string());
        span.set("knarr.saga", task.saga.to_string());
        about(&mut span, Some(task.instance), Some(task.run));
        span.set("knarr.call", task.call.clone());
        span.set("knarr.call.id", task.id.to_string());
        span.set("knarr.attempt", i64::from(task.attempt));
        let (outcome, failure) = match outcome {
            None => ("cancelled", None),
            Some(AttemptOutcome::Again { used: false, .. }) => ("again", None),
            Some(AttemptOutcome::Again { used: true, .. }) => ("failed", Some("transient")),
            Some(AttemptOutcome::Ended(CallEnd::Done(_))) => ("done", None),
            Some(AttemptOutcome::Ended(CallEnd::Failed(failure))) => {
                span.error = Some(failure.reason.clone());
                ("failed", Some(failure.class.as_str()))
            }
        };
        span.set("knarr.outcome", outcome);
        if let Some(class) = failure {
            span.set("error.type", class);
            span.error.get_or_insert_with(|| "it is tried again".to_owned());
        }
        traces.end([span]);
    }
}
