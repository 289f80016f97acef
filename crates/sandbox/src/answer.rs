//! An answer before it is HTTP: status, JSON or a page, and when to come back.

use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// What a stand-in answers.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        Answer {
            status,
            content_type: "application/json; charset=utf-8",
            body: body.to_string().into_bytes(),
            retry_after: None,
        }
    }

    pub(crate) fn ok(body: &Value) -> Self {
        Answer::json(StatusCode::OK, body)
    }

    /// What a gateway in front of the service says when the service itself does not.
    pub(crate) fn page() -> Self {
        Answer {
            status: StatusCode::BAD_GATEWAY,
            content_type: "text/html",
            body: b"<html><body><h1>502 Bad Gateway</h1></body></html>".to_vec(),
            retry_after: None,
        }
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// An error in VirusTotal's form.
    pub(crate) fn virus_total(status: StatusCode, code: &str, message: &str) -> Self {
        Answer::json(status, &json!({ "error": { "code": code, "message": message } }))
    }

    /// An error in the form of Google's API front end.
    pub(crate) fn google(status: StatusCode, name: &str, message: &str, details: Value) -> Self {
        let code = status.as_u16();
        let error = json!({ "code": code, "message": message, "status": name, "details": details });
        Answer::json(status, &json!({ "error": error }))
    }

    /// The answer as HTTP, compressed when the client takes that.
    pub(crate) fn into_response(self, asked: &HeaderMap) -> Response {
        let gzip = asked
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.contains("gzip"));
        let packed = if gzip { pack(&self.body) } else { None };
        let mut response = Response::new(Body::from(packed.clone().unwrap_or(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if packed.is_some() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}

fn pack(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
