//! A stored saga instance: what the store keeps, and all that `decide` sees of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::ids::{InstanceId, Name, RowId};

/// The state before a start row ran.
pub const INITIAL: &str = "Initial";
/// The state of a run that has ended.
pub const FINAL: &str = "Final";
/// The tombstone's state: the run was purged, its data are gone.
pub const PURGED: &str = "Purged";

/// One saga instance as a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// The saga it belongs to.
    pub saga: Name,
    /// Its id within the saga.
    pub id: InstanceId,
    /// The n-th life of this id, from 1.
    pub run: u32,
    /// The state's name.
    pub state: String,
    /// Rises by one per commit that writes the instance, whatever was folded into it.
    pub version: i64,
    /// The definition that wrote it last.
    pub definition_version: u32,
    /// The machine's own data, JSON.
    pub data: Arc<RawValue>,
    /// Live timers, open calls, joins and counters.
    pub book: Book,
    /// The incident that purged or holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Uuid>,
}

impl Instance {
    /// Whether the run has ended, by finishing or by purge.
    pub fn is_over(&self) -> bool {
        self.state == FINAL || self.state == PURGED
    }

    /// Whether it is a tombstone whose later messages wait for the end of an incident.
    pub fn holds_messages(&self) -> bool {
        self.state == PURGED && self.book.holds
    }
}

/// What a run has open; with the data the only thing that decide sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// Messages applied so far; numbers the journal rows of this instance (`seq`).
    #[serde(default)]
    pub applied: i64,
    /// Messages produced in this run; numbers `Knarr-Sequence`.
    #[serde(default)]
    pub produced: i64,
    /// Live timers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timers: BTreeMap<String, OpenTimer>,
    /// Calls asked for and not yet ended, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<OpenCall>,
    /// Joins by their number in the table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub joins: BTreeMap<u32, Join>,
    /// Types of which a deferred message waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deferred: Vec<String>,
    /// A tombstone whose later messages wait for the incident's end instead of being absorbed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds: bool,
    /// Business keys this run owns: name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<(String, String)>,
}

/// A live timer: its row's id is the token that its firing must show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenTimer {
    /// The stored row, and the token.
    pub token: RowId,
    /// When it is due.
    pub due: DateTime<Utc>,
}

/// A call that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The call's type name.
    pub call: String,
    /// The stored row, and the token.
    pub token: RowId,
}

/// How far a join has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// Numbers of the sources that have contributed.
    #[serde(default)]
    pub seen: Vec<u32>,
    /// Whether it has fired in this run.
    #[serde(default)]
    pub fired: bool,
}
