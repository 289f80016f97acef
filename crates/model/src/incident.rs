//! An incident: what failed, what was done about it, and everything needed to undo or to end it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commit::{Key, KeyRow, Origin};
use crate::envelope::Envelope;
use crate::ids::{InstanceId, MessageId, Name, RowId};
use crate::instance::Instance;
use crate::quarantine::Class;
use crate::work::{ActivityTask, Chunk, EndedCall, Outgoing, Parked, Timer};

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentStatus {
    /// Nobody has decided yet.
    Open,
    /// What was removed is back, and was tried again.
    Retried,
    /// The loss is accepted; the tombstone and the kept bytes stay.
    Resolved,
    /// Resolved, and the kept bytes are deleted.
    Discarded,
}

impl IncidentStatus {
    /// Every status.
    pub const ALL: [IncidentStatus; 4] = [
        IncidentStatus::Open,
        IncidentStatus::Retried,
        IncidentStatus::Resolved,
        IncidentStatus::Discarded,
    ];

    /// The status as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentStatus::Open => "open",
            IncidentStatus::Retried => "retried",
            IncidentStatus::Resolved => "resolved",
            IncidentStatus::Discarded => "discarded",
        }
    }
}

impl fmt::Display for IncidentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for IncidentStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = IncidentStatus::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no incident status"))
    }
}

/// What an incident stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The whole endpoint.
    #[default]
    Endpoint,
    /// One instance; its later messages wait.
    Instance,
    /// Nothing: the queue flows.
    Nothing,
}

/// What a saga declares for its failed runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Halt the endpoint, purge the run, set its start message aside.
    #[default]
    Contain,
    /// The same, but only the instance's later messages wait; the queue flows.
    ContainInstance,
    /// The run ends and its start message is set aside; the queue flows.
    Quarantine,
}

/// Everything that a saga declares for what fails in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FailurePolicy {
    /// What happens when a run fails.
    pub on_failure: OnFailure,
    /// What a failed start message is blocked by.
    pub block: BlockBy,
    /// Whether a start message that fails beyond its budget, with no run there, stops the endpoint.
    pub contain_on_start: bool,
    /// After how long one node tries whether a halted endpoint goes again; none waits for a person.
    pub restart_after: Option<Duration>,
}

/// One row that ties a failure together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id.
    pub id: Uuid,
    /// The endpoint it happened at.
    pub endpoint: Name,
    /// The saga it happened to.
    pub saga: Name,
    /// What failed.
    pub class: Class,
    /// Where it stands.
    pub status: IncidentStatus,
    /// What it stopped.
    pub scope: Scope,
    /// What happened, in a sentence.
    pub reason: String,
    /// The chain of errors, outermost first.
    #[serde(default)]
    pub errors: Vec<String>,
    /// The instance whose run failed; none for what happened to messages alone.
    pub instance: Option<InstanceId>,
    /// The run that failed.
    pub run: Option<u32>,
    /// The state it was in.
    pub state: Option<String>,
    /// The definition that it happened under.
    pub definition_version: u32,
    /// The quarantined start message.
    pub quarantined: Option<Uuid>,
    /// The delivery at which the run failed.
    pub failed_at: Option<FailedAt>,
    /// What purge took away.
    #[serde(default)]
    pub removed: Removed,
    /// Messages of the run whose sending was under way when it was purged: they may have left.
    #[serde(default)]
    pub may_have_left: Vec<MessageId>,
    /// Other failures that found the endpoint halted already, one sentence each.
    #[serde(default)]
    pub joined: Vec<String>,
    /// How often it happened, for incidents that gather messages of one class.
    pub count: u64,
    /// When it began.
    pub opened_at: DateTime<Utc>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
    /// Who ended it.
    pub closed_by: Option<String>,
}

impl Incident {
    /// Whether it gathers messages of one class while it is open: it stopped nothing, and no run.
    pub fn gathers(&self) -> bool {
        let alone = self.instance.is_none() && self.scope == Scope::Nothing;
        alone && self.status == IncidentStatus::Open
    }

    /// Whether it gathers what the other one would gather.
    pub fn gathers_with(&self, other: &Incident) -> bool {
        let same = self.endpoint == other.endpoint && self.saga == other.saga;
        same && self.class == other.class && self.gathers() && other.gathers()
    }
}

/// The delivery at which a run failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedAt {
    /// Its journal id.
    pub message_id: MessageId,
    /// What it was: a message type, `done <call>`, `timer <name>` …
    pub event: String,
    /// The message, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Arc<Envelope>>,
    /// The row that it was, if it was an internal delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<RowId>,
    /// Attempts used.
    pub attempts: u32,
}

