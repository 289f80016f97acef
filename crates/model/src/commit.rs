//! All that one batch writes, as one value, and what the store answers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::ids::{InstanceId, MessageId, Name, NodeId, RowId};
use crate::instance::Instance;
use crate::quarantine::Quarantined;
use crate::statement::Statement;
use crate::work::{ActivityTask, Chunk, ClaimedRow, Outgoing, Parked, Timer};

/// One batch's writes. A store carries them out in one short transaction, or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The endpoint whose fence is taken.
    pub endpoint: Name,
    /// The saga whose instances are written.
    pub saga: Name,
    /// The node that commits; claimed rows must be its own.
    pub node: NodeId,
    /// The epoch that the batch was decided at.
    pub epoch: i64,
    /// The block set that the batch was decided at.
    pub guard_version: i64,
    /// Whether only the endpoint's holder may commit.
    pub ordered: bool,
    /// Per instance what its messages write; at most one slice an instance.
    pub slices: Vec<Slice>,
    /// Ids for the outbox rows, one per possible chunk: at least one more than messages / 256.
    pub chunk_ids: Vec<RowId>,
    /// Outbox rows of earlier commits whose messages are all confirmed; deleted along.
    pub finished_chunks: Vec<RowId>,
    /// The clock port's time: stores without a clock of their own use it.
    pub now: DateTime<Utc>,
}

/// What the messages of one instance (or of none) write. Lost as a whole or kept as a whole.
#[derive(Clone, Debug, Default)]
pub struct Slice {
    /// The instance's id; `None` for messages that belong to no instance.
    pub key: Option<InstanceId>,
    /// The instance's new value, its version already raised; `None` leaves it as it is.
    pub instance: Option<Instance>,
    /// The start message of a run that begins here.
    pub origin: Option<Origin>,
    /// The run whose start message is no longer needed.
    pub forget_origin: Option<u32>,
    /// Business keys taken, or freed.
    pub keys: Vec<KeyWrite>,
    /// One row per message with a final outcome.
    pub journal: Vec<JournalRow>,
    /// Timers set.
    pub timers: Vec<Timer>,
    /// Timers cancelled; absent ones do not matter.
    pub cancelled_timers: Vec<RowId>,
    /// Calls asked for.
    pub tasks: Vec<ActivityTask>,
    /// Calls withdrawn; absent ones do not matter.
    pub cancelled_tasks: Vec<RowId>,
    /// Messages that wait from now on (new rows).
    pub parked: Vec<Parked>,
    /// Internal deliveries that wait again (their rows are updated).
    pub again: Vec<Again>,
    /// Internal deliveries that are done: their rows must be there, be this node's under this very
    /// claim, and are deleted.
    pub taken: Vec<ClaimedRow>,
    /// The instance changed state or ended: its deferred rows become due.
    pub wakes_deferred: bool,
    /// A release begins the next run of an instance whose tombstone held messages: they are this
    /// run's, and become due.
    pub wakes_held: bool,
    /// Messages set aside.
    pub quarantine: Vec<Quarantined>,
    /// Messages that leave, in order.
    pub outgoing: Vec<Outgoing>,
    /// Statements on the saga's own tables, in order: carried out after everything else, each alone.
    /// One that the data or its own text make impossible fails the commit as an error of the data.
    pub statements: Vec<Statement>,
}

/// The start message of a run, kept until the run ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The run it started.
    pub run: u32,
    /// Its journal id.
    pub message_id: MessageId,
    /// What a block compares.
    pub fingerprint: [u8; 32],
    /// The message.
    pub envelope: Arc<Envelope>,
}

/// A business key: its name and value within a saga.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The key's name in the machine.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

/// A stored business key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Who owns it, or owned it last.
    pub instance: InstanceId,
    /// Rises by one each time the key is taken.
    pub generation: i64,
    /// Whether it may be taken again.
    pub free: bool,
}

/// A business key taken or freed by a slice.
#[derive(Clone, Debug)]
pub struct KeyWrite {
    /// The key.
    pub key: Key,
    /// The generation it is taken at, or was.
    pub generation: i64,
    /// Freed instead of taken.
    pub free: bool,
    /// The message that takes it: named in a conflict.
    pub by: MessageId,
    /// Whether that message starts the run: losing is then a race, not a conflict.
    pub by_start: bool,
}

/// An internal delivery that waits again. Its row must be there and be this node's under this very
/// claim (else the commit answers `Gone`); it is updated in place and its claim is given back.
#[derive(Clone, Debug)]
pub struct Again {
    /// The row.
    pub row: ClaimedRow,
    /// When it returns; `None` waits for a change of its instance (parked rows only).
    pub due_at: Option<DateTime<Utc>>,
    /// Failed attempts so far.
    pub attempt: u32,
    /// The last error.
    pub error: Option<String>,
    /// For parked rows: the new reason.
    pub reason: Option<crate::work::ParkedReason>,
    /// For a parked row that named no instance: the one it is for, and its place in that line.
    pub place: Option<(InstanceId, i64)>,
}

/// The final outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A row of the machine ran.
    Applied,
    /// The machine, or a rule, says that it does not matter.
    Ignored,
    /// Its time had passed.
    Discarded,
    /// It was set aside.
    Quarantined,
    /// It met a tombstone or another run.
    Absorbed,
}

impl Outcome {
    /// The outcome as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Applied => "applied",
            Outcome::Ignored => "ignored",
            Outcome::Discarded => "discarded",
            Outcome::Quarantined => "quarantined",
            Outcome::Absorbed => "absorbed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Outcome::Applied,
            Outcome::Ignored,
            Outcome::Discarded,
            Outcome::Quarantined,
            Outcome::Absorbed,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
        .ok_or_else(|| format!("`{text}` is no outcome"))
    }
}

/// One line of a saga's history: it is inbox, audit trail and timeline at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalRow {
    /// The message (or the internal delivery's row id). Unique within the saga.
    pub message_id: MessageId,
    /// Its content.
    pub digest: Digest,
    /// The instance, where it belongs to one.
    pub instance: Option<InstanceId>,
    /// The instance's run.
    pub run: Option<u32>,
    /// The number among the instance's applied messages; none unless applied.
    pub seq: Option<i64>,
    /// What it was: a message type, `done <call>`, `timer <name>` …
    pub event: String,
    /// The state before.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was decided.
    pub at: DateTime<Utc>,
}

/// What became of a commit that reached the store.
#[derive(Clone, Debug)]
pub enum CommitOutcome {
    /// Durable now, but for the slices of `lost` instances, which lost a race and wrote nothing.
    Committed {
        /// Instances whose slices were left out.
        lost: Vec<InstanceId>,
        /// The outbox rows made, to be published at once.
        chunks: Vec<Chunk>,
    },
    /// The endpoint has another epoch, is halted, or is another node's to serve: nothing was written.
    Fenced,
    /// The block set changed: reload and decide again; nothing was written.
    GuardChanged,
    /// These messages have a final outcome already: reload and decide again; nothing was written.
    Duplicates(Vec<MessageId>),
    /// These internal deliveries are gone, another node's, or claimed anew since: drop them; nothing was written.
    Gone(Vec<RowId>),
    /// A key is owned by another instance; nothing was written.
    KeyTaken {
        /// The message that wanted it.
        by: MessageId,
        /// The key.
        key: Key,
        /// Whether that message starts a run (a lost race) or not (a conflict).
        by_start: bool,
    },
    /// An instance was inserted where an update was meant: it was swept meanwhile; nothing was written.
    Swept(Vec<InstanceId>),
}
