//! Rows that wait: outgoing messages, timers, activity tasks, parked messages.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::digest::Digest;
use crate::envelope::{Context, Envelope};
use crate::fault::Failure;
use crate::headers::Headers;
use crate::ids::{InstanceId, MessageId, Name, NodeId, RowId};
use crate::retry::RetryPolicy;

/// How an outgoing message is addressed, and so what the transport declares for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addressing {
    /// To its type's exchange, which is bound from the exchanges listed (base types); not mandatory.
    Publish {
        /// Exchanges of the base types; each is bound to the message's own exchange.
        bases: Vec<String>,
    },
    /// To an endpoint's exchange, declared with its queue; mandatory. One whose queue is missing all
    /// the same, deleted since it was declared, comes back
    /// ([`Published::Returned`](crate::ports::transport::Published::Returned)): it is set aside,
    /// class `unroutable`, and never published into nothing.
    Queue,
    /// To an exchange, declared alone; mandatory.
    Exchange,
    /// To a foreign requester: nothing is declared; mandatory.
    Answer,
}

/// A message ready for the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outgoing {
    /// The message id, the same however often it is published.
    pub id: MessageId,
    /// Which instance, run and number it has (`Knarr-Sequence`); none for faults.
    pub sequence: Option<Sequence>,
    /// The exchange; empty for direct reply-to.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// What is declared and whether a return matters.
    pub addressing: Addressing,
    /// AMQP content type.
    pub content_type: String,
    /// AMQP correlation id.
    pub correlation_id: Option<Uuid>,
    /// AMQP headers.
    pub headers: Headers,
    /// Not published after this instant.
    pub expires_at: Option<DateTime<Utc>>,
    /// AMQP priority.
    pub priority: Option<u8>,
    /// The body; kept apart from this directory entry in the stored chunk.
    #[serde(skip)]
    pub body: Bytes,
}

impl Outgoing {
    /// Whether a message that no queue takes must be set aside.
    pub fn is_mandatory(&self) -> bool {
        !matches!(self.addressing, Addressing::Publish { .. })
    }
}

/// The place of an outgoing message among those of its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sequence {
    /// The instance.
    pub instance: InstanceId,
    /// Its run.
    pub run: u32,
    /// From 1, gapless within the run.
    pub n: i64,
}

/// The most messages in one chunk.
pub const CHUNK_MESSAGES: usize = 256;
/// The most body bytes in one chunk, unless one message alone is larger.
pub const CHUNK_BYTES: usize = 1 << 20;

/// One outbox row: messages that were committed together.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The row's id.
    pub id: RowId,
    /// The endpoint whose commit made it.
    pub endpoint: Name,
    /// In the order they were produced.
    pub messages: Vec<Outgoing>,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    #[serde(flatten)]
    message: T,
    bytes: u64,
}

impl Chunk {
    /// Groups messages into chunks within the bounds; `id` names each new row.
    pub fn split(
        endpoint: &Name,
        messages: Vec<Outgoing>,
        mut id: impl FnMut() -> RowId,
    ) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut bytes = 0;
        for message in messages {
            let full = chunks.last().is_none_or(|chunk| {
                chunk.messages.len() >= CHUNK_MESSAGES || bytes + message.body.len() > CHUNK_BYTES
            });
            if full {
                chunks.push(Chunk { id: id(), endpoint: endpoint.clone(), messages: Vec::new() });
                bytes = 0;
            }
            bytes += message.body.len();
            if let Some(chunk) = chunks.last_mut() {
                chunk.messages.push(message);
            }
        }
        chunks
    }

    /// The directory (JSON) and the bodies laid end to end, as the two columns of a row.
    pub fn encode(&self) -> Result<(String, Vec<u8>), serde_json::Error> {
        let entries: Vec<_> = self
            .messages
            .iter()
            .map(|message| Entry { message, bytes: message.body.len() as u64 })
            .collect();
        let bodies = self.messages.iter().map(|message| &message.body[..]).collect::<Vec<_>>();
        Ok((serde_json::to_string(&entries)?, bodies.concat()))
    }

    /// Reads the two columns of a row.
    pub fn decode(
        id: RowId,
        endpoint: Name,
        directory: &str,
        bodies: Vec<u8>,
    ) -> Result<Chunk, String> {
        let entries: Vec<Entry<Outgoing>> =
            serde_json::from_str(directory).map_err(|e| format!("chunk {id}: {e}"))?;
        let bodies = Bytes::from(bodies);
        let mut at = 0usize;
        let mut messages = Vec::with_capacity(entries.len());
        for Entry { mut message, bytes } in entries {
            let end = usize::try_from(bytes)
                .ok()
                .and_then(|bytes| at.checked_add(bytes))
                .filter(|end| *end <= bodies.len())
                .ok_or_else(|| {
                    format!("chunk {id}: its bodies end before message {}", message.id)
                })?;
            message.body = bodies.slice(at..end);
            at = end;
            messages.push(message);
        }
        if at < bodies.len() {
            return Err(format!("chunk {id}: {} bytes belong to no message", bodies.len() - at));
        }
        Ok(Chunk { id, endpoint, messages })
    }
}

/// A timer that will fire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// The row's id, and the token.
    pub id: RowId,
    /// The endpoint whose lane it fires on.
    pub endpoint: Name,
    /// The instance's saga.
    pub saga: Name,
    /// The instance.
    pub instance: InstanceId,
    /// The run that set it.
    pub run: u32,
    /// Its name.
    pub name: String,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// Failed attempts to decide it.
    pub attempt: u32,
    /// Rises by one at every claim; what was decided under another claim is late.
    pub claims: i64,
    /// What its firing carries on.
    pub context: Context,
}

