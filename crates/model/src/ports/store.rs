//! The door to the store: one read, one commit, and rows that wait.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::commit::{Commit, CommitOutcome, Key, KeyRow, Origin, Outcome};
use crate::digest::Digest;
use crate::ids::{InstanceId, MessageId, Name, NodeId, RowId};
use crate::instance::Instance;
use crate::ports::crash::CrashWatch;
pub use crate::ports::endpoint::{EndpointRow, EndpointState, HaltReport, Served, Stop};
use crate::ports::guard::Guarded;
use crate::ports::permit::Permits;
pub use crate::ports::trouble::StoreError;
use crate::quarantine::Quarantined;
use crate::work::{ActivityTask, AttemptRecord, Chunk, Claim, EndedCall, Outgoing, Parked, Timer};

/// What a batch needs to know.
#[derive(Clone, Debug)]
pub struct Load {
    /// The endpoint.
    pub endpoint: Name,
    /// The saga.
    pub saga: Name,
    /// Instances by id.
    pub instances: Vec<InstanceId>,
    /// Instances by business key.
    pub keys: Vec<Key>,
    /// Journal ids of the batch's messages.
    pub messages: Vec<MessageId>,
}

/// What the store knew at one moment; no lock is held.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The endpoint's row.
    pub endpoint: EndpointRow,
    /// Instances found, those found by key included.
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Instances whose rows cannot be read, and why; one of them never hides the others.
    pub unreadable: BTreeMap<InstanceId, String>,
    /// Keys found.
    pub keys: BTreeMap<Key, KeyRow>,
    /// Messages that have a journal row.
    pub journal: BTreeMap<MessageId, (Digest, Outcome)>,
    /// Messages that are parked.
    pub parked: BTreeMap<MessageId, (Digest, RowId)>,
    /// Per asked instance, the parked messages that others wait behind.
    pub waiting: BTreeMap<InstanceId, Waiting>,
}

/// Parked messages of one instance behind which later ones wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub rows: u64,
    /// The lowest `seq` of them.
    pub first_seq: i64,
    /// The highest `seq` of all parked rows of the instance.
    pub last_seq: i64,
    /// When the first is due.
    pub due_at: Option<DateTime<Utc>>,
}

/// Rows of one kind that are due and that no live node has claimed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unclaimed {
    /// Their endpoint.
    pub endpoint: Name,
    /// The call that they ask for; none for what only the endpoint's own saga decides.
    pub call: Option<String>,
    /// How many; a store need not count far beyond a thousand.
    pub rows: u64,
}

/// A store. Everything it answered `Ok` to is durable, whatever dies next.
#[async_trait]
pub trait Store: Permits + Guarded + CrashWatch {
    /// Makes the endpoint's row if there is none, and returns it.
    async fn endpoint(&self, name: &Name) -> Result<EndpointRow, StoreError>;

    /// Makes a live `node` the endpoint's holder if it has none or its holder's lease is past, and
    /// returns the row as it stands then. What the last holder decided does not commit afterwards.
    async fn hold(&self, endpoint: &Name, node: NodeId) -> Result<EndpointRow, StoreError>;

    /// Notes that a live `node` serves the endpoint and, once it has dealt with a stop, what it did.
    /// Without a report one that is there stays. It goes with the node's lease.
    async fn note_served(
        &self,
        endpoint: &Name,
        node: NodeId,
        report: Option<HaltReport>,
    ) -> Result<(), StoreError>;

    /// One read: no transaction, no locks.
    async fn load(&self, load: Load) -> Result<Loaded, StoreError>;

    /// One short transaction: fence, epoch, instances by version, everything else (engine.md, "The road").
    ///
    /// # Errors
    /// After an error it is not known whether the commit took place, unless it `is_data`.
    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError>;

