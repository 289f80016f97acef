//! The engine's door to the simulated store: slow, failing, and now and then carried out although the
//! caller was told otherwise. Every commit is looked at while it happens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::commit::{Commit, CommitOutcome, Origin};
use knarr_model::ports::permit::Quota;
use knarr_model::ports::store::{
    EndpointRow, EndpointState, HaltReport, Load, Loaded, Store, StoreError, Unclaimed,
};
use knarr_model::ports::{Clock, Permits};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{
    ActivityTask, AttemptRecord, Chunk, Claim, EndedCall, Outgoing, Parked, ParkedReason, Timer,
};
use knarr_model::{InstanceId, Name, NodeId, RowId};

use super::commits;
use super::mutation::Mutation;
use super::toy::ENDPOINT;
use super::world::World;
use crate::memory::{MemoryStore, Mutations};

/// A store that can fail in every way a real one can.
#[derive(Clone)]
pub(super) struct SimStore {
    pub(super) inner: MemoryStore,
    pub(super) world: Arc<World>,
    pub(super) clock: Arc<dyn Clock>,
    /// A rule of the store's own that is broken.
    pub(super) mutation: Option<Mutation>,
}

impl SimStore {
    /// The store's own time.
    pub(super) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// One call with everything that can happen to it. `act` runs at one instant.
    pub(super) async fn around<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(SimStore) -> futures_util::future::BoxFuture<'static, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let dice = &self.world.dice;
        self.world.latency(5).await;
        if dice.strikes("store_fails", |f| f.store_fails) {
            self.world.log(|| format!("{name} fails"));
            return Err(StoreError::Transient(format!("simulated: {name} failed")));
        }
        if dice.strikes("store_late", |f| f.store_late) {
            let (late, wait) = (self.clone(), dice.below(2_000));
            self.world.log(|| format!("{name} is late by {wait} ms"));
            // The world carries it out, whatever becomes of the node that asked.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                let world = late.world.clone();
                world.log(|| format!("{name} is carried out late"));
                let _ = act(late).await;
            });
            self.world.latency(20).await;
            return Err(StoreError::Transient(format!("simulated: {name} timed out")));
        }
        let answer = act(self.clone()).await;
        self.world.latency(5).await;
        if dice.strikes("store_answer_lost", |f| f.store_answer_lost) {
            self.world.log(|| format!("the answer to {name} is lost"));
            return Err(StoreError::Transient(format!("simulated: answer to {name} lost")));
        }
        answer
    }

    /// The endpoint's row.
    fn row_of(&self, endpoint: &Name) -> Option<EndpointRow> {
        self.inner.with_rows(|rows| rows.endpoint.get(endpoint).cloned())
    }

    /// Carries out a commit and checks what it did. `seen` is the endpoint's row when it was asked
    /// for: a store that reads the epoch while it waits for the fence goes by that one.
    async fn commit_watched(
        self,
        commit: Commit,
        seen: Option<EndpointRow>,
    ) -> Result<CommitOutcome, StoreError> {
        let mut store = self.inner.clone();
        if self.mutation == Some(Mutation::EpochReadWithLock) {
            let passes =
                |row: EndpointRow| row.epoch == commit.epoch && row.state != EndpointState::Halted;
            if !seen.is_some_and(passes) {
                return Ok(CommitOutcome::Fenced);
            }
            store = store.with_mutations(Mutations { skip_fence: true, ..Mutations::default() });
        }
        let before = commits::before(&self.inner, &commit);
        let outcome = store.commit(commit.clone()).await?;
        self.world.log(|| format!("commit by {} {}", commit.node, told(&outcome)));
        if let CommitOutcome::Committed { lost, chunks } = &outcome {
            commits::check(&self.world, &self.inner, &commit, lost, &before);
            let now = self.world.now();
            self.world.ledger(|ledger| ledger.committed(chunks, now));
            self.check_attempts(&commit, lost);
        }
        Ok(outcome)
    }

    /// A store shows every row that there is.
    async fn load_watched(self, load: Load) -> Result<Loaded, StoreError> {
        let asked = load.instances.clone();
        let loaded = self.inner.load(load).await?;
        self.world.judge(|ledger, wrong| {
            for id in asked {
                let version = loaded.instances.get(&id).map_or(0, |instance| instance.version);
                ledger.versioned(id, version, wrong);
            }
        });
        Ok(loaded)
    }

    /// Nothing of a halted endpoint is claimed.
    fn claimed(&self, what: &str, count: usize) {
        let halted = |row: EndpointRow| row.state == EndpointState::Halted;
        if count > 0 && self.row_of(&ENDPOINT.into()).is_some_and(halted) {
            self.world.violation(format!("{count} {what} of a halted endpoint were claimed"));
        }
    }

    /// Failed attempts of a message are counted without gap or repeat.
    fn check_attempts(&self, commit: &Commit, lost: &[InstanceId]) {
        let kept = commit.slices.iter().filter(|s| s.key.is_none_or(|id| !lost.contains(&id)));
        for slice in kept {
            for parked in &slice.parked {
                if parked.reason == ParkedReason::Retry {
                    self.world.attempted(parked.message_id, parked.attempt);
                }
            }
            for again in &slice.again {
                let retried = again.reason == Some(ParkedReason::Retry);
                let message = self
                    .inner
                    .with_rows(|rows| rows.parked.get(&again.row.id).map(|row| row.row.message_id));
                if let (true, Some(message)) = (retried, message) {
                    self.world.attempted(message, again.attempt);
                }
            }
        }
    }
}