/// What a purge took away, in counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Bytes of the instance's data.
    pub data_bytes: u64,
    /// Live timers.
    pub timers: u64,
    /// Calls waiting, running or ended and not yet decided.
    pub calls: u64,
    /// Messages that waited.
    pub parked: u64,
    /// Business keys.
    pub keys: u64,
    /// Messages committed and not yet confirmed by the broker.
    pub unsent: u64,
    /// The saga's own purge steps, each with the rows that it touched.
    #[serde(default)]
    pub steps: Vec<StepDone>,
}

/// A purge step that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepDone {
    /// Its name.
    pub name: String,
    /// Rows touched.
    pub rows: u64,
}

/// One run with everything around it: what purge moves into the incident, and `retry` restores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whole {
    /// The row, data and book included.
    pub instance: Instance,
    /// The start message.
    pub origin: Option<Origin>,
    /// Business keys.
    pub keys: Vec<(Key, KeyRow)>,
    /// Live timers.
    pub timers: Vec<Timer>,
    /// Calls that have not ended.
    pub calls: Vec<ActivityTask>,
    /// Calls that ended, not yet decided.
    pub ended: Vec<EndedCall>,
    /// Messages that wait, in `seq` order.
    pub parked: Vec<Parked>,
    /// Messages committed and not yet deleted from the outbox, in their order.
    #[serde(skip)]
    pub unsent: Vec<Outgoing>,
}

impl Whole {
    /// A run with nothing around it.
    pub fn of(instance: Instance) -> Whole {
        Whole {
            instance,
            origin: None,
            keys: Vec::new(),
            timers: Vec::new(),
            calls: Vec::new(),
            ended: Vec::new(),
            parked: Vec::new(),
            unsent: Vec::new(),
        }
    }

    /// What a purge of it takes away.
    pub fn removed(&self) -> Removed {
        Removed {
            data_bytes: self.instance.data.get().len() as u64,
            timers: self.timers.len() as u64,
            calls: (self.calls.len() + self.ended.len()) as u64,
            parked: self.parked.len() as u64,
            keys: self.keys.len() as u64,
            unsent: self.unsent.len() as u64,
            steps: Vec::new(),
        }
    }

    /// As three columns: JSON, the directory of the unsent messages, their bodies.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn encode(&self) -> Result<(String, String, Vec<u8>), serde_json::Error> {
        let chunk = Chunk {
            id: RowId(Uuid::nil()),
            endpoint: self.instance.saga.clone(),
            messages: self.unsent.clone(),
        };
        let (directory, bodies) = chunk.encode()?;
        Ok((serde_json::to_string(self)?, directory, bodies))
    }

    /// Reads the three columns.
    ///
    /// # Errors
    /// What cannot be read, in a sentence.
    pub fn decode(whole: &str, directory: &str, bodies: Vec<u8>) -> Result<Whole, String> {
        let mut whole: Whole =
            serde_json::from_str(whole).map_err(|error| format!("snapshot: {error}"))?;
        let saga = whole.instance.saga.clone();
        whole.unsent = Chunk::decode(RowId(Uuid::nil()), saga, directory, bodies)?.messages;
        Ok(whole)
    }
}

/// What a block compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockBy {
    /// The message's content: saga, type and canonical payload.
    #[default]
    Fingerprint,
    /// The message id alone.
    Id,
    /// Nothing: the saga blocks no starts.
    Off,
}

impl BlockBy {
    /// The word as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            BlockBy::Fingerprint => "fingerprint",
            BlockBy::Id => "id",
            BlockBy::Off => "off",
        }
    }
}

impl FromStr for BlockBy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [BlockBy::Fingerprint, BlockBy::Id, BlockBy::Off]
            .into_iter()
            .find(|by| by.as_str() == text)
            .ok_or_else(|| format!("`{text}` is nothing to block by"))
    }
}

/// A start message that may not start a run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The quarantined message that blocks; also this row's id.
    pub quarantined: Uuid,
    /// The endpoint.
    pub endpoint: Name,
    /// What is compared.
    pub by: BlockBy,
    /// A fingerprint as 64 hex digits, or a message id.
    pub value: String,
    /// The incident it belongs to.
    pub incident: Option<Uuid>,
    /// The definition that failed; a newer one lets one copy through.
    pub definition_version: u32,
    /// The one message that may start all the same: a release, or the first copy after a deploy.
    pub lets: Option<MessageId>,
}

/// One verb, by whom, and what it did: one line of a linear history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// Its id.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// The token's name, or `knarr` for the guard itself.
    pub who: String,
    /// What was asked for: `halt`, `release` …
    pub verb: String,
    /// What it was asked for, as people name it.
    pub target: String,
    /// The endpoint whose history it belongs to.
    pub endpoint: Name,
    /// Why, in that person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The key under which a repeated request gets this answer again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was done, a sentence each.
    pub done: Vec<String>,
    /// Whether it took effect later: it waits for a halted endpoint.
    #[serde(default)]
    pub waits: bool,
}
