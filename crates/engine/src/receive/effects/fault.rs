//! Whoever waits is told: a set-aside message as MassTransit tells of one (masstransit-wire §10).

use knarr_model::fault::{MAX_REASON, cut};
use knarr_model::format::{MASS_TRANSIT, amqp_headers, masstransit, timestamp_text};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Class, Context, Envelope, Headers, MessageId, TypeName, ids};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::address::{Address, destination, parse};
use crate::receive::fold::Situation;

/// The fault of a message that was set aside; none when it is to be published and the endpoint
/// publishes no faults. It belongs to no run and is never withdrawn (behaviours 1). `failed_at` is
/// the version of the run that failed on it: a run that was retried may fail on it again.
pub(in crate::receive) fn fault(
    at: &Situation,
    message: &Envelope,
    class: Class,
    errors: &[String],
    failed_at: Option<i64>,
) -> Option<Outgoing> {
    let types: Vec<TypeName> =
        message.message_types.iter().filter_map(|urn| TypeName::parse(urn).ok()).collect();
    let concrete = fault_of(types.first()?.clone());
    let bases: Vec<_> = types[1..].iter().cloned().map(fault_of).chain([any()]).collect();
    let id = told_id(message.message_id, class, failed_at);
    let body = json!({
        "faultId": ids::derived_id(&[b"fault-id", id.as_bytes()]),
        "faultedMessageId": message.message_id,
        "timestamp": timestamp_text(at.now),
        "exceptions": exceptions(at, class, errors),
        "host": at.sender.host,
        "faultMessageTypes": message.message_types,
        "message": serde_json::from_str::<Value>(message.message.get()).unwrap_or(Value::Null),
    });
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
            let to = message.fault_address.as_ref().or(message.response_address.as_ref())?;
            let exchange = parse(to).0;
            Some(Address { exchange, routing_key: String::new(), addressing: Addressing::Answer })
        });
    let address = match asked {
        Some(address) => address,
        None if !at.publish_faults => return None,
        None => published(&concrete, &bases),
    };
    let told = Told { id, types: [vec![concrete], bases].concat(), body, address };
    Some(write(at, told, Some(message)))
}

/// The fault of a body that cannot be read: published, since nobody can be asked for an address.
pub(in crate::receive) fn receive_fault(
    at: &Situation,
    message: MessageId,
    content_type: Option<&str>,
    class: Class,
    errors: &[String],
) -> Option<Outgoing> {
    if !at.publish_faults {
        return None;
    }
    let concrete = TypeName::new("MassTransit", "ReceiveFault");
    let id = told_id(message, class, None);
    let body = json!({
        "faultId": ids::derived_id(&[b"fault-id", id.as_bytes()]),
        "faultedMessageId": message,
        "timestamp": timestamp_text(at.now),
        "exceptions": exceptions(at, class, errors),
        "host": at.sender.host,
        "faultMessageTypes": Value::Null,
        "contentType": content_type,
    });
    let address = published(&concrete, &[any()]);
    Some(write(at, Told { id, types: vec![concrete, any()], body, address }, None))
}

struct Told {
    id: MessageId,
    types: Vec<TypeName>,
    body: Value,
    address: Address,
}

fn write(at: &Situation, told: Told, of: Option<&Envelope>) -> Outgoing {
    let context = of.map_or_else(Context::default, Envelope::context);
    let payload = RawValue::from_string(told.body.to_string());
    let payload = payload.expect("a JSON value is valid JSON");
    let own = &at.sender.address;
    let headers: Headers = context.headers;
    let envelope = Envelope {
        request_id: of.and_then(|of| of.request_id),
        correlation_id: of.and_then(|of| of.correlation_id),
        conversation_id: context.conversation_id,
        initiator_id: context.initiator_id,
        source_address: Some(own.clone()),
        destination_address: Some(destination(own, &told.address.exchange)),
        message_types: told.types.iter().map(TypeName::urn).collect(),
        // An answer is of no use to a requester that has given up.
        expiration_time: of.filter(|of| of.request_id.is_some()).and_then(|of| of.expiration_time),
        sent_time: Some(at.now),
        headers: headers.clone(),
        ..Envelope::new(told.id, String::new(), payload.into())
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

/// The errors, outermost first, as one exception with its inner ones.
fn exceptions(at: &Situation, class: Class, errors: &[String]) -> Value {
    let kind = format!("Knarr.{}", pascal(class.as_str()));
    let data = json!({ "class": class, "endpoint": &*at.endpoint, "saga": &**at.saga.name() });
    let mut inner = Value::Null;
    for (n, text) in errors.iter().enumerate().rev() {
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
fn told_id(message: MessageId, class: Class, failed_at: Option<i64>) -> MessageId {
    let apart: &[u8] = if class == Class::IdConflict { b"conflict" } else { b"" };
    let version = failed_at.map(i64::to_be_bytes);
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