/// An activity asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActivityTask {
    /// The row's id, and the token.
    pub id: RowId,
    /// The endpoint whose lane its end comes to.
    pub endpoint: Name,
    /// The instance's saga.
    pub saga: Name,
    /// The instance.
    pub instance: InstanceId,
    /// The run that asked.
    pub run: u32,
    /// The call's type name.
    pub call: String,
    /// The call's data.
    pub payload: Arc<RawValue>,
    /// (saga, instance, run, cause, effect index) as a UUID: the same for every attempt.
    pub idempotency_key: Uuid,
    /// Attempts begun so far that count; of a claimed task, the number of the attempt to run now.
    pub attempt: u32,
    /// Rises by one at every claim, of the call and later of its end; what was done under another
    /// claim is late.
    pub claims: i64,
    /// What the last attempt left for the next.
    pub memo: Option<Value>,
    /// When the next attempt is due.
    pub due_at: DateTime<Utc>,
    /// Overrides the activity's own policy.
    pub retry: Option<RetryPolicy>,
    /// Overrides the activity's own deadline.
    pub deadline: Option<Duration>,
    /// What its end carries on.
    pub context: Context,
    /// Processes that ended while they ran it. A call that is restored starts anew.
    #[serde(skip)]
    pub lost: Losses,
}

/// Processes that died, or lost their lease, while they ran a call, one after the other, and nobody
/// ever heard of the attempts. An attempt of which one hears makes it none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// How many.
    pub count: u32,
    /// When the last was noticed.
    pub last: Option<DateTime<Utc>>,
    /// From the beginning of the attempt that it ran until then.
    pub after: Option<Duration>,
}

/// How a call ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallEnd {
    /// With an answer.
    Done(Arc<RawValue>),
    /// For good, without one.
    Failed(Failure),
}

/// A call that ended and whose saga has not decided on it yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EndedCall {
    /// The task.
    pub task: ActivityTask,
    /// How it ended.
    pub end: CallEnd,
    /// Failed attempts to decide it.
    pub decide_attempt: u32,
}

/// What became of one attempt.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// The task.
    pub task: RowId,
    /// The claim it ran under (`ActivityTask::claims`); another number in the row, or another node,
    /// means that this record is late.
    pub claims: i64,
    /// The outcome.
    pub outcome: AttemptOutcome,
}

/// The outcome of one attempt.
#[derive(Clone, Debug)]
pub enum AttemptOutcome {
    /// The call is over; its end waits for the saga.
    Ended(CallEnd),
    /// Due again later.
    Again {
        /// When.
        due_at: DateTime<Utc>,
        /// For the next attempt.
        memo: Option<Value>,
        /// Whether this attempt counts against the budget; if not, the row's `attempt` goes back by one.
        used: bool,
    },
}

/// Why a message is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParkedReason {
    /// It failed and has attempts left.
    Retry,
    /// Its instance does not exist yet.
    Missing,
    /// Its state does not take it yet.
    Deferred,
    /// It waits behind another message of its instance.
    Held,
    /// It may have killed a process.
    Suspect,
}

impl ParkedReason {
    /// The reason as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            ParkedReason::Retry => "retry",
            ParkedReason::Missing => "missing",
            ParkedReason::Deferred => "deferred",
            ParkedReason::Held => "held",
            ParkedReason::Suspect => "suspect",
        }
    }

    /// Whether later messages of the instance wait behind such a row.
    pub fn blocks(self) -> bool {
        matches!(self, ParkedReason::Retry | ParkedReason::Held | ParkedReason::Suspect)
    }
}

impl fmt::Display for ParkedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ParkedReason {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            ParkedReason::Retry,
            ParkedReason::Missing,
            ParkedReason::Deferred,
            ParkedReason::Held,
            ParkedReason::Suspect,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == text)
        .ok_or_else(|| format!("`{text}` is no reason to park"))
    }
}

/// A message that waits in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parked {
    /// The row's id.
    pub id: RowId,
    /// The endpoint whose lane it returns to.
    pub endpoint: Name,
    /// The saga it is for.
    pub saga: Name,
    /// The message's journal id.
    pub message_id: MessageId,
    /// Its content.
    pub digest: Digest,
    /// Its instance, once known.
    pub instance: Option<InstanceId>,
    /// Its place among its instance's parked messages: what was parked later has a higher number.
    pub seq: i64,
    /// Why it waits.
    pub reason: ParkedReason,
    /// Failed attempts so far.
    pub attempt: u32,
    /// Rises by one at every claim; what was decided under another claim is late.
    pub claims: i64,
    /// When it returns; `None`: when its instance changes state, or a person says so.
    pub due_at: Option<DateTime<Utc>>,
    /// The last error.
    pub error: Option<String>,
    /// The message.
    pub envelope: Arc<Envelope>,
}

/// The kinds of rows that become internal deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// A due timer.
    Timer,
    /// An ended call.
    Call,
    /// A parked message that is due.
    Parked,
}

/// A row as a node claimed it. The node's id alone would not do: a commit that is carried out late
/// would find its row claimed by the same node once more, and undo what happened in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimedRow {
    /// Which kind of row.
    pub kind: RowKind,
    /// Its id.
    pub id: RowId,
    /// The row's `claims` when it was claimed.
    pub claims: i64,
}

/// A node's claim on waiting rows.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who claims.
    pub node: NodeId,
    /// Endpoints it can serve now.
    pub endpoints: Vec<Name>,
    /// Rows at most.
    pub limit: usize,
    /// After a claim whose answer was lost: rows that are claimed by `node` itself and are not
    /// among these come again, since it does not hold them. `None`: own rows do not come again.
    pub reclaim_except: Option<Vec<RowId>>,
}

#[cfg(test)]
mod tests;
