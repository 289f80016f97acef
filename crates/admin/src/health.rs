//! Whether the process lives and whether it is ready: asked by load balancers, without a token.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::Shown;
use crate::metrics;

/// 200 as long as the process answers at all.
pub(crate) async fn live() -> Response {
    Json(json!({ "status": "live" })).into_response()
}

/// 200 when broker and store answer and every consumer consumes; else 503 with the reasons.
pub(crate) async fn ready(State(shown): State<Shown>) -> Response {
    let reasons = (shown.sources.unready)();
    if reasons.is_empty() {
        return Json(json!({ "status": "ready", "reasons": [] })).into_response();
    }
    let body = Json(json!({ "status": "not-ready", "reasons": reasons }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// What the process has counted, as Prometheus reads it.
pub(crate) async fn numbers(State(shown): State<Shown>) -> Response {
    let text = metrics::text(&(shown.sources.metrics)());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
