//! The spans of a batch: one a message, told when its outcome is durable, and one that links them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_guard::Failure;
use knarr_model::commit::JournalRow;
use knarr_model::fault::cut;
use knarr_model::trace::{Span, SpanKind};
use knarr_model::work::CallEnd;
use knarr_model::{InstanceId, MessageId, TraceParent};

use super::fate::{Fate, FateKind, event_name};
use super::step::Whole;
use crate::delivery::{Body, Incoming, Source};
use crate::shared::Serving;
use crate::spans::{Begun, Traces, about, destination};

/// Links that one span has at most: OpenTelemetry's own bound.
const MAX_LINKS: usize = 128;
/// As much of an error as a span tells, in bytes.
const MAX_ERROR: usize = 1_000;

/// Takes a place for each message that has none yet.
pub(super) fn begin(traces: &Traces, batch: &mut [Incoming]) {
    if !traces.is_on() {
        return;
    }
    for incoming in batch.iter_mut().filter(|incoming| incoming.span.is_none()) {
        let (parent, state) = incoming.cause();
        incoming.span = traces.begin(parent.as_deref(), state);
    }
}

/// The spans of a batch that is being committed. Most of the time there are none.
#[derive(Default)]
pub(super) struct Spans {
    spans: Vec<(Option<InstanceId>, Span)>,
    batch: Option<Begun>,
    began: DateTime<Utc>,
    endpoint: String,
    /// Messages of the batch, told or not.
    size: usize,
}

impl Spans {
    /// What will be told of a decided batch once it is committed.
    pub(super) fn of(
        traces: &Traces,
        serving: &Serving,
        batch: &[Incoming],
        decided: &Whole,
        began: DateTime<Utc>,
    ) -> Spans {
        let told = |incoming: &&Incoming| incoming.span.as_ref().is_some_and(Begun::is_told);
        if !traces.is_on() || !batch.iter().any(|incoming| told(&incoming)) {
            return Spans::default();
        }
        let rows = decided.slices.iter().flat_map(|slice| &slice.journal);
        let journal: BTreeMap<MessageId, &JournalRow> =
            rows.map(|row| (row.message_id, row)).collect();
        let spans = batch.iter().zip(&decided.fates).filter(|(incoming, _)| told(incoming));
        let spans = spans.filter_map(|(incoming, fate)| {
            let mut span = transition(traces, serving, incoming, began)?;
            ended(&mut span, fate, journal.get(&incoming.id).copied());
            Some((fate.key, span))
        });
        let spans = spans.collect();
        let endpoint = serving.endpoint.name.to_string();
        Spans { spans, batch: traces.begin_kept(), began, endpoint, size: batch.len() }
    }

    /// The batch is committed, but for what lost a race and is decided again.
    pub(super) fn committed(self, traces: &Traces, lost: &[InstanceId], now: DateTime<Utc>) {
        let Some(batch) = self.batch else { return };
        let kept = |key: &Option<InstanceId>| key.is_none_or(|key| !lost.contains(&key));
        let mut spans: Vec<Span> = Vec::with_capacity(self.spans.len() + 1);
        for (_, mut span) in self.spans.into_iter().filter(|(key, _)| kept(key)) {
            span.ended = now.max(span.began);
            span.links.push(batch.place);
            spans.push(span);
        }
        if spans.is_empty() {
            return;
        }
        let name = format!("batch {}", self.endpoint);
        let mut own = batch.span((name, SpanKind::Internal), (self.began, now));
        own.set("knarr.endpoint", self.endpoint);
        own.set("messaging.batch.message_count", self.size as i64);
        let places: Vec<TraceParent> = spans.iter().map(|span| span.place).collect();
        own.links = places.into_iter().take(MAX_LINKS).collect();
        spans.push(own);
        traces.end(spans);
    }
}

