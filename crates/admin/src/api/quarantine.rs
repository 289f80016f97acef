//! `GET /api/v1/quarantine[/{id}]`: messages set aside, and one with its bytes and errors.

use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State};
use knarr_model::ports::records::QuarantineFilter;
use knarr_model::quarantine::{Class, Status};
use serde::Deserialize;
use uuid::Uuid;

use super::shown::Shown;
use crate::paging::{Asked, List, page, query};
use crate::problem::Problem;
use crate::views::{QuarantineSummary, QuarantineView};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    status: Option<String>,
    endpoint: Option<String>,
    class: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// A word of a fixed set; the error names the set.
fn word<T: FromStr<Err = String>>(text: Option<String>, all: &str) -> Result<Option<T>, Problem> {
    text.map(|text| {
        text.parse().map_err(|why| Problem::bad_request(format!("{why}; there are: {all}.")))
    })
    .transpose()
}

pub(crate) async fn list(
    State(shown): State<Shown>,
    asked: Asked<Filter>,
) -> Result<Json<List<QuarantineSummary>>, Problem> {
    let Filter { status, endpoint, class, limit, cursor } = query(asked)?;
    let request = page(&shown.settings, limit, cursor)?;
    let classes = Class::ALL.iter().map(|class| class.as_str()).collect::<Vec<_>>().join(", ");
    let filter = QuarantineFilter {
        status: word::<Status>(status, "held, released, discarded")?,
        endpoint: endpoint.map(Into::into),
        class: word(class, &classes)?,
    };
    let found = shown.sources.records.quarantine(&filter, &request).await?;
    Ok(Json(List::of(found, QuarantineSummary::of)))
}

pub(crate) async fn show(
    State(shown): State<Shown>,
    Path(id): Path<String>,
) -> Result<Json<QuarantineView>, Problem> {
    let id: Uuid = id
        .parse()
        .map_err(|_| Problem::bad_request(format!("`{id}` is no quarantine id: it is a UUID.")))?;
    let found = shown.sources.records.quarantined(id).await?;
    let row =
        found.ok_or_else(|| Problem::unknown(format!("There is no set-aside message {id}.")))?;
    Ok(Json(QuarantineView::of(row)))
}
