//! What every stand-in does with a request: answers it, notes it, notices when its client goes away.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};

use crate::answer::Answer;
use crate::requests::{Request, Requests};
use crate::settings::Settings;

/// A service behind its routes.
pub(crate) struct Desk<T> {
    pub(crate) settings: Settings,
    pub(crate) requests: Arc<Requests>,
    pub(crate) service: T,
}

impl<T> Desk<T> {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.settings.now)()
    }

    /// Answers one request, notes it, and notices when its client goes away first.
    pub(crate) async fn answer(
        &self,
        (method, uri, headers): (Method, Uri, HeaderMap),
        about: Option<String>,
        answer: impl FnOnce() -> Answer,
    ) -> Response {
        let open = self.requests.begin();
        if !self.settings.latency.is_zero() {
            wait(self.settings.latency).await;
        }
        let answer = answer();
        open.answered();
        self.requests.note(Request {
            method: method.to_string(),
            path: without_key(&uri),
            about,
            status: answer.status.as_u16(),
            traceparent: headers.get("traceparent").and_then(|it| it.to_str().ok()).map(Into::into),
        });
        answer.into_response(&headers)
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-in is no part of the engine: its own clock")]
async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn without_key(uri: &Uri) -> String {
    let query: Vec<_> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty() && !part.starts_with("key="))
        .collect();
    if query.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), query.join("&"))
    }
}
