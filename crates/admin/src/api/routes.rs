//! Which path and method leads to which noun.

use axum::Router;
use axum::routing::{get, post};

use super::shown::Shown;
use super::{endpoints, instances, messages, quarantine, sagas};

/// Everything under `/api/v1`.
pub(crate) fn routes() -> Router<Shown> {
    Router::new()
        .route("/sagas", get(sagas::list))
        .route("/sagas/{saga}/instances", get(instances::list))
        .route("/sagas/{saga}/instances/{id}", get(instances::show))
        .route("/endpoints", get(endpoints::list))
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/{id}", get(quarantine::show))
        .route("/messages", post(messages::send))
}
