//! The memory store itself: one lock around the tables, and the port's methods.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::commit::{Commit, CommitOutcome, Origin};
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::ports::permit::Quota;
use knarr_model::ports::store::{EndpointRow, HaltReport, Load, Loaded, Unclaimed};
use knarr_model::ports::{Clock, Permits, Store, StoreError};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{
    ActivityTask, AttemptRecord, Chunk, Claim, EndedCall, Outgoing, Parked, Timer,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::rows::{Mutations, Rows};
use super::{calls, claims, commit, due, load, nodes, outbox, parked, permits, purge};

/// A store in memory. Clones are handles on the same tables, as of several nodes.
#[derive(Clone)]
pub struct MemoryStore {
    rows: Arc<Mutex<Rows>>,
    clock: Arc<dyn Clock>,
    mutations: Mutations,
    hint: Arc<Notify>,
    verbs: Arc<Notify>,
}

impl MemoryStore {
    /// An empty store whose time is `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::mutated(clock, Mutations::default())
    }

    /// An empty store with faults built in.
    pub fn mutated(clock: Arc<dyn Clock>, mutations: Mutations) -> Self {
        MemoryStore {
            rows: Arc::new(Mutex::new(Rows::default())),
            clock,
            mutations,
            hint: Arc::new(Notify::new()),
            verbs: Arc::new(Notify::new()),
        }
    }

    /// The same tables with other faults built in.
    #[must_use]
    pub fn with_mutations(&self, mutations: Mutations) -> Self {
        MemoryStore { mutations, ..self.clone() }
    }

    /// The tables as they are now.
    pub fn rows(&self) -> Rows {
        self.rows.lock().clone()
    }

    /// Looks into the tables, or changes them, with everybody else kept out.
    pub fn with_rows<R>(&self, look: impl FnOnce(&mut Rows) -> R) -> R {
        look(&mut self.rows.lock())
    }

    /// Runs `act` on the tables at the present time.
    pub(super) fn at_now<R>(&self, act: impl FnOnce(&mut Rows, DateTime<Utc>) -> R) -> R {
        let now = self.clock.now();
        act(&mut self.rows.lock(), now)
    }

    /// Wakes whoever waits for work.
    pub(super) fn hint(&self) {
        self.hint.notify_waiters();
    }

    /// A verb was carried out.
    pub(super) fn tell(&self) {
        self.verbs.notify_waiters();
        self.hint();
    }
}

#[async_trait]
impl Permits for MemoryStore {
    async fn take(&self, name: &str, quotas: &[Quota]) -> Result<Result<(), Duration>, StoreError> {
        Ok(self.at_now(|rows, now| permits::take(rows, now, name, quotas)))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn endpoint(&self, name: &Name) -> Result<EndpointRow, StoreError> {
        Ok(self.at_now(|rows, _| purge::endpoint(rows, name).clone()))
    }

    async fn hold(&self, endpoint: &Name, node: NodeId) -> Result<EndpointRow, StoreError> {
        Ok(self.at_now(|rows, now| purge::hold(rows, now, endpoint, node)))
    }

    async fn note_served(
        &self,
        endpoint: &Name,
        node: NodeId,
        report: Option<HaltReport>,
    ) -> Result<(), StoreError> {
        self.at_now(|rows, now| nodes::note_served(rows, now, endpoint, node, report));
        Ok(())
    }

    async fn load(&self, load: Load) -> Result<Loaded, StoreError> {
        self.at_now(|rows, _| load::load(rows, &load))
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let outcome = self.at_now(|rows, now| commit::commit(rows, now, self.mutations, commit));
        self.hint();
        Ok(outcome)
    }

    async fn origin(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Result<Option<Origin>, StoreError> {
        Ok(self.at_now(|rows, _| rows.origin.get(&(saga.clone(), instance, run)).cloned()))
    }

    async fn join(&self, node: NodeId, lease: Duration) -> Result<(), StoreError> {
        self.at_now(|rows, now| nodes::join(rows, now, node, lease));
        Ok(())
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        Ok(self.at_now(|rows, now| nodes::renew(rows, now, node, lease)))
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        self.at_now(|rows, _| nodes::leave(rows, node));
        self.hint();
        Ok(())
    }

    async fn claim_timers(&self, claim: &Claim) -> Result<Vec<Timer>, StoreError> {
        Ok(self.at_now(|rows, now| claims::timers(rows, now, claim)))
    }

    async fn claim_parked(&self, claim: &Claim) -> Result<Vec<Parked>, StoreError> {
        Ok(self.at_now(|rows, now| parked::claim(rows, now, claim)))
    }

    async fn claim_ended(&self, claim: &Claim) -> Result<Vec<EndedCall>, StoreError> {
        Ok(self.at_now(|rows, now| calls::claim_ended(rows, now, claim)))
    }

    async fn claim_calls(
        &self,
        claim: &Claim,
        calls: &[String],
    ) -> Result<Vec<ActivityTask>, StoreError> {
        Ok(self.at_now(|rows, now| calls::claim_due(rows, now, claim, calls)))
    }

    async fn record(
        &self,
        node: NodeId,
        records: &[AttemptRecord],
    ) -> Result<Vec<bool>, StoreError> {
        let taken = self.at_now(|rows, now| {
            records.iter().map(|record| calls::record(rows, now, node, record)).collect()
        });
        self.hint();
        Ok(taken)
    }

    async fn give_back(&self, node: NodeId, endpoint: &Name) -> Result<(), StoreError> {
        self.at_now(|rows, _| nodes::give_back(rows, node, Some(endpoint)));
        self.hint();
        Ok(())
    }

    async fn finish_chunks(&self, chunks: &[RowId]) -> Result<(), StoreError> {
        self.at_now(|rows, _| outbox::finish(rows, chunks));
        Ok(())
    }

    async fn own_chunks(&self, node: NodeId, known: &[RowId]) -> Result<Vec<Chunk>, StoreError> {
        Ok(self.at_now(|rows, _| outbox::own(rows, node, known)))
    }

    async fn take_chunks(&self, node: NodeId, limit: usize) -> Result<Vec<Chunk>, StoreError> {
        Ok(self.at_now(|rows, now| outbox::take(rows, now, node, limit)))
    }

    async fn shrink_chunk(
        &self,
        chunk: RowId,
        left: &[Outgoing],
        set_aside: &[Quarantined],
    ) -> Result<(), StoreError> {
        self.at_now(|rows, _| outbox::shrink(rows, chunk, left, set_aside));
        Ok(())
    }

    async fn next_due(&self, endpoints: &[Name]) -> Result<Option<DateTime<Utc>>, StoreError> {
        Ok(self.at_now(|rows, now| due::next_due(rows, now, endpoints)))
    }

    async fn unclaimed(&self, before: DateTime<Utc>) -> Result<Vec<Unclaimed>, StoreError> {
        Ok(self.at_now(|rows, now| due::unclaimed(rows, now, before)))
    }

    async fn sweep_finished(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        Ok(self.at_now(|rows, _| purge::sweep_finished(rows, before, limit)))
    }

    async fn sweep(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        Ok(self.at_now(|rows, _| purge::sweep(rows, before, limit)))
    }

    async fn wait_for_work(&self, at_most: Duration) {
        let hinted = self.hint.notified();
        let late = self.clock.sleep(at_most);
        tokio::select! {
            biased;
            () = hinted => {}
            () = late => {}
        }
    }

    async fn wait_for_verb(&self, at_most: Duration) -> bool {
        let told = self.verbs.notified();
        let late = self.clock.sleep(at_most);
        tokio::select! {
            biased;
            () = told => true,
            () = late => false,
        }
    }
}
