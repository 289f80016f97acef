//! The store of the road's tests: the memory store behind a door that is slow, shut or forgetful on
//! demand, for one node or for all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::commit::{Commit, CommitOutcome, Origin, Slice};
use knarr_model::ports::permit::Quota;
use knarr_model::ports::store::{
    EndpointRow, HaltReport, Load, Loaded, Store, StoreError, Unclaimed,
};
use knarr_model::ports::{Clock, Permits};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{
    ActivityTask, AttemptRecord, Chunk, Claim, EndedCall, Outgoing, Parked, Timer,
};
use knarr_model::{InstanceId, Name, NodeId, RowId};
use knarr_testkit::memory::MemoryStore;
use parking_lot::Mutex;

/// What a node asks of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    Endpoint,
    Load,
    Commit,
    Origin,
    Lease,
    Claim,
    ClaimCalls,
    Record,
    Outbox,
    /// What crash-watch writes down.
    Intent,
    /// A verb of the guard.
    Fence,
    /// What the guard asks without the fence.
    Guard,
    Sweep,
    Other,
}

/// What happens to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not carried out.
    Fail,
    /// It is carried out and the answer is lost.
    LoseAnswer,
}

/// What is wrong with one node's door.
#[derive(Default)]
pub(crate) struct Door {
    state: Mutex<DoorState>,
}

#[derive(Default)]
struct DoorState {
    shut: bool,
    faults: BTreeMap<Op, VecDeque<Fault>>,
    /// How long a question takes to get there, and its answer to come back.
    slow: BTreeMap<Op, (Duration, Duration)>,
    asked: BTreeMap<Op, u32>,
}

impl Door {
    /// Whether nothing gets through.
    pub(crate) fn shut(&self, shut: bool) {
        self.state.lock().shut = shut;
    }

    /// The next questions of this kind meet these faults.
    pub(crate) fn plan(&self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.entry(op).or_default().extend(faults);
    }

    /// Questions of this kind take so long to get there, and so long to be answered.
    pub(crate) fn slow(&self, op: Op, there: Duration, back: Duration) {
        self.state.lock().slow.insert(op, (there, back));
    }

    /// How many questions of this kind the node has asked.
    pub(crate) fn asked(&self, op: Op) -> u32 {
        self.state.lock().asked.get(&op).copied().unwrap_or(0)
    }

    fn meet(&self, op: Op) -> (bool, Option<Fault>, Duration, Duration) {
        let mut state = self.state.lock();
        *state.asked.entry(op).or_default() += 1;
        let fault = state.faults.get_mut(&op).and_then(VecDeque::pop_front);
        let (there, back) = state.slow.get(&op).copied().unwrap_or_default();
        (state.shut, fault, there, back)
    }
}

type Refusal = Box<dyn Fn(&Commit) -> Option<String> + Send>;

/// The shelf itself, as all nodes see it.
pub(crate) struct Shelf {
    pub(crate) rows: MemoryStore,
    answers: Mutex<Vec<&'static str>>,
    refuses: Mutex<Option<Refusal>>,
    /// The most rows that one claim gave to a node.
    largest_claim: Mutex<usize>,
    /// Bytes of data and of messages: the most in one commit, and in all.
    sizes: Mutex<(usize, usize)>,
}

impl Shelf {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Shelf {
            rows: MemoryStore::new(clock),
            answers: Mutex::default(),
            refuses: Mutex::default(),
            largest_claim: Mutex::default(),
            sizes: Mutex::default(),
        }
    }

    /// Refuses, as broken data, what `refuses` gives a reason for.
    pub(crate) fn refuse(&self, refuses: impl Fn(&Commit) -> Option<String> + Send + 'static) {
        *self.refuses.lock() = Some(Box::new(refuses));
    }

    /// How the commits so far were answered, each in one word.
    pub(crate) fn answers(&self) -> Vec<&'static str> {
        self.answers.lock().clone()
    }

    /// The most bytes that one commit has written, and what all have.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        *self.sizes.lock()
    }

    /// Begins to count bytes anew.
    pub(crate) fn forget_sizes(&self) {
        *self.sizes.lock() = (0, 0);
    }

    /// The most rows that one claim of calls has given.
    pub(crate) fn largest_claim(&self) -> usize {
        *self.largest_claim.lock()
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let refused = self.refuses.lock().as_ref().and_then(|refuses| refuses(&commit));
        if let Some(reason) = refused {
            self.answers.lock().push("refused");
            return Err(StoreError::Data(reason));
        }
        let bytes = bytes_of(&commit);
        {
            let mut sizes = self.sizes.lock();
            *sizes = (sizes.0.max(bytes), sizes.1 + bytes);
        }
        let outcome = self.rows.commit(commit).await?;
        self.answers.lock().push(match &outcome {
            CommitOutcome::Committed { lost, .. } if lost.is_empty() => "committed",
            CommitOutcome::Committed { .. } => "lost",
            CommitOutcome::Fenced => "fenced",
            CommitOutcome::GuardChanged => "guard-changed",
            CommitOutcome::Duplicates(_) => "duplicates",
            CommitOutcome::Gone(_) => "gone",
            CommitOutcome::KeyTaken { .. } => "key-taken",
            CommitOutcome::Swept(_) => "swept",
        });
        Ok(outcome)
    }
}

/// Bytes of instance data and of messages in a commit.
fn bytes_of(commit: &Commit) -> usize {
    let of_slice = |slice: &Slice| {
        let data = slice.instance.as_ref().map_or(0, |instance| instance.data.get().len());
        data + slice.outgoing.iter().map(|message| message.body.len()).sum::<usize>()
    };
    commit.slices.iter().map(of_slice).sum()
}

