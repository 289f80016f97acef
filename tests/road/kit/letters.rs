//! Messages as the broker hands them over, and as they left.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_model::format::{self, Inbound, masstransit};
use knarr_model::ports::transport::{Delivery, Receipt, Undecodable};
use knarr_model::topology::{Subscription, WithoutId};
use knarr_model::{Class, Digest, Envelope, Headers, Message, MessageId};

use super::wire::Sent;

/// A message on its way in, as MassTransit writes it.
pub(super) fn delivery(envelope: &Envelope, now: DateTime<Utc>) -> Delivery {
    let body = masstransit::encode(envelope, &masstransit::Host::default());
    let mut delivery = blank(envelope.message_id, body, now);
    delivery.digest = Digest::of_message(&envelope.message);
    delivery.headers = format::amqp_headers(&envelope.headers);
    delivery.content = Ok(Arc::new(envelope.clone()));
    delivery
}

/// Bytes that cannot be read.
pub(super) fn unreadable(
    id: MessageId,
    body: &'static [u8],
    class: Class,
    now: DateTime<Utc>,
) -> Delivery {
    let mut delivery = blank(id, Bytes::from_static(body), now);
    delivery.headers.set("Who", "a stranger");
    delivery.content = Err(Undecodable { class, reason: "not JSON at all".to_owned() });
    delivery
}

fn blank(id: MessageId, body: Bytes, now: DateTime<Utc>) -> Delivery {
    Delivery {
        receipt: Receipt { generation: 0, tag: 0 },
        content: Err(Undecodable { class: Class::Undecodable, reason: String::new() }),
        message_id: id,
        digest: Digest::of_bytes(&body),
        without_id: false,
        delivery_count: 0,
        exchange: "from-the-test".to_owned(),
        routing_key: "somewhere".to_owned(),
        content_type: Some(format::MASS_TRANSIT.to_owned()),
        headers: Headers::new(),
        size: body.len(),
        body,
        received_at: now,
    }
}

/// What left, as it comes in again.
pub(super) fn returned(
    sent: &Sent,
    endpoint: &str,
    subscriptions: &[Subscription],
    now: DateTime<Utc>,
) -> Delivery {
    let outgoing = &sent.outgoing;
    let read = read(sent, endpoint, subscriptions);
    Delivery {
        content: read.content.map(Arc::new),
        digest: read.digest,
        exchange: outgoing.exchange.clone(),
        routing_key: outgoing.routing_key.clone(),
        content_type: Some(outgoing.content_type.clone()),
        headers: outgoing.headers.clone(),
        ..blank(read.message_id, outgoing.body.clone(), now)
    }
}

/// The envelope that a message left in.
pub(super) fn envelope(sent: &Sent) -> Envelope {
    read(sent, "the test", &[]).content.expect("what we publish can be read")
}

fn read(sent: &Sent, endpoint: &str, subscriptions: &[Subscription]) -> format::Read {
    let outgoing = &sent.outgoing;
    let id = outgoing.id.to_string();
    format::read(&Inbound {
        endpoint,
        subscriptions,
        content_type: Some(&outgoing.content_type),
        message_id: Some(&id),
        correlation_id: None,
        reply_to: None,
        timestamp: None,
        headers: &outgoing.headers,
        exchange: &outgoing.exchange,
        routing_key: &outgoing.routing_key,
        body: &outgoing.body,
        from_broker: true,
        without_id: WithoutId::Digest,
    })
}

/// What a message says.
pub(super) fn payload<M: Message>(envelope: &Envelope) -> M {
    serde_json::from_str(envelope.message.get()).expect("what we publish can be read")
}
