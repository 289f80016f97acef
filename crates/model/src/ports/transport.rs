//! The door to the broker: a stream of deliveries in, confirmed messages out.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::digest::Digest;
use crate::envelope::Envelope;
use crate::headers::Headers;
use crate::ids::MessageId;
use crate::quarantine::Class;
use crate::topology::ReceiveEndpoint;
use crate::work::Outgoing;

/// What went wrong at the broker. Nobody's fault: no budget is used for it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The broker cannot be reached, or the connection was lost; the adapter goes on trying.
    #[error("broker: {0}")]
    Away(String),
    /// Something that trying again will not mend, such as a queue declared with other arguments.
    #[error("broker: {0}")]
    Refused(String),
}

impl TransportError {
    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, TransportError::Away(_))
    }
}

/// Names one delivery to the transport that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which life of the consumer's channel; a stale one is never acked.
    pub generation: u64,
    /// The delivery tag.
    pub tag: u64,
}

/// What is done with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Its outcome is durable: the broker may forget it.
    Ack,
    /// It goes back to the queue; no failure is meant.
    Return,
}

/// A message as it came from the broker.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What to settle it by.
    pub receipt: Receipt,
    /// What it says, or why that cannot be known.
    pub content: Result<Arc<Envelope>, Undecodable>,
    /// Its journal id.
    pub message_id: MessageId,
    /// The digest of its payload.
    pub digest: Digest,
    /// Whether its id was derived from its content because it carried none.
    pub without_id: bool,
    /// The broker's own count of earlier deliveries, where it keeps one.
    pub delivery_count: u32,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// AMQP content type.
    pub content_type: Option<String>,
    /// AMQP headers as received, for quarantine.
    pub headers: Headers,
    /// The body as received (up to 64 KiB when it was too large).
    pub body: Bytes,
    /// The body's whole size in bytes.
    pub size: usize,
    /// When it arrived, by the clock port.
    pub received_at: DateTime<Utc>,
}

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undecodable {
    /// Its quarantine class.
    pub class: Class,
    /// What is wrong and where.
    pub reason: String,
}

/// A stream of deliveries that outlives connections.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for at least one delivery and takes what is ready, up to `max`. Cancel-safe.
    ///
    /// Reconnecting is the adapter's business: the call waits through an outage, and deliveries of
    /// a new connection bear a new generation.
    ///
    /// # Errors
    /// Only what waiting will not mend.
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError>;

    /// Settles deliveries; those of a stale generation, and those settled before, are passed over.
    /// Returns how many were in hand. The broker may hear of it a moment later.
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize;

    /// Something that settles from elsewhere while `next` waits.
    fn settler(&self) -> Arc<dyn Settler>;

    /// Stops consuming; everything not settled goes back to the queue, also what is buffered.
    async fn stop(self: Box<Self>);
}

/// Settles deliveries of one consumer from any task.
#[async_trait]
pub trait Settler: Send + Sync {
    /// As [`Consumer::settle`].
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize;
}

/// What became of one published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// The broker has it.
    Confirmed,
    /// Mandatory, and no queue takes it.
    Returned(String),
    /// It can never go (too large, bad header).
    Impossible(String),
    /// Not taken, or not known to be taken: publish it again later under the same id.
    Unknown(String),
}

/// The way out.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes in order, confirms pipelined; one answer per message, in order.
    ///
    /// Dropping the future leaves unknown what was sent.
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published>;
}

/// How a broker's queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages ready.
    pub ready: u64,
    /// Consumers.
    pub consumers: u32,
}

/// A broker.
#[async_trait]
pub trait Transport: Publisher {
    /// Declares what the endpoint needs and begins to consume from it.
    ///
    /// # Errors
    /// [`TransportError::Refused`] names the argument that differs, or the permission missing.
    /// An unreachable broker is no error: the consumer waits for it.
    async fn consume(
        &self,
        endpoint: &ReceiveEndpoint,
    ) -> Result<Box<dyn Consumer>, TransportError>;

    /// Declares what `endpoint` needs without consuming.
    async fn declare(&self, endpoint: &ReceiveEndpoint) -> Result<(), TransportError>;

    /// How many messages wait in `queue`.
    async fn depth(&self, queue: &str) -> Result<Depth, TransportError>;

    /// Whether the broker can be reached now, and if not, why.
    fn health(&self) -> Result<(), String>;

    /// The address that messages from `endpoint` give as their source.
    fn address(&self, endpoint: &str) -> String;

    /// Closes all connections.
    async fn close(&self);
}
