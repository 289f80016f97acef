//! An answer, whole and bounded, and what it means when it is not what was hoped for.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use knarr_model::Failure;
use knarr_model::fault::cut;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use crate::fault::{lost, of_status, retry_after};
use crate::secret::{Secret, redact};

/// As much of an answer's text as an error shows, in bytes.
const SHOWN: usize = 200;

/// An answer with its whole body. `Debug` shows neither headers nor body, which may hold secrets.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, inflated; never larger than [`crate::Settings::max_body`].
    pub body: Bytes,
    pub(crate) host: String,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) repeatable: bool,
    pub(crate) longest_wait: Duration,
}

/// A service's own description of an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Its code, which becomes the failure's class.
    pub code: String,
    /// Its words.
    pub message: String,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Response");
        shown.field("host", &self.host).field("status", &self.status);
        shown.field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Response {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header as text; `None` when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the server asks to wait, capped.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, self.longest_wait)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Class `bad-answer`: transient, for what stands in between (a portal, a proxy's page) may
    /// be gone next time; unknown when the request must not be repeated.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let reason = format!("{} answered no JSON of the expected shape: {error}", self.host);
            lost(self.repeatable, "bad-answer", self.redact(&reason))
        })
    }

    /// What this answer means as a failure; for any status that the caller does not take.
    /// `api` is the service's own description, if its body holds one.
    #[must_use]
    pub fn failure(&self, api: Option<ApiError>) -> Failure {
        let (code, said) = match &api {
            Some(api) => (Some(self.redact(&api.code)), api.message.clone()),
            None => (None, self.shown()),
        };
        let reason = if said.is_empty() {
            format!("{} answered {}", self.host, self.status)
        } else {
            format!("{} answered {}: {}", self.host, self.status, cut(&said, SHOWN * 4))
        };
        let (code, reason) = (code.as_deref(), self.redact(&reason));
        of_status(self.status, code, &reason, self.retry_after(), self.repeatable)
    }

    /// The beginning of the body in one line.
    fn shown(&self) -> String {
        let end = self.body.len().min(SHOWN * 4);
        let text = String::from_utf8_lossy(&self.body[..end]);
        let line = text.split(|c: char| c.is_whitespace() || c.is_control());
        let line: Vec<_> = line.filter(|word| !word.is_empty()).collect();
        // The cut comes after the secrets are out, or half of one might be left at the end.
        cut(&self.redact(&line.join(" ")), SHOWN)
    }

    fn redact(&self, text: &str) -> String {
        redact(text, &self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use knarr_model::FailureKind;

    use super::*;

    fn answer(status: u16, body: &str, repeatable: bool) -> Response {
        Response {
            status,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            host: "api.example.com".to_owned(),
            secrets: vec![Secret::new("hunter2")],
            repeatable,
            longest_wait: Duration::from_secs(60),
        }
    }

    #[test]
    fn row_107_a_key_that_the_server_echoes_is_in_no_error() {
        let echo = answer(401, "no user with\n key  hunter2", true);
        let failure = echo.failure(None);
        assert_eq!(failure.reason, "api.example.com answered 401: no user with key ***");
        let api = ApiError { code: "hunter2".to_owned(), message: "`hunter2`".to_owned() };
        let failure = echo.failure(Some(api));
        assert_eq!((failure.class.as_str(), failure.kind), ("***", FailureKind::Permanent));
        assert!(!format!("{failure:?}{echo:?}").contains("hunter2"), "{failure:?}");
        let wrong = answer(200, r#"{"a":"hunter2"}"#, true)
            .json::<std::collections::BTreeMap<String, u8>>();
        assert!(!wrong.expect_err("no number").reason.contains("hunter2"));
    }

    #[test]
    fn row_104_html_in_a_200_is_a_bad_answer_that_may_pass_or_is_not_known() {
        let html = "<html><body>Sign in to the hotel's network</body></html>";
        let failure = answer(200, html, true).json::<u8>().expect_err("no JSON");
        assert_eq!((failure.class.as_str(), failure.kind), ("bad-answer", FailureKind::Transient));
        let failure = answer(200, html, false).json::<u8>().expect_err("no JSON");
        assert_eq!(failure.kind, FailureKind::Unknown);
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let failure = answer(200, &deep, true).json::<serde_json::Value>().expect_err("too deep");
        assert!(failure.reason.contains("recursion limit"), "{}", failure.reason);
    }
}