/// One node's way to the shelf.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) door: Arc<Door>,
}

impl Reach {
    pub(crate) async fn through<T>(
        &self,
        op: Op,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let (shut, fault, there, back) = self.door.meet(op);
        if !there.is_zero() {
            tokio::time::sleep(there).await;
        }
        if shut || fault == Some(Fault::Fail) {
            return Err(StoreError::Transient(format!("{op:?} failed as it was told to")));
        }
        let answer = act.await;
        if !back.is_zero() {
            tokio::time::sleep(back).await;
        }
        if fault == Some(Fault::LoseAnswer) {
            return Err(StoreError::Transient(format!("the answer to {op:?} was lost")));
        }
        answer
    }
}

#[async_trait]
impl Permits for Reach {
    async fn take(&self, name: &str, quotas: &[Quota]) -> Result<Result<(), Duration>, StoreError> {
        self.through(Op::Other, self.shelf.rows.take(name, quotas)).await
    }
}

#[async_trait]
impl Store for Reach {
    async fn endpoint(&self, name: &Name) -> Result<EndpointRow, StoreError> {
        self.through(Op::Endpoint, self.shelf.rows.endpoint(name)).await
    }

    async fn hold(&self, endpoint: &Name, node: NodeId) -> Result<EndpointRow, StoreError> {
        self.through(Op::Endpoint, self.shelf.rows.hold(endpoint, node)).await
    }

    async fn note_served(
        &self,
        endpoint: &Name,
        node: NodeId,
        report: Option<HaltReport>,
    ) -> Result<(), StoreError> {
        self.through(Op::Other, self.shelf.rows.note_served(endpoint, node, report)).await
    }

    async fn load(&self, load: Load) -> Result<Loaded, StoreError> {
        self.through(Op::Load, self.shelf.rows.load(load)).await
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        self.through(Op::Commit, self.shelf.commit(commit)).await
    }

    async fn origin(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Result<Option<Origin>, StoreError> {
        self.through(Op::Origin, self.shelf.rows.origin(saga, instance, run)).await
    }

    async fn join(&self, node: NodeId, lease: Duration) -> Result<(), StoreError> {
        self.through(Op::Lease, self.shelf.rows.join(node, lease)).await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        self.through(Op::Lease, self.shelf.rows.renew(node, lease)).await
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        self.through(Op::Other, self.shelf.rows.leave(node)).await
    }

    async fn claim_timers(&self, claim: &Claim) -> Result<Vec<Timer>, StoreError> {
        self.through(Op::Claim, self.shelf.rows.claim_timers(claim)).await
    }

    async fn claim_parked(&self, claim: &Claim) -> Result<Vec<Parked>, StoreError> {
        self.through(Op::Claim, self.shelf.rows.claim_parked(claim)).await
    }

    async fn claim_ended(&self, claim: &Claim) -> Result<Vec<EndedCall>, StoreError> {
        self.through(Op::Claim, self.shelf.rows.claim_ended(claim)).await
    }

    async fn claim_calls(
        &self,
        claim: &Claim,
        calls: &[String],
    ) -> Result<Vec<ActivityTask>, StoreError> {
        let tasks = self.through(Op::ClaimCalls, self.shelf.rows.claim_calls(claim, calls)).await?;
        let mut largest = self.shelf.largest_claim.lock();
        *largest = tasks.len().max(*largest);
        Ok(tasks)
    }

    async fn record(
        &self,
        node: NodeId,
        records: &[AttemptRecord],
    ) -> Result<Vec<bool>, StoreError> {
        self.through(Op::Record, self.shelf.rows.record(node, records)).await
    }

    async fn give_back(&self, node: NodeId, endpoint: &Name) -> Result<(), StoreError> {
        self.through(Op::Other, self.shelf.rows.give_back(node, endpoint)).await
    }

    async fn finish_chunks(&self, chunks: &[RowId]) -> Result<(), StoreError> {
        self.through(Op::Outbox, self.shelf.rows.finish_chunks(chunks)).await
    }

    async fn own_chunks(&self, node: NodeId, known: &[RowId]) -> Result<Vec<Chunk>, StoreError> {
        self.through(Op::Outbox, self.shelf.rows.own_chunks(node, known)).await
    }

    async fn take_chunks(&self, node: NodeId, limit: usize) -> Result<Vec<Chunk>, StoreError> {
        self.through(Op::Outbox, self.shelf.rows.take_chunks(node, limit)).await
    }

    async fn shrink_chunk(
        &self,
        chunk: RowId,
        left: &[Outgoing],
        set_aside: &[Quarantined],
    ) -> Result<(), StoreError> {
        self.through(Op::Outbox, self.shelf.rows.shrink_chunk(chunk, left, set_aside)).await
    }

    async fn next_due(&self, endpoints: &[Name]) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.through(Op::Other, self.shelf.rows.next_due(endpoints)).await
    }

    async fn unclaimed(&self, before: DateTime<Utc>) -> Result<Vec<Unclaimed>, StoreError> {
        self.through(Op::Other, self.shelf.rows.unclaimed(before)).await
    }

    async fn sweep_finished(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        self.through(Op::Sweep, self.shelf.rows.sweep_finished(before, limit)).await
    }

    async fn sweep(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        self.through(Op::Sweep, self.shelf.rows.sweep(before, limit)).await
    }

    async fn wait_for_work(&self, at_most: Duration) {
        self.shelf.rows.wait_for_work(at_most).await;
    }

    async fn wait_for_verb(&self, at_most: Duration) -> bool {
        self.shelf.rows.wait_for_verb(at_most).await
    }
}
