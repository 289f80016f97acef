//! The endpoint's row: whether messages flow, and if not, why.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::{Name, NodeId};

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointState {
    /// Messages flow.
    Open,
    /// Stopped by a failure or a person; nothing is decided.
    Halted,
    /// One node tries a few messages.
    Probing,
    /// Intake stops without an incident; internal deliveries go on.
    Paused,
}

impl EndpointState {
    /// The state as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            EndpointState::Open => "open",
            EndpointState::Halted => "halted",
            EndpointState::Probing => "probing",
            EndpointState::Paused => "paused",
        }
    }

    /// Reads the stored word.
    pub fn parse(text: &str) -> Option<EndpointState> {
        [EndpointState::Open, EndpointState::Halted, EndpointState::Probing, EndpointState::Paused]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// The endpoint's row: the truth about halts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    /// Its name.
    pub name: Name,
    /// Where it stands.
    pub state: EndpointState,
    /// Rises with every halt; nothing commits at an old one.
    pub epoch: i64,
    /// Rises with every change of the block set.
    pub guard_version: i64,
    /// The only node that serves an `ordered` endpoint; none once it has left.
    #[serde(default)]
    pub holder: Option<NodeId>,
    /// Why it does not flow, and by itself again when.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// A process died not long ago: until then each batch writes what it is about to decide. No verb
    /// changes it.
    #[serde(default)]
    pub watched_until: Option<DateTime<Utc>>,
    /// When the store was last brought back from a backup: of what came in between nothing is known
    /// here.
    #[serde(default)]
    pub restored_at: Option<DateTime<Utc>>,
}

/// Why an endpoint does not flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// In a sentence.
    pub reason: String,
    /// Who stopped it: a token's name, or `knarr`.
    pub by: String,
    /// When.
    #[serde(default)]
    pub since: Option<DateTime<Utc>>,
    /// The incident that stopped it.
    pub incident: Option<Uuid>,
    /// A pause that also holds back what the store has waiting (the breaker's).
    #[serde(default)]
    pub internal_too: bool,
    /// When a node may try whether it goes again.
    pub restart_at: Option<DateTime<Utc>>,
    /// How long it waited before that; doubled when the try fails.
    pub delay: Option<Duration>,
    /// While the endpoint's holder tries it: how many messages are still to succeed.
    pub probe: Option<u32>,
}

/// What one node did with what it had in hand when its endpoint stopped. Deliveries are messages of
/// the broker and rows of the store that were taken before the stop was asked for; what the client
/// of the broker held ahead went back untouched and is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HaltReport {
    /// The epoch of the stop.
    pub epoch: i64,
    /// Deliveries whose commit was before the fence.
    pub drained: u64,
    /// Deliveries that went back undecided: to the broker, or to whoever claims them next.
    pub returned: u64,
    /// Calls that were cancelled; none of these attempts counts.
    pub abandoned: u64,
    /// When the node held nothing more, by its clock.
    pub at: DateTime<Utc>,
}

impl HaltReport {
    /// What the node had in hand.
    pub fn in_hand(&self) -> u64 {
        self.drained + self.returned + self.abandoned
    }
}

/// A live node that serves an endpoint, and what it told about the last stop that it has dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The node.
    pub node: NodeId,
    /// Its last report.
    pub report: Option<HaltReport>,
}
