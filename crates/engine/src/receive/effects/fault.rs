//! Whoever waits is told: a set-aside message as MassTransit tells of one (masstransit-wire §10).

use knarr_model::fault::{MAX_REASON, cut};
use knarr_model::format::masstransit::Host;
use knarr_model::format::{MASS_TRANSIT, amqp_headers, masstransit, timestamp_text};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{
    Class, Context, Envelope, HeaderValue, Headers, MessageId, TraceParent, TypeName, ids,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::address::{Address, destination, parse};
use crate::delivery::Incoming;
use crate::receive::fold::Situation;

/// How often a message was sent again by a scheduler before it came here.
const REDELIVERY_COUNT: &str = "MT-Redelivery-Count";

/// Why somebody is told.
pub(in crate::receive) struct Why<'a> {
    /// What happened, as classes are written.
    pub(in crate::receive) kind: &'a str,
    /// The reason, and what lies behind it.
    pub(in crate::receive) errors: &'a [String],
    /// How often the message was tried again in vain.
    pub(in crate::receive) retries: u32,
    /// The version of the run that failed on it: a run that was retried may fail on it again.
    pub(in crate::receive) failed_at: Option<i64>,
    /// The span in which it happened, where there is one.
    pub(in crate::receive) place: Option<TraceParent>,
}

impl<'a> Why<'a> {
    /// Of one message, which was not tried again.
    pub(in crate::receive) fn once(
        incoming: &Incoming,
        kind: &'a str,
        errors: &'a [String],
    ) -> Why<'a> {
        Why { kind, errors, retries: 0, failed_at: None, place: incoming.place() }
    }
}

/// The fault of a message that was set aside; none when it is to be published and the endpoint
/// publishes no faults. It belongs to no run and is never withdrawn (behaviours 1).
pub(in crate::receive) fn fault(
    at: &Situation,
    message: &Envelope,
    why: &Why<'_>,
) -> Option<Outgoing> {
    let types: Vec<TypeName> =
        message.message_types.iter().filter_map(|urn| TypeName::parse(urn).ok()).collect();
    let concrete = fault_of(types.first()?.clone());
    let bases: Vec<_> = types[1..].iter().cloned().map(fault_of).chain([any()]).collect();
    let id = told_id(message.message_id, why);
    let payload = Payload {
        fault_message_types: Some(&message.message_types),
        message: Some(&message.message),
        ..Payload::of(at, id, message.message_id, why)
    };
    let body = payload.written();
    let given = message.fault_address.as_ref().or(message.response_address.as_ref());
    let asked = message
        .reply_to
        .as_ref()
        .filter(|_| message.fault_address.is_none())
        .map(|key| Address {
            exchange: String::new(),
            routing_key: key.clone(),
            addressing: Addressing::Answer,
        })
        .or_else(|| {
            let exchange = parse(given?).0;
            Some(Address { exchange, routing_key: String::new(), addressing: Addressing::Answer })
        });
    let address = match asked {
        Some(address) => address,
        None if !at.publish_faults => return None,
        None => published(&concrete, &bases),
    };
    // A whole address is told as it was given.
    let whole = given.filter(|to| to.contains("://")).cloned();
    let to = whole.unwrap_or_else(|| destination(&at.sender.address, &address.exchange));
    let types = [vec![concrete], bases].concat();
    let told = Told { id, types, body, address, to, retries: why.retries, place: why.place };
    Some(write(at, told, Some(message)))
}

/// The fault of a body that cannot be read: published, since nobody can be asked for an address.
pub(in crate::receive) fn receive_fault(
    at: &Situation,
    message: MessageId,
    content_type: Option<&str>,
    why: &Why<'_>,
) -> Option<Outgoing> {
    if !at.publish_faults {
        return None;
    }
    let concrete = TypeName::new("MassTransit", "ReceiveFault");
    let id = told_id(message, why);
    let payload = Payload { content_type: Some(content_type), ..Payload::of(at, id, message, why) };
    let body = payload.written();
    let address = published(&concrete, &[any()]);
    let to = destination(&at.sender.address, &address.exchange);
    let types = vec![concrete, any()];
    let told = Told { id, types, body, address, to, retries: 0, place: why.place };
    Some(write(at, told, None))
}

/// What a fault says. The message stands in it letter by letter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    fault_id: Uuid,
    faulted_message_id: MessageId,
    timestamp: String,
    exceptions: Value,
    host: &'a Host,
    fault_message_types: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<Option<&'a str>>,
}

impl<'a> Payload<'a> {
    fn of(at: &'a Situation, id: MessageId, of: MessageId, why: &Why<'_>) -> Payload<'a> {
        Payload {
            fault_id: ids::derived_id(&[b"fault-id", id.as_bytes()]),
            faulted_message_id: of,
            timestamp: timestamp_text(at.now),
            exceptions: exceptions(at, why),
            host: &at.sender.host,
            fault_message_types: None,
            message: None,
            content_type: None,
        }
    }

    fn written(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(self).expect("texts, ids and JSON can always be written")
    }
}

