//! `incidents`: what failed, what was removed and what is kept; retry, resolve, discard.

use axum::Json;
use axum::extract::State;
use knarr_model::ports::incidents::IncidentFilter;

use super::answered::Answered;
use super::asking::{Asking, At};
use super::filter::{Filter, Wanted};
use super::shown::Shown;
use super::words;
use crate::incident_views::{IncidentSummary, IncidentView};
use crate::next::Next;
use crate::paging::{Asked, List};
use crate::problem::Problem;

/// Where incidents are listed.
const LIST: &str = "/api/v1/incidents";
const NOUN: &str = "incident";

pub(crate) async fn list(
    State(shown): State<Shown>,
    asked: Asked<Filter>,
) -> Result<Json<List<IncidentSummary>>, Problem> {
    let statuses = "open, retried, resolved, discarded";
    let Wanted { status, endpoint, class, page } = Wanted::read(asked, statuses, &shown.settings)?;
    let filter = IncidentFilter { status, endpoint, class };
    let found = shown.sources.incidents.incidents(&filter, &page).await?;
    Ok(Json(List::of(found, IncidentSummary::of)))
}

pub(crate) async fn show(
    State(shown): State<Shown>,
    At(id): At<String>,
) -> Result<Json<IncidentView>, Problem> {
    let id = words::id(&id, NOUN)?;
    let found = shown.sources.incidents.incident(id).await?;
    let incident = found.ok_or_else(|| {
        Problem::unknown(format!("There is no incident {id}. GET {LIST} lists them."))
    })?;
    let kept = shown.sources.incidents.snapshot(id).await?;
    let endpoints = shown.sources.records.endpoints().await?;
    let endpoint = endpoints.into_iter().find(|row| row.name == incident.endpoint);
    let next = Next::of_incident(&incident, kept.is_some(), endpoint.as_ref());
    let state = endpoint.map(|row| row.state.as_str());
    Ok(Json(IncidentView::of(incident, kept, state, next)))
}

pub(crate) async fn retry(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let done = shown.sources.desk.retry(&asking.order, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

pub(crate) async fn resolve(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let done = shown.sources.desk.resolve(&asking.order, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

pub(crate) async fn discard(
    State(shown): State<Shown>,
    At(id): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let id = words::id(&id, NOUN)?;
    let done = shown.sources.desk.discard_incident(&asking.order, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}
