//! `GET /api/v1/audit`: who did what, and why.

use axum::Json;
use axum::extract::State;
use knarr_model::Name;
use serde::Deserialize;

use super::shown::Shown;
use crate::paging::{Asked, List, page, query};
use crate::problem::Problem;
use crate::views::AuditView;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    endpoint: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(crate) async fn list(
    State(shown): State<Shown>,
    asked: Asked<Filter>,
) -> Result<Json<List<AuditView>>, Problem> {
    let Filter { endpoint, limit, cursor } = query(asked)?;
    let request = page(&shown.settings, limit, cursor)?;
    let endpoint: Option<Name> = endpoint.map(Into::into);
    let found = shown.sources.incidents.audit(endpoint.as_ref(), &request).await?;
    Ok(Json(List::of(found, AuditView::of)))
}
