//! Errors as problem documents (RFC 9457) that say what happened and what to do about it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use knarr_model::ports::StoreError;
use serde::Serialize;

/// An answer that is no success.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    /// `urn:knarr:problem:<name>`: stable, for programs.
    #[serde(rename = "type")]
    kind: String,
    /// The same for people.
    title: &'static str,
    status: u16,
    /// What happened here, and what to do.
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, name: &str, title: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("urn:knarr:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    /// 400: the request itself is wrong.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request cannot be understood",
            detail,
        )
    }

    /// 401: no token, or another one.
    pub(crate) fn no_token(detail: impl Into<String>) -> Self {
        let title = "A token is needed";
        Problem::new(StatusCode::UNAUTHORIZED, "no-token", title, detail)
    }

    /// 404: nothing by this name.
    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "unknown", "There is no such thing", detail)
    }

    /// 405: the path exists, the method does not.
    pub(crate) fn wrong_method(detail: impl Into<String>) -> Self {
        let title = "The method is not offered here";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", title, detail)
    }

    /// 413: the body is larger than the setting allows.
    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        let title = "The body is too large";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title, detail)
    }

    /// 415: the body is of another type than JSON.
    pub(crate) fn not_json(detail: impl Into<String>) -> Self {
        let title = "The body must be JSON";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", title, detail)
    }

    /// 503: the store or the broker is away; the same request may work later.
    pub(crate) fn away(detail: impl Into<String>) -> Self {
        let title = "Try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "away", title, detail)
    }

    /// 500: trying again will not mend it.
    fn broken(detail: impl Into<String>) -> Self {
        let title = "Something is broken";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "broken", title, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            return Problem::away(format!("{error}. The store is away; ask again in a moment."));
        }
        if error.is_data() {
            return Problem::bad_request(error.to_string());
        }
        tracing::error!(%error, "a request failed at the store");
        Problem::broken(format!("{error}. The server's log tells more."))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        let media = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media);
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}
