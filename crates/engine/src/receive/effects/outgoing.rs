//! Messages that leave: addressed, numbered, and written out as they go on the wire.

use knarr_model::durations::checked_later;
use knarr_model::effect::{Destination, Message};
use knarr_model::format::{MASS_TRANSIT, masstransit};
use knarr_model::work::{Addressing, Outgoing, Sequence};
use knarr_model::{Context, Envelope, Instance, MessageId};

use super::address::{Address, destination, parse};
use crate::delivery::Incoming;
use crate::receive::fold::Fold;

/// The header that numbers the messages of one run (engine.md, P2): `run,n`.
const SEQUENCE: &str = "Knarr-Sequence";

pub(super) fn send(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    saved: &Instance,
    context: &Context,
    message: Message,
) {
    let draft = fold.draft(Some(saved.id));
    draft.produced += 1;
    let sequence = Sequence { instance: saved.id, run: saved.run, n: draft.produced };
    let address = address(incoming, &message);
    let mut headers = context.headers.clone();
    for (name, value) in &message.headers.0 {
        headers.set(name, value.clone());
    }
    headers.set(SEQUENCE, format!("{},{}", sequence.run, sequence.n));
    context.write_trace(&mut headers);
    let now = fold.at.now;
    let expires_at = message.time_to_live.and_then(|life| checked_later(now, life));
    let answers = matches!(message.to, Destination::Respond);
    let asked = incoming.envelope();
    let envelope = Envelope {
        message_id: MessageId(message.id),
        request_id: asked.filter(|_| answers).and_then(|asked| asked.request_id),
        correlation_id: message.correlation_id,
        conversation_id: context.conversation_id,
        initiator_id: context.initiator_id,
        source_address: Some(fold.at.sender.address.clone()),
        destination_address: Some(destination(&fold.at.sender.address, &address.exchange)),
        response_address: None,
        fault_address: None,
        message_types: message.types.iter().map(knarr_model::TypeName::urn).collect(),
        message: message.body,
        expiration_time: expires_at,
        sent_time: Some(now),
        headers: headers.clone(),
        reply_to: None,
        propagates_headers: true,
    };
    let body = masstransit::encode(&envelope, &fold.at.sender.host);
    let outgoing = Outgoing {
        id: MessageId(message.id),
        sequence: Some(sequence),
        exchange: address.exchange,
        routing_key: message.routing_key.unwrap_or(address.routing_key),
        addressing: address.addressing,
        content_type: MASS_TRANSIT.to_owned(),
        correlation_id: message.correlation_id,
        headers: knarr_model::format::amqp_headers(&headers),
        expires_at,
        priority: message.priority,
        body,
    };
    fold.draft(Some(saved.id)).slice.outgoing.push(outgoing);
}

fn address(incoming: &Incoming, message: &Message) -> Address {
    let plain = |exchange: &str, addressing| Address {
        exchange: exchange.to_owned(),
        routing_key: String::new(),
        addressing,
    };
    let asked = incoming.envelope();
    match &message.to {
        Destination::Send(to) => {
            let (name, addressing) = parse(to);
            plain(&name, addressing)
        }
        Destination::Respond => match asked.map(|a| (&a.reply_to, &a.response_address)) {
            Some((Some(reply_to), _)) => Address {
                exchange: String::new(),
                routing_key: reply_to.clone(),
                addressing: Addressing::Answer,
            },
            Some((None, Some(response))) => plain(&parse(response).0, Addressing::Answer),
            _ => published(message),
        },
        Destination::Publish => published(message),
    }
}

fn published(message: &Message) -> Address {
    let mut exchanges = message.types.iter().map(knarr_model::TypeName::exchange);
    let exchange = exchanges.next().unwrap_or_default();
    Address {
        exchange,
        routing_key: String::new(),
        addressing: Addressing::Publish { bases: exchanges.collect() },
    }
}
