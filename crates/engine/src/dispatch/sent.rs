//! The spans of messages that left: one a try at the broker.

use chrono::{DateTime, Utc};
use knarr_model::envelope::TRACE_PARENT;
use knarr_model::ports::transport::Published;
use knarr_model::trace::{Span, SpanKind};
use knarr_model::work::Outgoing;

use crate::spans::{Traces, about, destination};

/// Tells how a round of publishing went: a span for each message whose trace is kept.
pub(super) fn tell<'a>(
    traces: &Traces,
    round: impl Iterator<Item = (&'a Outgoing, &'a Published)>,
    began: DateTime<Utc>,
    now: DateTime<Utc>,
) {
    if !traces.is_on() {
        return;
    }
    traces.end(round.filter_map(|(message, answer)| of(traces, message, answer, (began, now))));
}

fn of(
    traces: &Traces,
    message: &Outgoing,
    answer: &Published,
    at: (DateTime<Utc>, DateTime<Utc>),
) -> Option<Span> {
    // Its parent is the span that made it: that one's place travels with it, and with its row.
    let parent = message.headers.text(TRACE_PARENT)?;
    let begun = traces.begin(Some(&parent), message.headers.text("tracestate"))?;
    if !begun.is_told() || begun.parent.is_none() {
        return None;
    }
    // A queue that its owner made for answers is not one of few.
    let low = if message.exchange.is_empty() { "amq.default" } else { &message.exchange };
    let mut span = begun.span((format!("send {low}"), SpanKind::Producer), at);
    span.set("messaging.system", traces.system());
    span.set("messaging.operation.name", "send");
    span.set("messaging.operation.type", "send");
    let parts = [message.exchange.as_str(), message.routing_key.as_str()];
    span.set("messaging.destination.name", destination(&parts));
    let key = Some(message.routing_key.clone()).filter(|key| !key.is_empty());
    span.set_some("messaging.rabbitmq.destination.routing_key", key);
    span.set("messaging.message.id", message.id.to_string());
    span.set("messaging.message.body.size", message.body.len() as i64);
    let of = message.sequence;
    about(&mut span, of.map(|of| of.instance), of.map(|of| of.run));
    let (outcome, error) = match answer {
        Published::Confirmed => ("confirmed", None),
        Published::Returned(why) => ("returned", Some(why)),
        Published::Impossible(why) => ("impossible", Some(why)),
        Published::Unknown(why) => ("unknown", Some(why)),
    };
    span.set("knarr.outcome", outcome);
    if let Some(why) = error {
        span.set("error.type", outcome);
        span.error = Some(why.clone());
    }
    Some(span)
}
