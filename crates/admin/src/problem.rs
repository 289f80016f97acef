//! Errors as problem documents (RFC 9457) that say what happened and what to do about it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use knarr_guard::Error;
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::Refusal;
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

    /// 403: the token's role is too small.
    pub(crate) fn too_small(detail: impl Into<String>) -> Self {
        let title = "The token may not do this";
        Problem::new(StatusCode::FORBIDDEN, "forbidden", title, detail)
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

    /// 409: it stands otherwise than the request needs.
    fn conflict(detail: impl Into<String>) -> Self {
        let title = "It stands otherwise by now";
        Problem::new(StatusCode::CONFLICT, "conflict", title, detail)
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

    /// 422: the request is understood, and what it brings does not do.
    fn invalid(detail: impl Into<String>) -> Self {
        let title = "What was sent does not do";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", title, detail)
    }

    /// An order that was not carried out; `list` is where to look for what there is.
    pub(crate) fn of_order(error: Error, list: &str) -> Self {
        let refusal = match error {
            Error::Refused(refusal) => refusal,
            Error::Store(error) if error.is_transient() => {
                return Problem::away(format!(
                    "{error}. It is not known whether the order was carried out: send it again \
                     with the same Idempotency-Key, or look first at GET {list}."
                ));
            }
            Error::Store(error) => return error.into(),
            other => return Problem::broken(format!("{other}. The server's log tells more.")),
        };
        match refusal {
            Refusal::Unknown(why) => {
                Problem::unknown(format!("{}. GET {list} lists what there is.", sentence(&why)))
            }
            Refusal::Conflict(why) => Problem::conflict(format!(
                "{}. Nothing was changed. GET {list} shows how things stand now.",
                sentence(&why)
            )),
            Refusal::Invalid(why) => Problem::invalid(format!(
                "{}. Nothing was changed. Mend that and send it again.",
                sentence(&why)
            )),
            Refusal::Changed => Problem::away(
                "The state changed again and again while the order was looked at. Nothing was \
                 changed: try again.",
            ),
            other => Problem::broken(format!("{other}. The server's log tells more.")),
        }
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

/// What a refusal says, as the beginning of a sentence.
fn sentence(why: &str) -> String {
    let mut letters = why.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
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
