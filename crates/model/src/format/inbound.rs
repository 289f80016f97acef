//! A message as a transport hands it over, and what reading it gives.

use chrono::{DateTime, Utc};

use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::headers::Headers;
use crate::ids::MessageId;
use crate::ports::transport::Undecodable;
use crate::quarantine::Class;
use crate::topology::{Subscription, WithoutId};

/// A message as it came off the wire, with everything that its meaning may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Inbound<'a> {
    /// The receive endpoint that it came to.
    pub endpoint: &'a str,
    /// What that endpoint takes.
    pub subscriptions: &'a [Subscription],
    /// AMQP property `content_type`.
    pub content_type: Option<&'a str>,
    /// AMQP property `message_id`.
    pub message_id: Option<&'a str>,
    /// AMQP property `correlation_id`.
    pub correlation_id: Option<&'a str>,
    /// AMQP property `reply_to`.
    pub reply_to: Option<&'a str>,
    /// AMQP property `timestamp`, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// AMQP headers.
    pub headers: &'a Headers,
    /// The exchange that it was published to; empty for the default exchange.
    pub exchange: &'a str,
    /// The routing key that it was published with.
    pub routing_key: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Whether a broker delivered it: only then does `MT-OriginalMessageId` count.
    pub from_broker: bool,
    /// What becomes of a message that carries no id.
    pub without_id: WithoutId,
}

impl Inbound<'_> {
    /// The AMQP `reply_to`, blank counting as absent.
    pub(super) fn answer_queue(&self) -> Option<String> {
        self.reply_to.filter(|queue| !queue.trim().is_empty()).map(str::to_owned)
    }

    /// The AMQP `timestamp` as a date.
    pub(super) fn stamped_at(&self) -> Option<DateTime<Utc>> {
        let seconds = i64::try_from(self.timestamp?).ok()?;
        DateTime::from_timestamp(seconds, 0)
    }
}

/// What a message says, or why that cannot be known; its identity is known either way.
#[derive(Clone, Debug)]
pub struct Read {
    /// The message, or why it cannot be read.
    pub content: Result<Envelope, Undecodable>,
    /// Its journal id; a routing slip's differs from the envelope's message id.
    pub message_id: MessageId,
    /// The digest of its payload, or of the body's bytes where there is no payload.
    pub digest: Digest,
    /// Whether the id was derived from the content because the message carried none.
    pub without_id: bool,
}

/// What one body format gave, before the message's identity is settled.
pub(super) struct Decoded {
    /// The id that the body itself carries.
    pub(super) own_id: Option<MessageId>,
    /// The digest of the payload, where there is a readable one.
    pub(super) digest: Option<Digest>,
    /// The message; its id is not set yet.
    pub(super) content: Result<Envelope, Undecodable>,
}

impl Decoded {
    /// A body that says nothing at all.
    pub(super) fn nothing(why: Undecodable) -> Self {
        Decoded { own_id: None, digest: None, content: Err(why) }
    }
}

/// A body that cannot be read.
pub(super) fn undecodable(reason: impl Into<String>) -> Undecodable {
    Undecodable { class: Class::Undecodable, reason: reason.into() }
}

/// A body that can be read and holds no message of ours.
pub(super) fn bad_message(reason: impl Into<String>) -> Undecodable {
    Undecodable { class: Class::BadMessage, reason: reason.into() }
}
