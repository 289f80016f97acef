//! `GET /api/v1/endpoints`: where each one stands, and how much waits in its queue.

use axum::Json;
use axum::extract::State;
use knarr_model::ports::store::EndpointRow;

use super::shown::Shown;
use crate::paging::{Asked, List, PageQuery, first_page};
use crate::problem::Problem;
use crate::views::EndpointView;

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
        holder: row.holder.map(|node| node.0),
        depth: known.map(|depth| depth.ready),
        consumers: known.map(|depth| depth.consumers),
        problem,
    }
}