struct Told {
    id: MessageId,
    types: Vec<TypeName>,
    body: Box<RawValue>,
    address: Address,
    /// The whole address.
    to: String,
    retries: u32,
    place: Option<TraceParent>,
}

fn write(at: &Situation, told: Told, of: Option<&Envelope>) -> Outgoing {
    let mut context = of.map_or_else(Context::default, Envelope::context);
    if let Some(place) = told.place {
        context.trace_parent = Some(place.to_string());
    }
    let own = &at.sender.address;
    let mut headers: Headers = context.headers.clone();
    context.write_trace(&mut headers);
    let redeliveries = of.and_then(|of| of.headers.get(REDELIVERY_COUNT)?.as_i64());
    count(&mut headers, "MT-Fault-RetryCount", i64::from(told.retries));
    count(&mut headers, "MT-Fault-RedeliveryCount", redeliveries.unwrap_or_default());
    let envelope = Envelope {
        request_id: of.and_then(|of| of.request_id),
        correlation_id: of.and_then(|of| of.correlation_id),
        conversation_id: context.conversation_id,
        initiator_id: context.initiator_id,
        source_address: Some(own.clone()),
        destination_address: Some(told.to),
        message_types: told.types.iter().map(TypeName::urn).collect(),
        // An answer is of no use to a requester that has given up.
        expiration_time: of.filter(|of| of.request_id.is_some()).and_then(|of| of.expiration_time),
        sent_time: Some(at.now),
        headers: headers.clone(),
        ..Envelope::new(told.id, String::new(), told.body.into())
    };
    Outgoing {
        id: told.id,
        sequence: None,
        exchange: told.address.exchange,
        routing_key: told.address.routing_key,
        addressing: told.address.addressing,
        content_type: MASS_TRANSIT.to_owned(),
        correlation_id: envelope.correlation_id,
        headers: amqp_headers(&headers),
        expires_at: envelope.expiration_time,
        priority: None,
        body: masstransit::encode(&envelope, &at.sender.host),
    }
}

/// A count that is told where there is one.
fn count(headers: &mut Headers, name: &str, count: i64) {
    match i32::try_from(count) {
        Ok(count) if count > 0 => headers.set(name, HeaderValue::I32(count)),
        _ => {}
    }
}

/// What a failure is called where .NET names an exception's type.
pub(super) fn exception_type(kind: &str) -> String {
    format!("Knarr.{}", pascal(kind))
}

/// The errors, outermost first, as one exception with its inner ones.
fn exceptions(at: &Situation, why: &Why<'_>) -> Value {
    let kind = exception_type(why.kind);
    let data = json!({ "class": why.kind, "endpoint": &*at.endpoint, "saga": &**at.saga.name() });
    let mut inner = Value::Null;
    for (n, text) in why.errors.iter().enumerate().rev() {
        inner = json!({
            "exceptionType": kind,
            "innerException": inner,
            "stackTrace": "",
            "message": cut(text, MAX_REASON),
            "source": &*at.endpoint,
            "data": if n == 0 { data.clone() } else { Value::Null },
        });
    }
    json!([inner])
}

fn pascal(words: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    words.split('-').filter_map(capital).collect()
}

fn fault_of(name: TypeName) -> TypeName {
    TypeName::new("MassTransit", "Fault").with_args(vec![name])
}

/// The type that every fault also is.
fn any() -> TypeName {
    TypeName::new("MassTransit", "Fault")
}

fn published(concrete: &TypeName, bases: &[TypeName]) -> Address {
    Address {
        exchange: concrete.exchange(),
        routing_key: String::new(),
        addressing: Addressing::Publish { bases: bases.iter().map(TypeName::exchange).collect() },
    }
}

/// Once per message and failure, however often it is decided; two bodies under one id are two
/// messages.
fn told_id(message: MessageId, why: &Why<'_>) -> MessageId {
    let conflict = why.kind == Class::IdConflict.as_str();
    let apart: &[u8] = if conflict { b"conflict" } else { b"" };
    let version = why.failed_at.map(i64::to_be_bytes);
    let version: &[u8] = version.as_ref().map_or(&[], |version| version);
    MessageId(ids::derived_id(&[message.as_bytes(), b"fault", apart, version]))
}

#[cfg(test)]
mod tests {
    use super::pascal;

    #[test]
    fn a_class_is_named_as_an_exception_is() {
        assert_eq!(pascal("exhausted"), "Exhausted");
        assert_eq!(pascal("id-conflict"), "IdConflict");
    }
}
