//! The guard's reading side of the memory store.

use async_trait::async_trait;
use knarr_model::ids::Name;
use knarr_model::incident::{Audit, Incident, Whole};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{Page, PageRequest};
use knarr_model::ports::{Incidents, StoreError};
use uuid::Uuid;

use super::records::page;
use super::store::MemoryStore;

#[async_trait]
impl Incidents for MemoryStore {
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        request: &PageRequest,
    ) -> Result<Page<Incident>, StoreError> {
        let items = self.with_rows(|rows| {
            rows.incident
                .values()
                .filter(|row| filter.status.is_none_or(|status| status == row.status))
                .filter(|row| filter.class.is_none_or(|class| class == row.class))
                .filter(|row| filter.endpoint.as_ref().is_none_or(|of| *of == row.endpoint))
                .cloned()
                .collect()
        });
        page(items, |item: &Incident| (item.opened_at, item.id), request)
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        Ok(self.with_rows(|rows| rows.incident.get(&id).cloned()))
    }

    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError> {
        Ok(self.with_rows(|rows| rows.snapshot.get(&incident).cloned()))
    }

    async fn audit(
        &self,
        endpoint: Option<&Name>,
        request: &PageRequest,
    ) -> Result<Page<Audit>, StoreError> {
        let before = request.cursor.as_deref().map_or(Ok(u64::MAX), number)?;
        Ok(self.with_rows(|rows| {
            let lines = rows.audit.range(..before).rev();
            let mut lines =
                lines.filter(|(_, line)| endpoint.is_none_or(|of| *of == line.endpoint));
            let found: Vec<_> = lines.by_ref().take(request.limit).collect();
            let next = found.last().filter(|_| lines.next().is_some()).map(|(n, _)| n.to_string());
            Page { items: found.into_iter().map(|(_, line)| line.clone()).collect(), next }
        }))
    }
}

/// The audit is read in the order in which it was written, not by its times.
fn number(cursor: &str) -> Result<u64, StoreError> {
    let wrong = |_| StoreError::Data(format!("`{cursor}` is no cursor of this list"));
    cursor.parse().map_err(wrong)
}
