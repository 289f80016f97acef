//! The span of one request: its place goes out with it, and its end is told.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::Failure;
use knarr_model::ports::Spans;
use knarr_model::trace::{Span, SpanKind};
use knarr_model::within::current;
use knarr_model::{TraceParent, envelope::TRACE_PARENT};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::draft::Draft;
use crate::response::Response;
use crate::secret::redact;

/// A request within a span.
pub(crate) struct Traced {
    spans: Arc<dyn Spans>,
    place: TraceParent,
    parent: TraceParent,
    state: Option<String>,
    began: DateTime<Utc>,
    method: String,
    url: Url,
    /// The address without user, query and fragment, and without secrets.
    shown: String,
}

impl Traced {
    /// Writes the trace context of who asks into the request. The span is there to be told when
    /// somebody takes it. Baggage goes to no outside service.
    pub(crate) fn begin(draft: &mut Draft) -> Option<Traced> {
        let scope = current()?;
        let place = match &scope.spans {
            Some(spans) => spans.begin(Some(scope.place)),
            None => scope.place,
        };
        let given = set(&mut draft.headers, TRACE_PARENT, &place.to_string());
        if let Some(state) = scope.state.as_deref().filter(|_| !given) {
            set(&mut draft.headers, "tracestate", state);
        }
        let spans = scope.spans.clone().filter(|_| place.sampled)?;
        let began = spans.now();
        let mut shown = draft.url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        let nobody = shown.set_username("").and_then(|()| shown.set_password(None));
        let shown =
            nobody.map_or_else(|()| String::new(), |()| redact(shown.as_str(), &draft.secrets));
        Some(Traced {
            spans,
            place,
            parent: scope.place,
            state: scope.state.clone(),
            began,
            method: draft.method.to_string(),
            url: draft.url.clone(),
            shown,
        })
    }

    /// The request has ended, one way or the other.
    pub(crate) fn end(self, answer: &Result<Response, Failure>) {
        let mut span = Span {
            place: self.place,
            parent: Some(self.parent),
            state: self.state,
            name: self.method.clone(),
            kind: SpanKind::Client,
            began: self.began,
            ended: self.spans.now().max(self.began),
            attributes: Vec::with_capacity(8),
            links: Vec::new(),
            error: None,
        };
        span.set("http.request.method", self.method);
        span.set("url.full", self.shown);
        span.set_some("server.address", self.url.host_str());
        span.set_some("server.port", self.url.port_or_known_default().map(i64::from));
        match answer {
            Ok(answer) => {
                span.set("http.response.status_code", i64::from(answer.status));
                if answer.status >= 400 {
                    span.set("error.type", answer.status.to_string());
                    span.error = Some(String::new());
                }
            }
            Err(failure) => {
                span.set("error.type", failure.class.clone());
                span.error = Some(failure.reason.clone());
            }
        }
        self.spans.end(span);
    }
}

/// Sets a header unless the request has it; says whether it had.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) -> bool {
    let name = HeaderName::from_static(name);
    if headers.contains_key(&name) {
        return true;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
    false
}
