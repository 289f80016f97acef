//! `GET /api/v1/sagas/{saga}/instances[/{id}]`: what runs, and one instance with all around it.

use axum::Json;
use axum::extract::{Path, State};
use knarr_model::InstanceId;
use knarr_model::ports::records::InstanceSummary;
use serde::Deserialize;

use super::shown::Shown;
use crate::paging::{Asked, List, page, query};
use crate::problem::Problem;
use crate::views::InstanceView;
use crate::waiting;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    state: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(crate) async fn list(
    State(shown): State<Shown>,
    Path(saga): Path<String>,
    asked: Asked<Filter>,
) -> Result<Json<List<InstanceSummary>>, Problem> {
    let Filter { state, limit, cursor } = query(asked)?;
    let request = page(&shown.settings, limit, cursor)?;
    let saga = shown.known_saga(&saga).await?;
    let found = shown.sources.records.instances(&saga, state.as_deref(), &request).await?;
    Ok(Json(List::of(found, |row| row)))
}

pub(crate) async fn show(
    State(shown): State<Shown>,
    Path((saga, id)): Path<(String, String)>,
) -> Result<Json<InstanceView>, Problem> {
    let id: InstanceId = id
        .parse()
        .map_err(|_| Problem::bad_request(format!("`{id}` is no instance id: it is a UUID.")))?;
    let saga = shown.known_saga(&saga).await?;
    let found = shown.sources.records.instance(&saga, id).await?;
    let detail =
        found.ok_or_else(|| Problem::unknown(format!("The saga {saga} has no instance {id}.")))?;
    let shape = shown.saga(&saga).map(|saga| &saga.shape);
    let waiting = waiting::why(&detail, shape, shown.sources.clock.now());
    Ok(Json(InstanceView::of(detail, waiting)))
}
