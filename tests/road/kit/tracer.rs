//! Takes the spans of the road's nodes; its ids are numbers, so that they are the same in every run.

use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::TraceParent;
use knarr_model::ports::{Clock, Spans};
use knarr_model::trace::{Span, Told};
use parking_lot::Mutex;

/// Keeps every span of every trace that its parent keeps.
pub(crate) struct Tracer {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ids: u64,
    spans: Vec<Span>,
}

impl Tracer {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Tracer { clock, state: Mutex::default() }
    }

    /// All spans so far, in the order in which they ended.
    pub(crate) fn all(&self) -> Vec<Span> {
        self.state.lock().spans.clone()
    }

    /// Spans of this name.
    pub(crate) fn named(&self, name: &str) -> Vec<Span> {
        self.all().into_iter().filter(|span| span.name == name).collect()
    }

    /// The one span of this name.
    pub(crate) fn one(&self, name: &str) -> Span {
        let [span] = &self.named(name)[..] else {
            let names: Vec<_> = self.all().into_iter().map(|span| span.name).collect();
            panic!("not one `{name}` in {names:?}")
        };
        span.clone()
    }
}

impl Spans for Tracer {
    fn begin(&self, parent: Option<TraceParent>) -> TraceParent {
        if let Some(parent) = parent.filter(|parent| !parent.sampled) {
            return parent;
        }
        let mut state = self.state.lock();
        state.ids += 1;
        let span = NonZeroU64::new(state.ids).expect("it counts from 1");
        let trace = parent.map_or(NonZeroU128::from(span), |parent| parent.trace);
        TraceParent { trace, span, sampled: true }
    }

    fn end(&self, span: Span) {
        self.state.lock().spans.push(span);
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

/// An attribute as text; empty when it is not there.
pub(crate) fn attribute(span: &Span, name: &str) -> String {
    match span.get(name) {
        Some(Told::Text(text)) => text.clone(),
        Some(Told::Number(number)) => number.to_string(),
        None => String::new(),
    }
}
