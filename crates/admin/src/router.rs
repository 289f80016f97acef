//! The whole of the HTTP side: paths, the token, the bounds, and answers where nothing fits.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access;
use crate::api::{self, Shown};
use crate::health;
use crate::problem::Problem;
use crate::settings::{Settings, Sources};

/// What is answered at `/`, for whoever opens the address in a browser.
const INDEX: &str = "Knarr\n\n\
    GET  /health/live  /health/ready  /metrics\n\n\
    With `Authorization: Bearer <token>`:\n\
    GET  /api/v1/sagas\n\
    GET  /api/v1/sagas/{saga}/instances?state=&limit=&cursor=\n\
    GET  /api/v1/sagas/{saga}/instances/{id}\n\
    GET  /api/v1/endpoints\n\
    GET  /api/v1/quarantine?status=&endpoint=&class=&limit=&cursor=\n\
    GET  /api/v1/quarantine/{id}\n\
    POST /api/v1/messages?dry_run=  {\"type\", \"message\", \"headers\"}\n";

/// The routes over these doors, within these bounds.
pub fn router(sources: Sources, settings: Settings) -> Router {
    let settings = Arc::new(settings);
    let shown = Shown { sources: Arc::new(sources), settings: settings.clone() };
    let api = api::routes()
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(settings.max_body))
        .layer(middleware::from_fn_with_state(settings.clone(), access::guard));
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::numbers))
        .nest("/api/v1", api)
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(settings, within_deadline))
        .with_state(shown)
}

async fn nothing_here(request: Request) -> Problem {
    Problem::unknown(format!("There is nothing at {}. GET / lists what is.", request.uri().path()))
}

async fn other_method(request: Request) -> Problem {
    Problem::wrong_method(format!(
        "{} does not take {}. GET / lists what is offered.",
        request.uri().path(),
        request.method()
    ))
}

/// A store or broker that hangs must not hold a connection for ever.
async fn within_deadline(
    State(settings): State<Arc<Settings>>,
    request: Request,
    next: Next,
) -> Response {
    match tokio::time::timeout(settings.deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::away("The store or the broker did not answer in time.").into_response(),
    }
}
