//! `GET /api/v1/sagas`: the definitions this process serves, with how many instances are where.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;

use super::shown::Shown;
use crate::paging::{Asked, List, PageQuery, first_page};
use crate::problem::Problem;
use crate::views::SagaView;

pub(crate) async fn list(
    State(shown): State<Shown>,
    asked: Asked<PageQuery>,
) -> Result<Json<List<SagaView>>, Problem> {
    let counts = shown.sources.records.counts().await?;
    let views = shown.sources.sagas.iter().map(|saga| {
        let own = counts.iter().filter(|count| count.saga == saga.name);
        let by_state: BTreeMap<_, _> =
            own.map(|count| (count.state.clone(), count.count)).collect();
        SagaView::of(saga, by_state)
    });
    Ok(Json(first_page(&shown.settings, asked, views.collect())?))
}
