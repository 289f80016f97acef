//! A request's body as JSON, with what is wrong with it told in words.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// Reads the body, of at most `most` bytes; an error names the member.
pub(crate) fn read<T: DeserializeOwned>(
    most: usize,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Problem> {
    of_json(headers, &whole(most, body)?)
}

/// As [`read`]; `None` when there is no body at all, whatever the headers say.
pub(crate) fn read_if_any<T: DeserializeOwned>(
    most: usize,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Option<T>, Problem> {
    let body = whole(most, body)?;
    if body.is_empty() { Ok(None) } else { of_json(headers, &body).map(Some) }
}

fn whole(most: usize, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| {
        let text = rejection.body_text();
        match rejection.into_response().status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(format!(
                "At most {most} bytes are taken here. Larger messages go to the broker directly."
            )),
            _ => Problem::bad_request(format!("{text}. Send the body again.")),
        }
    })
}

fn of_json<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    if !is_json(headers) {
        return Err(Problem::not_json("Send it with `Content-Type: application/json`."));
    }
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("The body is not what is expected here: {error}."))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
