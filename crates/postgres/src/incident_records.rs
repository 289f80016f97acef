//! The guard's reading side: incidents, what they keep, and who did what.

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ids::Name;
use knarr_model::incident::{Audit, Incident, Whole};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{Page, PageRequest};
use knarr_model::ports::{Incidents, StoreError};
use uuid::Uuid;

use crate::pages::{Asked, numbered};
use crate::store::Store;
use crate::{audit, incidents};

#[async_trait]
impl Incidents for Store {
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: &PageRequest,
    ) -> Result<Page<Incident>, StoreError> {
        let asked = Asked::new(page)?;
        let filter = filter.clone();
        let items = self
            .pools()
            .reading
            .run(move |connection| {
                async move {
                    incidents::list(connection, &filter, asked.after, asked.limit()).await
                }
                .boxed()
            })
            .await?;
        Ok(asked.page(items, |item| (item.opened_at, item.id)))
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        self.pools().reading.run(move |connection| incidents::one(connection, id).boxed()).await
    }

    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError> {
        self.pools()
            .reading
            .run(move |connection| incidents::snapshot(connection, incident).boxed())
            .await
    }

    async fn audit(
        &self,
        endpoint: Option<&Name>,
        page: &PageRequest,
    ) -> Result<Page<Audit>, StoreError> {
        let endpoint = endpoint.cloned();
        numbered(page, |before, limit| {
            self.pools().reading.run(move |connection| {
                async move { audit::list(connection, endpoint.as_deref(), before, limit).await }
                    .boxed()
            })
        })
        .await
    }
}
