//! The guard's door to the memory store: one lock is every endpoint's fence.

use std::collections::BTreeSet;

use async_trait::async_trait;
use knarr_model::commit::Outcome;
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::incident::{Block, Incident};
use knarr_model::instance::FINAL;
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use knarr_model::ports::store::Served;
use uuid::Uuid;

use super::rows::Rows;
use super::store::MemoryStore;
use super::{nodes, plan, purge, scene};

#[async_trait]
impl Guarded for MemoryStore {
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        let done = self.at_now(|rows, now| {
            let mut planned = decide(&scene::look(rows, &ask))?;
            plan::settle(rows, &mut planned)?;
            if run == Run::Dry {
                return Ok(CarriedOut { plan: planned, steps: Vec::new(), chunks: Vec::new() });
            }
            purge::endpoint(rows, &ask.endpoint);
            Ok(plan::carry_out(rows, now, &ask, planned))
        });
        if run == Run::ForReal && done.is_ok() {
            self.tell();
        }
        Ok(done)
    }

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        Ok(self.at_now(|rows, now| nodes::served_by(rows, now, endpoint)))
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        Ok(self.at_now(|rows, _| {
            let version = rows.endpoint.get(endpoint).map_or(0, |row| row.guard_version);
            (version, of_endpoint(rows, endpoint).cloned().collect())
        }))
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        Ok(self.at_now(|rows, _| {
            let marked = |(id, run): &(InstanceId, u32)| (endpoint.clone(), *id, *run);
            runs.iter().filter(|run| rows.withdrawn.contains(&marked(run))).copied().collect()
        }))
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        Ok(self.at_now(|rows, _| {
            let own = |id: &RowId| rows.activity.get(id).is_some_and(|row| row.by == Some(node));
            calls.iter().filter(|id| !own(id)).copied().collect()
        }))
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        self.at_now(|rows, _| {
            for (id, copies) in &counts.copies {
                if let Some(row) = rows.quarantine.get_mut(id) {
                    row.copies += copies;
                }
            }
            for draft in &counts.classes {
                gather(rows, draft);
            }
        });
        Ok(())
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        Ok(self.at_now(|rows, _| {
            let blocks = of_endpoint(rows, endpoint).filter(|block| is_outlived(rows, block));
            blocks.map(|block| block.quarantined).collect()
        }))
    }
}

fn of_endpoint<'a>(rows: &'a Rows, endpoint: &'a Name) -> impl Iterator<Item = &'a Block> {
    rows.block.values().filter(move |block| block.endpoint == *endpoint)
}

/// Adds to the open incident that gathers messages of this class, or opens it.
fn gather(rows: &mut Rows, draft: &Incident) {
    let open = plan::gathering(rows, draft).map(|open| open.id);
    match open.and_then(|id| rows.incident.get_mut(&id)) {
        Some(open) => open.count += draft.count,
        None => drop(rows.incident.insert(draft.id, draft.clone())),
    }
}

/// Whether the run that the block let through is over.
fn is_outlived(rows: &Rows, block: &Block) -> bool {
    let Some(lets) = block.lets else { return false };
    let started: BTreeSet<(&Name, InstanceId, u32)> = rows
        .journal
        .iter()
        .filter(|((_, message), entry)| *message == lets && entry.row.outcome == Outcome::Applied)
        .filter_map(|((saga, _), entry)| Some((saga, entry.row.instance?, entry.row.run?)))
        .collect();
    started.into_iter().any(|(saga, id, run)| {
        let now = rows.instance.get(&(saga.clone(), id)).map(|row| &row.instance);
        now.is_none_or(|now| now.run > run || (now.run == run && now.state == FINAL))
    })
}