    /// The start message of a live run: what is set aside when the run fails.
    async fn origin(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Result<Option<Origin>, StoreError>;

    /// Announces a node; its lease runs `lease` from now by the store's clock.
    async fn join(&self, node: NodeId, lease: Duration) -> Result<(), StoreError>;

    /// Renews the lease if it is still in the future. `false`: it is past, the node is dead.
    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError>;

    /// Gives back every claim of the node and the endpoints that it holds, and ends its lease: it did
    /// not die, and nothing that it intended is suspected. Attempts at calls that were running do
    /// not count: their rows' `attempt` goes back by one.
    async fn leave(&self, node: NodeId) -> Result<(), StoreError>;

    /// Claims due timers of open endpoints: of nobody, or of nodes whose lease is past.
    async fn claim_timers(&self, claim: &Claim) -> Result<Vec<Timer>, StoreError>;

    /// Claims parked messages that are due; an instance's rows come together in `seq` order.
    async fn claim_parked(&self, claim: &Claim) -> Result<Vec<Parked>, StoreError>;

    /// Claims ended calls that no live node holds.
    async fn claim_ended(&self, claim: &Claim) -> Result<Vec<EndedCall>, StoreError>;

    /// Claims calls that are due, of the given types; each comes with `claims` raised by one
    /// and `attempt` raised by one, but `attempt` stays as it is when the row is taken over from a
    /// node whose lease is past: an attempt that ended with its node's lease is not counted.
    ///
    /// Such an attempt is a loss ([`ActivityTask::lost`]). A claimed call without losses is run from
    /// then on; one with losses only from [`CrashWatch::run_call`] on. When its node dies before that,
    /// it has but one any more: processes die without it. A recorded outcome leaves none either; what
    /// is given back, or claimed again by its own node, keeps them.
    async fn claim_calls(
        &self,
        claim: &Claim,
        calls: &[String],
    ) -> Result<Vec<ActivityTask>, StoreError>;

    /// Records outcomes of attempts; one entry per record says whether it was taken (not late).
    /// An ended call stays claimed by `node`.
    async fn record(
        &self,
        node: NodeId,
        records: &[AttemptRecord],
    ) -> Result<Vec<bool>, StoreError>;

    /// Gives back the claims of `node` on rows of `endpoint` (a halt, a stop). Attempts at calls that
    /// were running do not count: their rows' `attempt` goes back by one.
    async fn give_back(&self, node: NodeId, endpoint: &Name) -> Result<(), StoreError>;

    /// Deletes outbox rows whose messages are all confirmed.
    async fn finish_chunks(&self, chunks: &[RowId]) -> Result<(), StoreError>;

    /// Outbox rows of the node itself that are not among `known`: after a commit whose answer was
    /// lost. Oldest first.
    async fn own_chunks(&self, node: NodeId, known: &[RowId]) -> Result<Vec<Chunk>, StoreError>;

    /// Takes over outbox rows of nodes whose lease is past, oldest first.
    async fn take_chunks(&self, node: NodeId, limit: usize) -> Result<Vec<Chunk>, StoreError>;

    /// Replaces a chunk's messages by those still to go, and sets the rest aside.
    async fn shrink_chunk(
        &self,
        chunk: RowId,
        left: &[Outgoing],
        set_aside: &[Quarantined],
    ) -> Result<(), StoreError>;

    /// When the next timer, call or parked message of these endpoints is due, at the earliest.
    async fn next_due(&self, endpoints: &[Name]) -> Result<Option<DateTime<Utc>>, StoreError>;

    /// Rows due before `before` that no live node has claimed, of endpoints that are not halted, by
    /// endpoint and call.
    async fn unclaimed(&self, before: DateTime<Utc>) -> Result<Vec<Unclaimed>, StoreError>;

    /// Deletes instances that finished, and were last written, before `before` and have nothing left
    /// that waits, at most `limit`; their keys may be taken again. Tombstones stay.
    async fn sweep_finished(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError>;

    /// Deletes journal rows older than `before` of ended instances, at most `limit`. The row that
    /// finished an instance stays as long as the instance.
    async fn sweep(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError>;

    /// Waits until rows may be waiting, or `at_most`; a hint, never the truth. Cancel-safe.
    async fn wait_for_work(&self, at_most: Duration);

    /// Waits until a verb may have been carried out on an endpoint, here or elsewhere: `true`; or
    /// `at_most`: `false`. One waits on a handle at a time. A hint, never the truth. Cancel-safe.
    async fn wait_for_verb(&self, at_most: Duration) -> bool;
}
