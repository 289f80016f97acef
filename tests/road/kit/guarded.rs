//! The guard's way through a node's door to the shelf.

use async_trait::async_trait;
use knarr_model::incident::{Audit, Block, Incident, Whole};
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{Page, PageRequest};
use knarr_model::ports::store::Served;
use knarr_model::ports::{Incidents, StoreError};
use knarr_model::{InstanceId, Name, NodeId, RowId};
use uuid::Uuid;

use super::shelf::{Op, Reach};

#[async_trait]
impl Guarded for Reach {
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        self.through(Op::Fence, self.shelf.rows.under_fence(ask, decide, run)).await
    }

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        self.through(Op::Guard, self.shelf.rows.served_by(endpoint)).await
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        self.through(Op::Guard, self.shelf.rows.blocks(endpoint)).await
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        self.through(Op::Guard, self.shelf.rows.withdrawn(endpoint, runs)).await
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        self.through(Op::Guard, self.shelf.rows.lost_calls(node, calls)).await
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        self.through(Op::Guard, self.shelf.rows.add_counts(counts)).await
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        self.through(Op::Guard, self.shelf.rows.outlived_blocks(endpoint)).await
    }
}

#[async_trait]
impl Incidents for Reach {
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: &PageRequest,
    ) -> Result<Page<Incident>, StoreError> {
        self.through(Op::Other, self.shelf.rows.incidents(filter, page)).await
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        self.through(Op::Other, self.shelf.rows.incident(id)).await
    }

    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError> {
        self.through(Op::Other, self.shelf.rows.snapshot(incident)).await
    }

    async fn audit(
        &self,
        endpoint: Option<&Name>,
        page: &PageRequest,
    ) -> Result<Page<Audit>, StoreError> {
        self.through(Op::Other, self.shelf.rows.audit(endpoint, page)).await
    }
}
