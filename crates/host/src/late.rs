//! The doors of a store that is not connected yet: each says so until it is.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use knarr_model::incident::{Audit, Block, Incident, Whole};
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Refusal, Run};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, StateCount,
};
use knarr_model::ports::store::{EndpointRow, Served};
use knarr_model::ports::{Guarded, Incidents, Records, StoreError};
use knarr_model::quarantine::Quarantined;
use knarr_model::{InstanceId, Name, NodeId, RowId};
use uuid::Uuid;

/// What the admin API needs of a store.
pub(crate) struct Arrived {
    pub(crate) records: Arc<dyn Records>,
    pub(crate) incidents: Arc<dyn Incidents>,
    pub(crate) guarded: Arc<dyn Guarded>,
}

/// Health is asked for while the store is still away, so the API is up before it.
#[derive(Clone, Default)]
pub(crate) struct LateStore(Arc<OnceLock<Arrived>>);

impl LateStore {
    /// From now on these are asked.
    pub(crate) fn arrive(&self, doors: Arrived) {
        // Set once; a second store never comes.
        let _first_stays = self.0.set(doors);
    }

    fn get(&self) -> Result<&Arrived, StoreError> {
        let away = || StoreError::Transient("it is not connected yet".to_owned());
        self.0.get().ok_or_else(away)
    }
}

#[async_trait]
impl Records for LateStore {
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError> {
        self.get()?.records.instances(saga, state, page).await
    }

    async fn instance(
        &self,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError> {
        self.get()?.records.instance(saga, id).await
    }

    async fn counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.get()?.records.counts().await
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        self.get()?.records.endpoints().await
    }

    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        page: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError> {
        self.get()?.records.quarantine(filter, page).await
    }

    async fn quarantined(&self, id: Uuid) -> Result<Option<Quarantined>, StoreError> {
        self.get()?.records.quarantined(id).await
    }
}

#[async_trait]
impl Incidents for LateStore {
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: &PageRequest,
    ) -> Result<Page<Incident>, StoreError> {
        self.get()?.incidents.incidents(filter, page).await
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        self.get()?.incidents.incident(id).await
    }

    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError> {
        self.get()?.incidents.snapshot(incident).await
    }

    async fn audit(
        &self,
        endpoint: Option<&Name>,
        page: &PageRequest,
    ) -> Result<Page<Audit>, StoreError> {
        self.get()?.incidents.audit(endpoint, page).await
    }
}

#[async_trait]
impl Guarded for LateStore {
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        self.get()?.guarded.under_fence(ask, decide, run).await
    }

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        self.get()?.guarded.served_by(endpoint).await
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        self.get()?.guarded.blocks(endpoint).await
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        self.get()?.guarded.withdrawn(endpoint, runs).await
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        self.get()?.guarded.lost_calls(node, calls).await
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        self.get()?.guarded.add_counts(counts).await
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        self.get()?.guarded.outlived_blocks(endpoint).await
    }
}
