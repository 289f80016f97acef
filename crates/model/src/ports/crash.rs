//! The door for what must outlive a process that dies while it decides: intents, suspects, records.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ids::{MessageId, Name, NodeId, RowId};
use crate::ports::store::StoreError;
use crate::work::RowKind;

/// What one lane is about to decide. Written before, so that it is still there should the process
/// die of it.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The process.
    pub node: NodeId,
    /// The endpoint.
    pub endpoint: Name,
    /// The saga whose journal has the outcomes.
    pub saga: Name,
    /// The lane; it has one intent at a time.
    pub lane: u32,
    /// Rises with each intent of the lane: one whose carrying out is late, since its answer was lost,
    /// takes no later one's place.
    pub number: u64,
    /// Journal ids of what is decided.
    pub messages: Vec<MessageId>,
    /// One message, and the process decides nothing else meanwhile: if it dies now, it died of it.
    pub alone: bool,
}

/// A message that a process had in hand when it died, or has no longer in hand and never said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its journal id.
    pub message: MessageId,
    /// Processes that died while they decided it alone.
    pub died: u32,
    /// Intents to decide it alone, of other processes that are not known to be dead.
    pub open: u32,
    /// When a process last was about to decide it alone.
    pub last: Option<DateTime<Utc>>,
}

/// How the attempts of one process went lately: decisions and calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Those that worked.
    pub worked: u64,
    /// Those that failed.
    pub failed: u64,
}

/// An attempt that is given back: it was used up by a process that fails at everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// One at a call.
    Call(RowId),
    /// One at deciding a row.
    Row(RowKind, RowId),
}

/// The crash-watch's side of a store.
#[async_trait]
pub trait CrashWatch: Send + Sync {
    /// Writes the intent, in place of its lane's last one unless that is a later one, and tells which of its messages are
    /// suspects: named by an intent of another node, or of a node that died.
    async fn intend(&self, intent: &Intent) -> Result<Vec<Suspect>, StoreError>;

    /// The intent's lane is done with it, and with earlier ones that may yet come. These messages came through: they are suspected no more.
    async fn came_through(&self, intent: &Intent, messages: &[MessageId])
    -> Result<(), StoreError>;

    /// Notes the record of `node`, and looks whether nodes died without leaving (their lease is
    /// past): such a node is forgotten, what it intended and has no outcome is suspected, once, and
    /// every endpoint is in crash-watch for so long from now
    /// ([`EndpointRow::watched_until`](crate::ports::store::EndpointRow)). An endpoint stays in
    /// it as long as it has suspects; suspects that nobody has met for an hour are forgotten.
    /// Only a live node buries. Answers the records of all other live nodes.
    async fn look_round(
        &self,
        node: NodeId,
        record: Record,
        watch: Duration,
    ) -> Result<Vec<Record>, StoreError>;

    /// From now on `node` runs the call that it claimed under that number
    /// ([`ActivityTask::claims`](crate::work::ActivityTask)) and has not run yet, since it has
    /// losses. `false`: it is no longer its own.
    async fn run_call(&self, node: NodeId, call: RowId, claims: i64) -> Result<bool, StoreError>;

    /// Gives back calls, by row and claim, that `node` claimed and did not run: they are due again
    /// then. It is no attempt, and their losses stay. Those that are no longer its own do not matter.
    async fn put_off(
        &self,
        node: NodeId,
        calls: &[(RowId, i64)],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Gives back attempts, one for each entry: rows that are still there and have used any.
    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError>;
}
