//! The guard's door to the store: each verb is one transaction under the exclusive fence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::incident::Block;
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Refusal, Run};
use knarr_model::ports::store::Served;
use knarr_model::ports::{Guarded, StoreError};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Failed;
use crate::plan::{self, Stop};
use crate::pools::{self, pause};
use crate::schema::LockKey;
use crate::store::Store;
use crate::{activities, blocks, endpoints, incidents, nodes, quarantine, scene};

/// A verb that lost to another transaction is begun anew until it was begun so often.
const ATTEMPTS: u32 = 5;

/// What the guard decided.
type Decided = Result<CarriedOut, Refusal>;

#[async_trait]
impl Guarded for Store {
    async fn under_fence(&self, ask: Ask, decide: Decide, run: Run) -> Result<Decided, StoreError> {
        let (fence, ask) = (self.fence(&ask.endpoint), Arc::new(ask));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (ask, decide) = (Arc::clone(&ask), Arc::clone(&decide));
            let stands_back = Duration::from_millis(
                u64::from(attempt) * 5 + u64::from(ask.node.as_bytes()[15]) % 20,
            );
            let done = self
                .pools()
                .control
                .try_run(move |connection| {
                    async move { verb(connection, fence, &ask, &decide, run).await }.boxed()
                })
                .await;
            match done {
                Ok(done) => {
                    if done.is_ok() && run == Run::ForReal {
                        self.tell();
                    }
                    return Ok(done);
                }
                Err(failed)
                    if attempt < ATTEMPTS
                        && (failed.lost_to_another() || failed.met_its_like()) =>
                {
                    pause(stands_back).await;
                }
                Err(failed) => return Err(failed.classed()),
            }
        }
    }

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        let endpoint = endpoint.clone();
        self.pools()
            .reading
            .run(move |connection| {
                async move { nodes::served_by(connection, &endpoint).await }.boxed()
            })
            .await
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        let endpoint = endpoint.clone();
        self.pools()
            .engine
            .run(move |connection| {
                async move { blocks::of_endpoint(connection, &endpoint).await }.boxed()
            })
            .await
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        let (endpoint, asked) = (endpoint.clone(), runs.to_vec());
        let marked: BTreeSet<_> = self
            .pools()
            .engine
            .run(move |connection| {
                async move { blocks::withdrawn(connection, &endpoint, &asked).await }.boxed()
            })
            .await?;
        Ok(runs.iter().filter(|run| marked.contains(run)).copied().collect())
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        let asked: Vec<_> = calls.iter().map(|call| call.0).collect();
        let own = self
            .pools()
            .engine
            .run(move |connection| {
                async move { activities::own(connection, node.0, &asked).await }.boxed()
            })
            .await?;
        let own: BTreeSet<Uuid> = own.into_iter().collect();
        Ok(calls.iter().filter(|call| !own.contains(&call.0)).copied().collect())
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        let mut copies = std::collections::BTreeMap::new();
        for (id, count) in &counts.copies {
            *copies.entry(*id).or_insert(0) += count;
        }
        if !copies.is_empty() {
            self.pools()
                .engine
                .run(move |connection| {
                    async move { quarantine::count(connection, &copies).await }.boxed()
                })
                .await?;
        }
        let classes = incidents::gathered(&counts.classes);
        if !classes.is_empty() {
            self.pools()
                .engine
                .run(move |connection| {
                    async move { incidents::count(connection, &classes).await }.boxed()
                })
                .await?;
        }
        Ok(())
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        let endpoint = endpoint.clone();
        self.pools()
            .engine
            .run(move |connection| {
                async move { blocks::outlived(connection, &endpoint).await }.boxed()
            })
            .await
    }
}

/// Carries out a verb, or nothing of it.
async fn verb(
    connection: &mut PgConnection,
    fence: LockKey,
    ask: &Ask,
    decide: &Decide,
    run: Run,
) -> Result<Decided, Failed> {
    let mut transaction = pools::begin(connection).await?;
    match within(&mut transaction, fence, ask, decide, run).await {
        Ok(done) if run == Run::ForReal => pools::end(transaction, Ok(Ok(done))).await,
        Ok(shown) => {
            transaction.rollback().await?;
            Ok(Ok(shown))
        }
        Err(Stop::Refused(refusal)) => {
            transaction.rollback().await?;
            Ok(Err(refusal))
        }
        Err(Stop::Failed(failed)) => pools::end(transaction, Err(failed)).await,
    }
}

/// The fence is a statement of its own: what it waited for is only seen by later ones.
async fn within(
    connection: &mut PgConnection,
    fence: LockKey,
    ask: &Ask,
    decide: &Decide,
    run: Run,
) -> Result<CarriedOut, Stop> {
    endpoints::close_fence(&mut *connection, fence).await?;
    let scene = scene::look(&mut *connection, ask).await?;
    let mut plan = decide(&scene).map_err(Stop::Refused)?;
    plan::settle(&mut *connection, &mut plan).await?;
    if run == Run::Dry {
        return Ok(CarriedOut { plan, steps: Vec::new(), chunks: Vec::new() });
    }
    plan::carry_out(connection, ask, plan).await
}
