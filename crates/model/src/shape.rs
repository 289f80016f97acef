//! A machine as a drawable and checkable value: states, events, rows.

use serde::{Deserialize, Serialize};

/// Everything about a machine that can be known without running it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// The saga's name (and its receive endpoint's).
    pub saga: String,
    /// The definition's version.
    pub version: u32,
    /// The machine's own states in declared order, without Initial, Final and Purged.
    pub states: Vec<String>,
    /// The table, row by row.
    pub rows: Vec<RowShape>,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowShape {
    /// States in which it applies; empty for `during_any`.
    pub states: Vec<String>,
    /// What it waits for.
    pub on: EventShape,
    /// Names of the behaviours it runs.
    pub behaviours: Vec<String>,
    /// States it may lead to; empty when it stays.
    pub targets: Vec<String>,
    /// Whether it only says that the event is ignored here.
    pub ignored: bool,
}

/// What a row waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "of")]
pub enum EventShape {
    /// A message by its exchange name.
    Message(String),
    /// A call that was answered.
    Done(String),
    /// A call that failed for good.
    Failed(String),
    /// A call that ended either way.
    Ended(String),
    /// A timer by name.
    Timer(String),
    /// A join over several of these.
    AllOf(Vec<EventShape>),
}
