//! A request's body as JSON, with what is wrong with it told in words.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::settings::Settings;

/// Reads the body; an error names the member.
pub(crate) fn read<T: DeserializeOwned>(
    settings: &Settings,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Problem> {
    if !is_json(headers) {
        return Err(Problem::not_json("Send it with `Content-Type: application/json`."));
    }
    let body = body.map_err(|rejection| {
        let text = rejection.body_text();
        match rejection.into_response().status() {
            axum::http::StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(format!(
                "At most {} bytes are taken. Larger messages go to the broker directly.",
                settings.max_body
            )),
            _ => Problem::bad_request(text),
        }
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        Problem::bad_request(format!("The body is not what is expected here: {error}."))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