fn told(outcome: &CommitOutcome) -> String {
    match outcome {
        CommitOutcome::Committed { lost, chunks } => {
            format!("committed, {} lost, {} chunks", lost.len(), chunks.len())
        }
        other => format!("{other:?}"),
    }
}

/// Sends one call through everything that can happen to it.
macro_rules! through {
    ($self:ident, $name:literal, |$store:ident| $call:expr) => {
        $self.around($name, move |$store| Box::pin(async move { $call.await })).await
    };
}
pub(super) use through;

#[async_trait]
impl Permits for SimStore {
    async fn take(&self, name: &str, quotas: &[Quota]) -> Result<Result<(), Duration>, StoreError> {
        let (name, quotas) = (name.to_owned(), quotas.to_vec());
        through!(self, "take", |s| s.inner.take(&name, &quotas))
    }
}

#[async_trait]
impl Store for SimStore {
    async fn endpoint(&self, name: &Name) -> Result<EndpointRow, StoreError> {
        let name = name.clone();
        through!(self, "endpoint", |s| s.inner.endpoint(&name))
    }

    async fn hold(&self, endpoint: &Name, node: NodeId) -> Result<EndpointRow, StoreError> {
        let endpoint = endpoint.clone();
        through!(self, "hold", |s| s.inner.hold(&endpoint, node))
    }

