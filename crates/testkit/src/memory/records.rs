//! The reading side of the memory store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, Name};
use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, StateCount,
};
use knarr_model::ports::store::EndpointRow;
use knarr_model::ports::{Records, StoreError};
use knarr_model::quarantine::{Quarantined, Status};
use uuid::Uuid;

use super::store::MemoryStore;

/// The most journal rows shown of one instance.
const JOURNAL_SHOWN: usize = 1_000;

/// The place of a row in a list: its time, then its id, both falling.
type Place = (DateTime<Utc>, Uuid);

fn parse(cursor: &str) -> Result<Place, StoreError> {
    let wrong = || StoreError::Data(format!("`{cursor}` is no cursor of this list"));
    let (at, id) = cursor.split_once('|').ok_or_else(wrong)?;
    let at = DateTime::parse_from_rfc3339(at).map_err(|_| wrong())?.to_utc();
    Ok((at, Uuid::parse_str(id).map_err(|_| wrong())?))
}

/// The page of `items` that `request` asks for, newest first.
pub(super) fn page<T>(
    mut items: Vec<T>,
    place: impl Fn(&T) -> Place,
    request: &PageRequest,
) -> Result<Page<T>, StoreError> {
    if let Some(cursor) = &request.cursor {
        let after = parse(cursor)?;
        items.retain(|item| place(item) < after);
    }
    items.sort_by_key(|item| std::cmp::Reverse(place(item)));
    let more = items.len() > request.limit;
    items.truncate(request.limit);
    let next = items.last().filter(|_| more).map(|item| {
        let (at, id) = place(item);
        format!("{}|{id}", at.to_rfc3339())
    });
    Ok(Page { items, next })
}

#[async_trait]
impl Records for MemoryStore {
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        request: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError> {
        let items = self.with_rows(|rows| {
            rows.instance
                .values()
                .filter(|row| row.instance.saga == *saga)
                .filter(|row| state.is_none_or(|state| row.instance.state == state))
                .map(|row| InstanceSummary {
                    saga: saga.clone(),
                    id: row.instance.id,
                    run: row.instance.run,
                    state: row.instance.state.clone(),
                    version: row.instance.version,
                    updated_at: row.updated_at,
                })
                .collect()
        });
        page(items, |item: &InstanceSummary| (item.updated_at, item.id.0), request)
    }

    async fn instance(
        &self,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError> {
        Ok(self.with_rows(|rows| {
            let row = rows.instance.get(&(saga.clone(), id))?;
            let mut entries: Vec<_> = rows
                .journal
                .iter()
                .filter(|((of, _), entry)| of == saga && entry.row.instance == Some(id))
                .map(|(_, entry)| entry)
                .collect();
            entries.sort_by_key(|entry| entry.number);
            let mut parked: Vec<_> = rows
                .parked
                .values()
                .filter(|held| held.row.saga == *saga && held.row.instance == Some(id))
                .map(|held| held.row.clone())
                .collect();
            parked.sort_by_key(|row| (row.seq, row.id));
            let mut timers: Vec<_> = rows
                .timer
                .values()
                .filter(|held| held.row.saga == *saga && held.row.instance == id)
                .map(|held| held.row.clone())
                .collect();
            timers.sort_by_key(|row| (row.due_at, row.id));
            let calls = rows
                .activity
                .values()
                .filter(|held| held.task.saga == *saga && held.task.instance == id)
                .map(|held| held.task.clone())
                .collect();
            Some(InstanceDetail {
                instance: row.instance.clone(),
                updated_at: row.updated_at,
                journal: entries
                    .into_iter()
                    .take(JOURNAL_SHOWN)
                    .map(|entry| entry.row.clone())
                    .collect(),
                timers,
                calls,
                parked,
            })
        }))
    }

    async fn counts(&self) -> Result<Vec<StateCount>, StoreError> {
        let mut counts: BTreeMap<(Name, String), u64> = BTreeMap::new();
        self.with_rows(|rows| {
            for row in rows.instance.values() {
                let place = (row.instance.saga.clone(), row.instance.state.clone());
                *counts.entry(place).or_default() += 1;
            }
        });
        Ok(counts
            .into_iter()
            .map(|((saga, state), count)| StateCount { saga, state, count })
            .collect())
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        Ok(self.with_rows(|rows| rows.endpoint.values().cloned().collect()))
    }

    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        request: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError> {
        let status = filter.status.unwrap_or(Status::Held);
        let items = self.with_rows(|rows| {
            rows.quarantine
                .values()
                .filter(|row| row.status == status)
                .filter(|row| filter.class.is_none_or(|class| class == row.class))
                .filter(|row| filter.endpoint.as_ref().is_none_or(|of| *of == row.endpoint))
                .cloned()
                .collect()
        });
        page(items, |item: &Quarantined| (item.at, item.id), request)
    }

    async fn quarantined(&self, id: Uuid) -> Result<Option<Quarantined>, StoreError> {
        Ok(self.with_rows(|rows| rows.quarantine.get(&id).cloned()))
    }
}
