//! `sagas/{saga}/instances`: what runs, one instance with all around it; cancel, purge, resume.

use axum::Json;
use axum::extract::State;
use knarr_model::ports::records::InstanceSummary;
use knarr_model::{InstanceId, Name};
use serde::Deserialize;

use super::answered::Answered;
use super::asking::{Asking, At};
use super::shown::Shown;
use super::words;
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
    At(saga): At<String>,
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
    At((saga, id)): At<(String, String)>,
) -> Result<Json<InstanceView>, Problem> {
    let id = InstanceId(words::id(&id, "instance")?);
    let saga = shown.known_saga(&saga).await?;
    let found = shown.sources.records.instance(&saga, id).await?;
    let detail =
        found.ok_or_else(|| Problem::unknown(format!("The saga {saga} has no instance {id}.")))?;
    let shape = shown.saga(&saga).map(|saga| &saga.shape);
    let waiting = waiting::why(&detail, shape, shown.sources.clock.now());
    Ok(Json(InstanceView::of(detail, waiting)))
}

pub(crate) async fn cancel(
    State(shown): State<Shown>,
    At((saga, id)): At<(String, String)>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let (saga, id) = named(saga, &id)?;
    let done = shown.sources.desk.cancel(&asking.order, &saga, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, &listed(&saga)))
}

pub(crate) async fn purge(
    State(shown): State<Shown>,
    At((saga, id)): At<(String, String)>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let (saga, id) = named(saga, &id)?;
    let done = shown.sources.desk.purge(&asking.order, &saga, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, &listed(&saga)))
}

pub(crate) async fn resume(
    State(shown): State<Shown>,
    At((saga, id)): At<(String, String)>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let (saga, id) = named(saga, &id)?;
    let done = shown.sources.desk.resume_instance(&asking.order, &saga, id).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, &listed(&saga)))
}

fn named(saga: String, id: &str) -> Result<(Name, InstanceId), Problem> {
    Ok((saga.into(), InstanceId(words::id(id, "instance")?)))
}

/// Where the instances of a saga are listed.
fn listed(saga: &Name) -> String {
    format!("/api/v1/sagas/{saga}/instances")
}
