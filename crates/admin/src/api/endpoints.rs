//! `endpoints`: where each one stands, and how much waits in its queue; halt, pause, resume.

use axum::Json;
use axum::extract::State;
use knarr_model::ports::store::EndpointRow;
use serde::Deserialize;

use super::answered::Answered;
use super::asking::{Asking, At, Reason};
use super::shown::Shown;
use crate::paging::{Asked, List, PageQuery, first_page};
use crate::problem::Problem;
use crate::views::{EndpointView, StopView};

/// Where endpoints are listed.
const LIST: &str = "/api/v1/endpoints";

pub(crate) async fn list(
    State(shown): State<Shown>,
    asked: Asked<PageQuery>,
) -> Result<Json<List<EndpointView>>, Problem> {
    let rows = shown.sources.records.endpoints().await?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(&shown, row).await);
    }
    Ok(Json(first_page(&shown.settings, asked, views)?))
}

/// A broker that is away hides only what it alone knows.
async fn view(shown: &Shown, row: EndpointRow) -> EndpointView {
    let depth = shown.sources.transport.depth(&row.name).await;
    let (known, problem) = match depth {
        Ok(depth) => (Some(depth), None),
        Err(error) => (None, Some(error.to_string())),
    };
    EndpointView {
        name: row.name.to_string(),
        state: row.state.as_str(),
        epoch: row.epoch,
        stop: row.stop.map(StopView::of),
        holder: row.holder.map(|node| node.0),
        restored_at: row.restored_at,
        depth: known.map(|depth| depth.ready),
        consumers: known.map(|depth| depth.consumers),
        problem,
    }
}

pub(crate) async fn halt(
    State(shown): State<Shown>,
    At(name): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let done = shown.sources.desk.halt(&asking.order, &name.into()).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

pub(crate) async fn pause(
    State(shown): State<Shown>,
    At(name): At<String>,
    asking: Asking,
) -> Result<Answered, Problem> {
    let done = shown.sources.desk.pause(&asking.order, &name.into()).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumeOptions {
    #[serde(default)]
    dry_run: bool,
    /// One message at a time first.
    #[serde(default)]
    probe: bool,
}

impl super::asking::Asked for ResumeOptions {
    fn is_dry(&self) -> bool {
        self.dry_run
    }
}

pub(crate) async fn resume(
    State(shown): State<Shown>,
    At(name): At<String>,
    asking: Asking<Reason, ResumeOptions>,
) -> Result<Answered, Problem> {
    let Asking { order, query, .. } = asking;
    let done = shown.sources.desk.resume(&order, &name.into(), query.probe).await;
    done.map(Answered::of).map_err(|error| Problem::of_order(error, LIST))
}
