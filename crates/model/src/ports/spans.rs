//! Where spans of traces go, for an engine that is to tell them.

use chrono::{DateTime, Utc};

use crate::trace::{Span, TraceParent};

/// Takes spans. Where nobody wants them there is no such port, and nothing is paid for them.
pub trait Spans: Send + Sync {
    /// The place of a new span under `parent`; without one a trace begins.
    ///
    /// Whether a trace is kept is decided here. Of one that is not, no span is told: then the place
    /// is `parent` itself, or that of a trace which everybody after us leaves out too.
    fn begin(&self, parent: Option<TraceParent>) -> TraceParent;

    /// Takes a span that has ended. Never waits: what cannot be taken is dropped and counted.
    fn end(&self, span: Span);

    /// The time on the spans' clock, for those who have no other.
    fn now(&self) -> DateTime<Utc>;
}
