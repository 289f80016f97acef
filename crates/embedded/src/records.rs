//! The reading side: lists by page, one instance with everything around it, counts.

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ids::{InstanceId, Name};
use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, StateCount,
};
use knarr_model::ports::store::EndpointRow;
use knarr_model::ports::{Records, StoreError};
use knarr_model::quarantine::Quarantined;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::Error;
use crate::rows::{get, id, instant, name, readable, whole};
use crate::store::Store;
use crate::{activities, endpoints, instances, journal, parked, quarantine, timers};

const PAGE: &str = "SELECT id, saga, run, state, version, updated_at FROM instance
    WHERE saga = ?1 AND (?2 IS NULL OR state = ?2) AND (updated_at, id) < (?3, ?4)
    ORDER BY updated_at DESC, id DESC LIMIT ?5";
const COUNTS: &str =
    "SELECT saga, state, count(*) FROM instance GROUP BY saga, state ORDER BY saga, state";

/// Where a page begins: after this time and id, both falling.
pub(crate) type Place = (i64, Uuid);

/// Before the newest row.
const START: Place = (i64::MAX, Uuid::max());

pub(crate) fn place(request: &PageRequest) -> Result<Place, Error> {
    let Some(cursor) = &request.cursor else { return Ok(START) };
    cursor
        .split_once('.')
        .and_then(|(at, id)| Some((at.parse().ok()?, Uuid::parse_str(id).ok()?)))
        .ok_or_else(|| Error::Data(format!("`{cursor}` is no cursor of this list")))
}

/// One row more than wanted tells whether there is a next page.
pub(crate) fn most(request: &PageRequest) -> i64 {
    i64::try_from(request.limit.max(1)).unwrap_or(i64::MAX - 1).saturating_add(1)
}

/// Cuts the extra row off and says where the next page begins. `at` is the column of the time.
pub(crate) fn cut(
    rows: &mut Vec<SqliteRow>,
    request: &PageRequest,
    at: usize,
) -> Result<Option<String>, Error> {
    let limit = request.limit.max(1);
    if rows.len() <= limit {
        return Ok(None);
    }
    rows.truncate(limit);
    let last = rows.last().ok_or_else(|| Error::Fatal("an empty page".to_owned()))?;
    let (time, row): (i64, Uuid) = (get(last, at)?, get(last, 0)?);
    Ok(Some(format!("{time}.{row}")))
}

fn summary(row: &SqliteRow) -> Result<InstanceSummary, Error> {
    Ok(InstanceSummary {
        id: id(row, 0)?,
        saga: name(row, 1)?,
        run: whole(row, 2)?,
        state: get(row, 3)?,
        version: get(row, 4)?,
        updated_at: instant(row, 5)?,
    })
}

#[async_trait]
impl Records for Store {
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        request: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError> {
        let (saga, state) = (saga.clone(), state.map(str::to_owned));
        let ((at, id), limit) = (place(request)?, most(request));
        let read = self.file.ask(move |connection| {
            async move {
                let query = sqlx::query(PAGE).bind(&*saga).bind(state).bind(at).bind(id);
                Ok(query.bind(limit).fetch_all(connection).await?)
            }
            .boxed()
        });
        let mut rows = read.await?;
        let next = cut(&mut rows, request, 5)?;
        Ok(Page { items: readable("instance", &rows, summary), next })
    }

    async fn instance(
        &self,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError> {
        let saga = saga.clone();
        let read = self.file.read(move |connection| {
            async move {
                let found = instances::find(connection, &saga, [&id]).await?;
                let found = found.into_iter().next().map(|(_, read)| read).transpose()?;
                let Some((instance, updated_at)) = found else { return Ok(None) };
                Ok(Some(InstanceDetail {
                    instance,
                    updated_at,
                    journal: journal::of_instance(connection, &saga, id).await?,
                    timers: timers::of_instance(connection, &saga, id).await?,
                    calls: activities::of_instance(connection, &saga, id).await?,
                    parked: parked::of_instance(connection, &saga, id).await?,
                }))
            }
            .boxed()
        });
        Ok(read.await?)
    }

    async fn counts(&self) -> Result<Vec<StateCount>, StoreError> {
        let read = self.file.ask(|connection| {
            async move { Ok(sqlx::query(COUNTS).fetch_all(connection).await?) }.boxed()
        });
        let rows = read.await?;
        Ok(readable("count", &rows, |row| {
            Ok(StateCount { saga: name(row, 0)?, state: get(row, 1)?, count: whole(row, 2)? })
        }))
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        Ok(self.file.ask(|connection| endpoints::all(connection).boxed()).await?)
    }

    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        request: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError> {
        let (filter, place, limit) = (filter.clone(), place(request)?, most(request));
        let read = self.file.ask(move |connection| {
            async move { quarantine::page(connection, &filter, place, limit).await }.boxed()
        });
        let mut rows = read.await?;
        let next = cut(&mut rows, request, 4)?;
        Ok(Page { items: quarantine::read_all(&rows), next })
    }

    async fn quarantined(&self, id: Uuid) -> Result<Option<Quarantined>, StoreError> {
        Ok(self.file.ask(move |connection| quarantine::one(connection, id).boxed()).await?)
    }
}
