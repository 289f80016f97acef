//! Exchanges, queues and bindings as a value, before any broker has seen them.

use serde::{Deserialize, Serialize};

use crate::ids::Name;
use crate::message::TypeName;

/// A message type that an endpoint takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// The URN it is recognised by.
    pub urn: String,
    /// The exchange it is published to.
    pub exchange: String,
}

impl Subscription {
    /// The subscription to `name`.
    pub fn to(name: &TypeName) -> Self {
        Subscription { urn: name.urn(), exchange: name.exchange() }
    }
}

/// How a queue is kept by the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueKind {
    /// Replicated; the default.
    #[default]
    Quorum,
    /// Kept on one node.
    Classic,
}

/// Whether the endpoint makes its queue or takes it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Declare {
    /// Exchanges, queue and bindings are declared.
    #[default]
    Create,
    /// An existing queue is taken as it is.
    Passive,
}

/// What happens to a message that carries no id at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutId {
    /// Its content is its id: a copy counts as a duplicate.
    #[default]
    Digest,
    /// It is set aside.
    Quarantine,
}

/// A queue that feeds one saga or one consumer, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceiveEndpoint {
    /// The queue's name and its exchange's.
    pub name: Name,
    /// What it takes.
    pub subscriptions: Vec<Subscription>,
    /// Quorum or classic.
    pub queue: QueueKind,
    /// Create or passive.
    pub declare: Declare,
    /// Messages in hand at once at most.
    pub prefetch: u16,
    /// A body above this many bytes is set aside, not decided.
    pub max_body: usize,
    /// What to do with messages that carry no id.
    pub without_id: WithoutId,
    /// Whether one node at a time serves it; the others are ready and wait.
    #[serde(default)]
    pub ordered: bool,
}

/// The broker's delivery limit on our queues: above our own, so that ours decides (engine.md).
pub const DELIVERY_LIMIT: u32 = 1000;

/// The queue to which the broker moves what exceeds the delivery limit.
pub fn dead_queue(endpoint: &str) -> String {
    format!("{endpoint}_dead")
}

/// Types that no transport may deliver: they are rows, not messages.
pub const RESERVED_URN: &str = "urn:message:Knarr.Internal:";

/// Whether `urn` is one of Knarr's own internal types.
pub fn is_reserved(urn: &str) -> bool {
    urn.len() >= RESERVED_URN.len()
        && urn.as_bytes()[..RESERVED_URN.len()].eq_ignore_ascii_case(RESERVED_URN.as_bytes())
}