    async fn note_served(
        &self,
        endpoint: &Name,
        node: NodeId,
        report: Option<HaltReport>,
    ) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        through!(self, "note_served", |s| s.inner.note_served(&endpoint, node, report))
    }

    async fn load(&self, load: Load) -> Result<Loaded, StoreError> {
        through!(self, "load", |s| s.load_watched(load))
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let seen = self.row_of(&commit.endpoint);
        through!(self, "commit", |s| s.commit_watched(commit, seen))
    }

    async fn origin(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Result<Option<Origin>, StoreError> {
        let saga = saga.clone();
        through!(self, "origin", |s| s.inner.origin(&saga, instance, run))
    }

    async fn join(&self, node: NodeId, lease: Duration) -> Result<(), StoreError> {
        through!(self, "join", |s| s.inner.join(node, lease))
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        through!(self, "renew", |s| s.inner.renew(node, lease))
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        through!(self, "leave", |s| s.inner.leave(node))
    }

    async fn claim_timers(&self, claim: &Claim) -> Result<Vec<Timer>, StoreError> {
        let claim = claim.clone();
        through!(self, "claim_timers", |s| async {
            let claimed = s.inner.claim_timers(&claim).await?;
            s.claimed("timers", claimed.len());
            Ok(claimed)
        })
    }

    async fn claim_parked(&self, claim: &Claim) -> Result<Vec<Parked>, StoreError> {
        let claim = claim.clone();
        through!(self, "claim_parked", |s| async {
            let claimed = s.inner.claim_parked(&claim).await?;
            s.claimed("parked messages", claimed.len());
            Ok(claimed)
        })
    }

    async fn claim_ended(&self, claim: &Claim) -> Result<Vec<EndedCall>, StoreError> {
        let claim = claim.clone();
        through!(self, "claim_ended", |s| async {
            let claimed = s.inner.claim_ended(&claim).await?;
            s.claimed("ends of calls", claimed.len());
            Ok(claimed)
        })
    }

    async fn claim_calls(
        &self,
        claim: &Claim,
        calls: &[String],
    ) -> Result<Vec<ActivityTask>, StoreError> {
        let (claim, calls) = (claim.clone(), calls.to_vec());
        through!(self, "claim_calls", |s| async {
            let claimed = s.inner.claim_calls(&claim, &calls).await?;
            s.claimed("calls", claimed.len());
            Ok(claimed)
        })
    }

    async fn record(
        &self,
        node: NodeId,
        records: &[AttemptRecord],
    ) -> Result<Vec<bool>, StoreError> {
        let records = records.to_vec();
        through!(self, "record", |s| s.record_watched(node, records))
    }

    async fn give_back(&self, node: NodeId, endpoint: &Name) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        through!(self, "give_back", |s| s.inner.give_back(node, &endpoint))
    }

    async fn finish_chunks(&self, chunks: &[RowId]) -> Result<(), StoreError> {
        let chunks = chunks.to_vec();
        through!(self, "finish_chunks", |s| s.inner.finish_chunks(&chunks))
    }

    async fn own_chunks(&self, node: NodeId, known: &[RowId]) -> Result<Vec<Chunk>, StoreError> {
        let known = known.to_vec();
        through!(self, "own_chunks", |s| s.inner.own_chunks(node, &known))
    }

    async fn take_chunks(&self, node: NodeId, limit: usize) -> Result<Vec<Chunk>, StoreError> {
        through!(self, "take_chunks", |s| s.inner.take_chunks(node, limit))
    }

    async fn shrink_chunk(
        &self,
        chunk: RowId,
        left: &[Outgoing],
        set_aside: &[Quarantined],
    ) -> Result<(), StoreError> {
        let (left, set_aside) = (left.to_vec(), set_aside.to_vec());
        through!(self, "shrink_chunk", |s| s.inner.shrink_chunk(chunk, &left, &set_aside))
    }

    async fn next_due(&self, endpoints: &[Name]) -> Result<Option<DateTime<Utc>>, StoreError> {
        let endpoints = endpoints.to_vec();
        through!(self, "next_due", |s| s.inner.next_due(&endpoints))
    }

    async fn unclaimed(&self, before: DateTime<Utc>) -> Result<Vec<Unclaimed>, StoreError> {
        through!(self, "unclaimed", |s| s.inner.unclaimed(before))
    }

    async fn sweep_finished(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        through!(self, "sweep_finished", |s| s.inner.sweep_finished(before, limit))
    }

    async fn sweep(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        through!(self, "sweep", |s| s.inner.sweep(before, limit))
    }

    async fn wait_for_work(&self, at_most: Duration) {
        self.inner.wait_for_work(at_most).await;
    }

    /// Hints may be lost: here all of them are, and a verb is noticed at the next look.
    async fn wait_for_verb(&self, at_most: Duration) -> bool {
        self.clock.sleep(at_most).await;
        false
    }
}
