//! The whole of the HTTP side: paths, tokens and roles, the bounds, and answers where nothing fits.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::access;
use crate::api::{BASE, Offer, Shown, offers};
use crate::health;
use crate::openapi;
use crate::problem::Problem;
use crate::settings::{Settings, Sources};

/// The routes over these doors, within these bounds.
pub fn router(sources: Sources, settings: Settings) -> Router {
    let settings = Arc::new(settings);
    let shown = Shown { sources: Arc::new(sources), settings: settings.clone() };
    let (index, description) = (index(&offers()), openapi::document(&offers()));
    let api = offers()
        .into_iter()
        .fold(Router::new(), |router, offer| router.route(offer.path, guarded(offer, &settings)))
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(settings.max_body))
        .layer(middleware::from_fn_with_state(settings.clone(), access::authenticate));
    Router::new()
        .route("/", get(move || async { index }))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::numbers))
        .route("/api/openapi.json", get(move || async { Json(description) }))
        .nest(BASE, api)
        .fallback(nothing_here)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state(settings, within_deadline))
        .with_state(shown)
}

/// A route behind the role that it wants.
fn guarded(offer: Offer, settings: &Settings) -> axum::routing::MethodRouter<Shown> {
    let authorize = middleware::from_fn_with_state(offer.role, access::authorize);
    let route = if offer.large {
        offer.route.layer(DefaultBodyLimit::max(settings.max_edit))
    } else {
        offer.route
    };
    route.route_layer(authorize)
}

/// What is answered at `/`, for whoever opens the address in a browser.
fn index(offers: &[Offer]) -> String {
    let mut text = String::from(
        "Knarr\n\nGET    /health/live  /health/ready  /metrics\n\
         GET    /api/openapi.json  (everything here, described)\n\n\
         With `Authorization: Bearer <token>`, whose role is at least the one named:\n",
    );
    for offer in offers {
        let query = match offer.query {
            [] => String::new(),
            names => format!("?{}=", names.join("=&").replace("incident_status", "status")),
        };
        let (method, role) = (offer.method, offer.role.as_str());
        text.push_str(&format!("{method:<6} {role:<7} {}{query}\n", offer.full_path()));
    }
    text
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
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    match tokio::time::timeout(settings.deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) if reads => {
            Problem::away("The store or the broker did not answer in time. Try again in a moment.")
                .into_response()
        }
        Err(_) => Problem::away(
            "The store or the broker did not answer in time: it is not known whether the order was \
             carried out. Send it again with the same Idempotency-Key, or look first.",
        )
        .into_response(),
    }
}