/// A run failed, and the guard has dealt with it.
pub(super) fn contained(
    traces: &Traces,
    serving: &Serving,
    culprit: &Incoming,
    failure: &Failure,
    now: DateTime<Utc>,
) {
    let Some(mut span) = transition(traces, serving, culprit, now) else { return };
    span.ended = now.max(span.began);
    let row = &failure.journal;
    about(&mut span, failure.start.instance, failure.run.map(|run| run.run));
    span.set("knarr.event", row.event.clone());
    states(&mut span, row);
    span.set("knarr.outcome", "contained");
    span.set("error.type", failure.start.class.as_str());
    span.error = Some(cut(&failure.start.reason, MAX_ERROR));
    traces.end([span]);
}

/// The span of one message, without its outcome.
fn transition(
    traces: &Traces,
    serving: &Serving,
    incoming: &Incoming,
    began: DateTime<Utc>,
) -> Option<Span> {
    let begun = incoming.span.as_ref().filter(|span| span.is_told())?;
    let endpoint = &serving.endpoint.name;
    let name = match &incoming.body {
        Body::Timer(_) | Body::Ended(_) => (event_name(incoming), SpanKind::Internal),
        Body::Message { .. } | Body::Bad { .. } => {
            (format!("process {endpoint}"), SpanKind::Consumer)
        }
    };
    // Waiting for a turn on the lane is part of it.
    let mut span = begun.span(name, (incoming.received_at.min(began), began));
    match &incoming.body {
        Body::Message { .. } | Body::Bad { .. } => message(&mut span, traces, serving, incoming),
        Body::Timer(timer) => span.set("knarr.timer", timer.name.clone()),
        Body::Ended(ended) => {
            span.set("knarr.call", ended.task.call.clone());
            span.set("knarr.call.id", ended.task.id.to_string());
            if let CallEnd::Failed(failure) = &ended.end {
                span.set("knarr.call.failure", failure.class.clone());
            }
        }
    }
    span.set("knarr.endpoint", endpoint.to_string());
    span.set("knarr.saga", serving.saga.name().to_string());
    span.set("knarr.attempt", i64::from(incoming.attempt) + 1);
    Some(span)
}

/// The semantic conventions for messaging.
fn message(span: &mut Span, traces: &Traces, serving: &Serving, incoming: &Incoming) {
    span.set("messaging.system", traces.system());
    span.set("messaging.operation.name", "process");
    span.set("messaging.operation.type", "process");
    span.set("messaging.message.id", incoming.id.to_string());
    let queue = &*serving.endpoint.name;
    if let Source::Broker { raw, .. } = &incoming.source {
        let parts = [&raw.exchange, &raw.routing_key, queue];
        span.set("messaging.destination.name", destination(&parts));
        let key = Some(raw.routing_key.clone()).filter(|key| !key.is_empty());
        span.set_some("messaging.rabbitmq.destination.routing_key", key);
        span.set("messaging.message.body.size", raw.size as i64);
    } else {
        span.set("messaging.destination.name", queue);
    }
    let conversation = incoming.envelope().and_then(|envelope| envelope.conversation_id);
    span.set_some("messaging.message.conversation_id", conversation.map(|id| id.to_string()));
}

/// What became of it.
fn ended(span: &mut Span, fate: &Fate, row: Option<&JournalRow>) {
    about(span, fate.key, row.and_then(|row| row.run));
    if let Some(row) = row {
        span.set("knarr.event", row.event.clone());
        states(span, row);
    }
    let outcome = match fate.kind {
        FateKind::Applied => "applied",
        FateKind::Duplicate => "duplicate",
        FateKind::PassedOver => row.map_or("ignored", |row| row.outcome.as_str()),
        FateKind::Parked => "parked",
        FateKind::Failed => "failed",
        FateKind::Quarantined(_) => "quarantined",
        FateKind::Blocked(_) => "blocked",
        FateKind::Condemned => "contained",
    };
    span.set("knarr.outcome", outcome);
    match fate.kind {
        FateKind::Failed => {
            span.set("error.type", "failed");
            span.error = Some("its behaviour failed; it is tried again".to_owned());
        }
        FateKind::Quarantined(class) => {
            span.set("error.type", class.as_str());
            span.error = Some("it was set aside".to_owned());
        }
        _ => {}
    }
}

fn states(span: &mut Span, row: &JournalRow) {
    span.set_some("knarr.state.from", row.from_state.clone());
    span.set_some("knarr.state.to", row.to_state.clone());
}
