//! A message set aside: what it was, why, and everything a person needs to decide about it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::digest::Digest;
use crate::headers::Headers;
use crate::ids::{InstanceId, MessageId, Name};

macro_rules! classes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a message was set aside; the text is stable, for people and scripts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Class { $($(#[$doc])* $variant,)* }

        impl Class {
            /// Every class.
            pub const ALL: &[Class] = &[$(Class::$variant,)*];

            /// The class as it is stored and shown.
            pub fn as_str(self) -> &'static str {
                match self { $(Class::$variant => $text,)* }
            }
        }
    };
}

classes! {
    /// The body cannot be read.
    Undecodable = "undecodable",
    /// No type of this endpoint is among the message's types.
    UnknownType = "unknown-type",
    /// Raw JSON straight to a queue that takes several types.
    Untyped = "untyped",
    /// The message carries no id and the endpoint wants one.
    WithoutId = "without-id",
    /// The body is larger than the endpoint takes.
    TooLarge = "too-large",
    /// The same message id came before with another body.
    IdConflict = "id-conflict",
    /// A business key is owned by another instance.
    KeyConflict = "key-conflict",
    /// The payload does not fit the message's type, or names no instance.
    BadMessage = "bad-message",
    /// No row takes this event in the instance's state.
    Unhandled = "unhandled",
    /// The instance it is for never came.
    Missing = "missing",
    /// The behaviour failed beyond its budget.
    Exhausted = "exhausted",
    /// An activity failed for good and no row handles it.
    Activity = "activity",
    /// A row ended in the declared target `Fail`.
    Failed = "failed",
    /// The store refused the data of this message.
    Constraint = "constraint",
    /// A deciding thread was given up after its deadline.
    Stuck = "stuck",
    /// An outgoing message that no queue takes.
    Unroutable = "unroutable",
    /// The broker's own delivery limit was reached.
    DeliveryLimit = "delivery-limit",
    /// Too many messages wait already for the end of its instance's incident.
    Held = "held",
    /// Processes died whenever they decided it.
    Poison = "poison",
    /// Many messages failed at once: the endpoint was paused, nothing was set aside.
    Breaker = "breaker",
    /// A person cancelled the run.
    Cancelled = "cancelled",
    /// A person purged the run.
    Purged = "purged",
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Class::ALL
            .iter()
            .copied()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no quarantine class"))
    }
}

/// Where a set-aside message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Waiting for a person.
    Held,
    /// Let go once, under a new id.
    Released,
    /// Given up.
    Discarded,
}

impl Status {
    /// The status as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Held => "held",
            Status::Released => "released",
            Status::Discarded => "discarded",
        }
    }
}

impl FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Status::Held, Status::Released, Status::Discarded]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no quarantine status"))
    }
}

/// One set-aside message. Unique by (endpoint, message id, digest).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quarantined {
    /// The row's id.
    pub id: Uuid,
    /// The endpoint that set it aside.
    pub endpoint: Name,
    /// The saga it was for.
    pub saga: Name,
    /// The message.
    pub message_id: MessageId,
    /// Its content.
    pub digest: Digest,
    /// Why.
    pub class: Class,
    /// What happened, in a sentence.
    pub reason: String,
    /// The chain of errors, outermost first.
    pub errors: Vec<String>,
    /// The instance it was for, if known.
    pub instance: Option<InstanceId>,
    /// The run it was for.
    pub run: Option<u32>,
    /// The instance's state when it failed.
    pub state: Option<String>,
    /// Attempts used.
    pub attempts: u32,
    /// URNs of the message.
    pub message_types: Vec<String>,
    /// AMQP content type.
    pub content_type: Option<String>,
    /// Headers as received.
    pub headers: Headers,
    /// The body, up to the limit.
    #[serde(with = "body_text")]
    pub body: Bytes,
    /// The body's whole size in bytes; above `body.len()` when it was cut.
    pub size: u64,
    /// Where the message came from: exchange and routing key.
    pub exchange: String,
    /// The routing key it came with.
    pub routing_key: String,
    /// For start messages: what a block compares, hex.
    pub fingerprint: Option<String>,
    /// The definition that failed on it.
    pub definition_version: u32,
    /// When it was set aside.
    pub at: DateTime<Utc>,
    /// Where it stands.
    pub status: Status,
    /// The incident it belongs to.
    #[serde(default)]
    pub incident: Option<Uuid>,
    /// Copies of it that were blocked since.
    #[serde(default)]
    pub copies: u64,
    /// The id under which it was let go.
    #[serde(default)]
    pub released_as: Option<MessageId>,
    /// What it said before it was edited, oldest first.
    #[serde(default)]
    pub edits: Vec<Edit>,
}

/// One edit of a set-aside message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Edit {
    /// Who.
    pub who: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The body before, as text.
    pub before: String,
}

/// Bodies are shown as text where they are text.
mod body_text {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(body: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&String::from_utf8_lossy(body))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        String::deserialize(from).map(Bytes::from)
    }
}
