//! The reading side of a store that is not connected yet: it says so until it is.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, StateCount,
};
use knarr_model::ports::store::EndpointRow;
use knarr_model::ports::{Records, StoreError};
use knarr_model::quarantine::Quarantined;
use knarr_model::{InstanceId, Name};
use uuid::Uuid;

/// Health is asked for while the store is still away, so the API is up before it.
#[derive(Clone, Default)]
pub(crate) struct LateRecords(Arc<OnceLock<Arc<dyn Records>>>);

impl LateRecords {
    /// From now on these are asked.
    pub(crate) fn arrive(&self, records: Arc<dyn Records>) {
        // Set once; a second store never comes.
        let _first_stays = self.0.set(records);
    }

    fn get(&self) -> Result<&Arc<dyn Records>, StoreError> {
        let away = || StoreError::Transient("it is not connected yet".to_owned());
        self.0.get().ok_or_else(away)
    }
}

#[async_trait]
impl Records for LateRecords {
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError> {
        self.get()?.instances(saga, state, page).await
    }

    async fn instance(
        &self,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError> {
        self.get()?.instance(saga, id).await
    }

    async fn counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.get()?.counts().await
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        self.get()?.endpoints().await
    }

    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        page: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError> {
        self.get()?.quarantine(filter, page).await
    }

    async fn quarantined(&self, id: Uuid) -> Result<Option<Quarantined>, StoreError> {
        self.get()?.quarantined(id).await
    }
}
