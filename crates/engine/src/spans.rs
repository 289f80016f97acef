//! Spans of the engine: a place is taken before something is done, and told of once it is durable.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::ports::Spans;
use knarr_model::trace::{Span, SpanKind};
use knarr_model::{InstanceId, TraceParent};

/// A span that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// Where it stands.
    pub(crate) place: TraceParent,
    /// What caused it; without one a trace begins here.
    pub(crate) parent: Option<TraceParent>,
    /// The vendors' part of the trace context.
    pub(crate) state: Option<String>,
}

/// The way to whoever takes spans; nobody, most of the time.
#[derive(Clone, Default)]
pub(crate) struct Traces {
    spans: Option<Arc<dyn Spans>>,
    /// `messaging.system`.
    system: String,
}

impl Traces {
    /// Spans go to `spans`; `address` is one of an endpoint on the broker in use.
    pub(crate) fn new(spans: Option<Arc<dyn Spans>>, address: &str) -> Self {
        let scheme = address.split(':').next().unwrap_or_default();
        // MassTransit's scheme for the queues of one process.
        let system = if scheme == "loopback" { "knarr" } else { scheme };
        Traces { spans, system: system.to_owned() }
    }

    /// Whether anybody takes spans.
    pub(crate) fn is_on(&self) -> bool {
        self.spans.is_some()
    }

    /// Who takes them.
    pub(crate) fn port(&self) -> Option<&Arc<dyn Spans>> {
        self.spans.as_ref()
    }

    /// `messaging.system`.
    pub(crate) fn system(&self) -> &str {
        &self.system
    }

    /// Takes a place under what caused it. `None` when nobody takes spans.
    pub(crate) fn begin(&self, parent: Option<&str>, state: Option<String>) -> Option<Begun> {
        let parent = parent.and_then(|text| text.parse().ok());
        let place = self.spans.as_ref()?.begin(parent);
        Some(Begun { place, parent, state: state.filter(|_| parent.is_some()) })
    }

    /// A place in a trace of its own that is kept whatever the sampler says: what it belongs to is.
    pub(crate) fn begin_kept(&self) -> Option<Begun> {
        let place = self.spans.as_ref()?.begin(None);
        Some(Begun { place: TraceParent { sampled: true, ..place }, parent: None, state: None })
    }

    /// Tells of spans that have ended.
    pub(crate) fn end(&self, ended: impl IntoIterator<Item = Span>) {
        if let Some(spans) = &self.spans {
            ended.into_iter().for_each(|span| spans.end(span));
        }
    }
}

impl Begun {
    /// Whether anything is to be told of it.
    pub(crate) fn is_told(&self) -> bool {
        self.place.sampled
    }

    /// The span, as it is told when it has ended.
    pub(crate) fn span(
        &self,
        (name, kind): (String, SpanKind),
        (began, ended): (DateTime<Utc>, DateTime<Utc>),
    ) -> Span {
        Span {
            place: self.place,
            parent: self.parent,
            state: self.state.clone(),
            name,
            kind,
            began,
            ended: ended.max(began),
            attributes: Vec::with_capacity(16),
            links: Vec::new(),
            error: None,
        }
    }
}

/// Which run of which instance a span is about.
pub(crate) fn about(span: &mut Span, instance: Option<InstanceId>, run: Option<u32>) {
    span.set_some("knarr.instance.id", instance.map(|id| id.to_string()));
    span.set_some("knarr.run", run.map(i64::from));
}

/// Where a message goes, as the semantic conventions for RabbitMQ write it: exchange, routing key
/// and queue, as far as there are such.
pub(crate) fn destination(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "amq.default".to_owned() } else { parts.join(":") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_written_as_the_conventions_say() {
        assert_eq!(destination(&["Shop:Order", "", "orders"]), "Shop:Order:orders");
        assert_eq!(destination(&["", "amq.gen-1"]), "amq.gen-1");
        assert_eq!(destination(&["", ""]), "amq.default");
    }

    #[test]
    fn the_messaging_system_is_that_of_the_address() {
        for (address, system) in [("rabbitmq://h/v/q", "rabbitmq"), ("loopback://l/q", "knarr")] {
            assert_eq!(Traces::new(None, address).system(), system);
        }
    }
}
