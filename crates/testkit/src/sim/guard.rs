//! The guard's door to the simulated store, with the same troubles as every other.

use async_trait::async_trait;
use knarr_model::incident::{Audit, Block, Incident, Whole};
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{Page, PageRequest};
use knarr_model::ports::{Incidents, StoreError};
use knarr_model::{InstanceId, Name, NodeId, RowId};
use uuid::Uuid;

use super::store::{SimStore, through};

impl SimStore {
    /// Carries out a verb and tells what it did.
    async fn fence_watched(
        self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        let (endpoint, node) = (ask.endpoint.clone(), ask.node);
        let before = self.inner.with_rows(|rows| rows.endpoint.get(&endpoint).cloned());
        let done = self.inner.under_fence(ask, decide, run).await?;
        let after = self.inner.with_rows(|rows| rows.endpoint.get(&endpoint).cloned());
        if let (Some(before), Some(after)) = (&before, &after)
            && (after.epoch < before.epoch || after.guard_version < before.guard_version)
        {
            self.world.violation(format!("a verb took `{endpoint}` from {before:?} to {after:?}"));
        }
        self.world.log(|| match &done {
            Ok(out) => {
                let verb = out.plan.audit.as_ref().map_or("nothing told", |line| &line.verb);
                format!("verb by {node}: {verb}, {run:?}")
            }
            Err(refusal) => format!("verb by {node} refused: {refusal}"),
        });
        Ok(done)
    }
}

#[async_trait]
impl Guarded for SimStore {
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        through!(self, "under_fence", |s| s.fence_watched(ask, decide, run))
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        let endpoint = endpoint.clone();
        through!(self, "blocks", |s| s.inner.blocks(&endpoint))
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        let (endpoint, runs) = (endpoint.clone(), runs.to_vec());
        through!(self, "withdrawn", |s| s.inner.withdrawn(&endpoint, &runs))
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        let calls = calls.to_vec();
        through!(self, "lost_calls", |s| s.inner.lost_calls(node, &calls))
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        let counts = counts.clone();
        through!(self, "add_counts", |s| s.inner.add_counts(&counts))
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        let endpoint = endpoint.clone();
        through!(self, "outlived_blocks", |s| s.inner.outlived_blocks(&endpoint))
    }
}

#[async_trait]
impl Incidents for SimStore {
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: &PageRequest,
    ) -> Result<Page<Incident>, StoreError> {
        let (filter, page) = (filter.clone(), page.clone());
        through!(self, "incidents", |s| s.inner.incidents(&filter, &page))
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        through!(self, "incident", |s| s.inner.incident(id))
    }

    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError> {
        through!(self, "snapshot", |s| s.inner.snapshot(incident))
    }

    async fn audit(
        &self,
        endpoint: Option<&Name>,
        page: &PageRequest,
    ) -> Result<Page<Audit>, StoreError> {
        let (endpoint, page) = (endpoint.cloned(), page.clone());
        through!(self, "audit", |s| s.inner.audit(endpoint.as_ref(), &page))
    }
}
