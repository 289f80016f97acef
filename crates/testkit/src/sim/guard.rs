//! The guard's door to the simulated store, with the same troubles as every other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_guard::contain::ORIGINAL;
use knarr_model::incident::{Audit, Block, Incident, Whole};
use knarr_model::instance::PURGED;
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{Page, PageRequest};
use knarr_model::ports::store::Served;
use knarr_model::ports::{Incidents, StoreError};
use knarr_model::{Instance, InstanceId, MessageId, Name, NodeId, RowId};
use uuid::Uuid;

use super::mutation::Mutation;
use super::store::{SimStore, through};
use super::verbs::{self, Sight};

impl SimStore {
    /// Carries out a verb and tells what it did.
    async fn fence_watched(
        self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        let node = ask.node;
        let decide = if self.mutation == Some(Mutation::ReleaseUnderOldId) {
            under_old_ids(decide)
        } else {
            decide
        };
        let before = self.inner.rows();
        let done = self.inner.under_fence(ask, decide, run).await?;
        let after = self.inner.rows();
        verbs::check(&self.world, &Sight { before: &before, after: &after }, run, &done);
        if let (Ok(done), Run::ForReal) = (&done, run)
            && self.mutation == Some(Mutation::TombstoneInserted)
        {
            self.insert_late(done.plan.instance.as_ref());
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

    /// A tombstone as a row deleted and another inserted: for a while there is none.
    fn insert_late(&self, stone: Option<&Instance>) {
        let Some(stone) = stone.filter(|stone| stone.state == PURGED) else { return };
        let place = (stone.saga.clone(), stone.id);
        let Some(row) = self.inner.with_rows(|rows| rows.instance.remove(&place)) else { return };
        let (inner, wait) = (self.inner.clone(), self.world.dice.below(100));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait)).await;
            inner.with_rows(|rows| {
                rows.instance.entry(place).or_insert(row);
            });
        });
    }
}

/// Plans of this decision let messages go under the ids that they had.
fn under_old_ids(decide: Decide) -> Decide {
    Arc::new(move |scene| {
        let mut plan = decide(scene)?;
        for row in &mut plan.deliveries {
            let old = row.envelope.headers.text(ORIGINAL).and_then(|text| text.parse().ok());
            let Some(old) = old.map(MessageId) else { continue };
            for block in plan.blocks.iter_mut().filter(|b| b.lets == Some(row.message_id)) {
                block.lets = Some(old);
            }
            for set_aside in
                plan.changed.iter_mut().filter(|r| r.released_as == Some(row.message_id))
            {
                set_aside.released_as = Some(old);
            }
            let mut envelope = (*row.envelope).clone();
            envelope.message_id = old;
            row.envelope = Arc::new(envelope);
            row.message_id = old;
            row.id = RowId(old.0);
        }
        Ok(plan)
    })
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

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        let endpoint = endpoint.clone();
        through!(self, "served_by", |s| s.inner.served_by(&endpoint))
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
