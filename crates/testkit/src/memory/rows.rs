//! The tables of the memory store as plain data, for cases and simulators to look into.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::commit::{JournalRow, Key, KeyRow, Origin};
use knarr_model::ids::{InstanceId, MessageId, Name, NodeId, RowId};
use knarr_model::incident::{Audit, Block, Incident, Whole};
use knarr_model::instance::Instance;
use knarr_model::ports::crash::{Intent, Record, Suspect};
use knarr_model::ports::store::{EndpointRow, EndpointState, HaltReport};
use knarr_model::quarantine::Quarantined;
use knarr_model::statement::Statement;
use knarr_model::work::{ActivityTask, CallEnd, Chunk, Parked, Timer};
use uuid::Uuid;

/// Everything the store knows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Endpoints by name.
    pub endpoint: BTreeMap<Name, EndpointRow>,
    /// Instances by saga and id; tombstones stay.
    pub instance: BTreeMap<(Name, InstanceId), InstanceRow>,
    /// Instances whose rows cannot be read, as if somebody had spoilt them by hand.
    pub spoilt: BTreeSet<InstanceId>,
    /// Final outcomes by saga and message.
    pub journal: BTreeMap<(Name, MessageId), JournalEntry>,
    /// Start messages of live runs.
    pub origin: BTreeMap<(Name, InstanceId, u32), Origin>,
    /// Business keys by saga.
    pub correlation: BTreeMap<(Name, Key), KeyRow>,
    /// Messages that wait.
    pub parked: BTreeMap<RowId, Claimed<Parked>>,
    /// Messages on their way out.
    pub outbox: BTreeMap<RowId, OutboxRow>,
    /// Timers that have not been decided.
    pub timer: BTreeMap<RowId, Claimed<Timer>>,
    /// Calls that have not been decided.
    pub activity: BTreeMap<RowId, CallRow>,
    /// Nodes, and until when their leases run.
    pub node: BTreeMap<NodeId, DateTime<Utc>>,
    /// Which nodes serve which endpoints, and what they did at their last stop.
    pub served: BTreeMap<(Name, NodeId), Option<HaltReport>>,
    /// How the attempts of nodes went lately.
    pub record: BTreeMap<NodeId, Record>,
    /// What lanes are about to decide, and since when: by node, endpoint and lane.
    pub intent: BTreeMap<(NodeId, Name, u32), (Intent, DateTime<Utc>)>,
    /// What processes had in hand when they died, by endpoint, and when that was last seen; then the
    /// saga whose journal has the outcome.
    pub suspect: BTreeMap<(Name, MessageId), (Suspect, DateTime<Utc>, Name)>,
    /// Messages set aside.
    pub quarantine: BTreeMap<Uuid, Quarantined>,
    /// Incidents.
    pub incident: BTreeMap<Uuid, Incident>,
    /// What incidents keep of their runs.
    pub snapshot: BTreeMap<Uuid, Whole>,
    /// Start messages that may not start a run again, by the set-aside message that blocks.
    pub block: BTreeMap<Uuid, Block>,
    /// Runs whose messages no longer leave, by endpoint.
    pub withdrawn: BTreeSet<(Name, InstanceId, u32)>,
    /// Who did what, by its place in the order of writing.
    pub audit: BTreeMap<u64, Audit>,
    /// Purses by name and window: the window last drawn from, by number, and permits taken in it.
    pub permit: BTreeMap<(String, Duration), (u128, u32)>,
    /// Statements on the sagas' own tables that commits would have carried out, in order.
    pub statements: Vec<Statement>,
    /// How many journal rows, chunks and lines of the audit were ever written: the order in which they were.
    pub written: u64,
}

/// A stored instance.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    /// The instance.
    pub instance: Instance,
    /// When it was last written.
    pub updated_at: DateTime<Utc>,
}

/// A stored journal row.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// The row.
    pub row: JournalRow,
    /// Its place in the order of writing.
    pub number: u64,
}

/// A row that nodes claim.
#[derive(Clone, Debug)]
pub struct Claimed<T> {
    /// The row.
    pub row: T,
    /// Who holds it.
    pub by: Option<NodeId>,
}

/// A stored call.
#[derive(Clone, Debug)]
pub struct CallRow {
    /// The call; `due_at` is that of its next attempt, or of its next decision once it has ended.
    pub task: ActivityTask,
    /// Who holds it.
    pub by: Option<NodeId>,
    /// How it ended, once it has.
    pub end: Option<CallEnd>,
    /// Failed attempts to decide its end.
    pub decide_attempt: u32,
    /// Since when its holder runs it, if it does.
    pub since: Option<DateTime<Utc>>,
}

impl CallRow {
    /// A call that nobody holds and that has not ended.
    pub(super) fn asked(task: ActivityTask) -> CallRow {
        CallRow { task, by: None, end: None, decide_attempt: 0, since: None }
    }
}

/// A stored chunk.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Its messages.
    pub chunk: Chunk,
    /// The node that publishes it.
    pub node: NodeId,
    /// Its place in the order of writing.
    pub number: u64,
}

/// Faults built in on purpose, to prove that suites and simulators notice them. All off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    /// Commits write no journal rows.
    pub skip_journal_insert: bool,
    /// Commits write instances whatever version is stored.
    pub skip_version_check: bool,
    /// Commits ask neither for the epoch nor for the state of the endpoint.
    pub skip_fence: bool,
    /// Commits do not ask whether internal deliveries are still there and the node's own.
    pub skip_taken_check: bool,
}

impl Rows {
    /// Whether the node's lease is in the future.
    pub fn is_alive(&self, node: NodeId, now: DateTime<Utc>) -> bool {
        self.node.get(&node).is_some_and(|until| *until > now)
    }

    /// Whether internal deliveries of the endpoint are given out: unless it is halted, or paused
    /// together with what waits in the store.
    pub fn gives_out(&self, endpoint: &Name) -> bool {
        self.endpoint.get(endpoint).is_some_and(|row| match row.state {
            EndpointState::Halted => false,
            EndpointState::Paused => !row.stop.as_ref().is_some_and(|stop| stop.internal_too),
            EndpointState::Open | EndpointState::Probing => true,
        })
    }

    /// The next place in the order of writing.
    pub(super) fn next_number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }

    /// The set-aside message that is the same one as `row`.
    pub(super) fn same_set_aside(&self, row: &Quarantined) -> Option<Uuid> {
        let same = self.quarantine.values().find(|have| {
            have.endpoint == row.endpoint
                && have.message_id == row.message_id
                && have.digest == row.digest
        });
        same.map(|have| have.id)
    }

    /// Whether a message has a final outcome, or waits.
    pub(super) fn knows(&self, saga: &Name, message: MessageId) -> bool {
        let mut waiting = self.parked.values().map(|held| &held.row);
        self.journal.contains_key(&(saga.clone(), message))
            || waiting.any(|row| row.saga == *saga && row.message_id == message)
    }

    /// Sets a message aside unless the same one is already.
    pub(super) fn set_aside(&mut self, row: &Quarantined) {
        if self.same_set_aside(row).is_none() {
            self.quarantine.insert(row.id, row.clone());
        }
    }
}
