//! MassTransit's JSON envelope, read as its .NET readers do and written as its writer does.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::inbound::{Decoded, Inbound, bad_message, undecodable};
use super::json::{Object, Payload, Text};
use super::{amqp, timestamp};
use crate::envelope::Envelope;
use crate::headers::{HeaderValue, Headers};
use crate::ids::MessageId;
use crate::ports::transport::Undecodable;

/// Reads an envelope (masstransit-wire §1; judged by `fixtures/masstransit/verdicts.json`).
///
/// Every member is optional but `message`. Refused is what would otherwise go wrong in silence:
/// a `messageId`, `requestId` or `correlationId` that is no GUID, a `messageType` that is no list
/// of text, an address that is no text. Passed over is what only describes: dates, headers, host,
/// `conversationId` and `initiatorId` of another form (MassTransit fails on a wrong date; losing
/// the message for it helps nobody).
pub(super) fn decode(inbound: &Inbound<'_>, object: &Object<'_>) -> Decoded {
    let own_id = object.guid("messageId");
    let payload = match object.get("message") {
        Some(raw) => Payload::of("the envelope's `message`", raw),
        None => Err(bad_message("the envelope has no `message`")),
    };
    Decoded {
        own_id: own_id.as_ref().ok().copied().flatten().map(MessageId),
        digest: payload.as_ref().ok().map(|payload| payload.digest),
        content: own_id.and_then(|_| envelope(inbound, object, payload?)),
    }
}

fn envelope(
    inbound: &Inbound<'_>,
    object: &Object<'_>,
    payload: Payload,
) -> Result<Envelope, Undecodable> {
    let address = |name| object.text(name).map(|text| text.map(Cow::into_owned));
    Ok(Envelope {
        message_id: MessageId(Uuid::nil()),
        request_id: object.guid("requestId")?,
        correlation_id: object.guid("correlationId")?,
        conversation_id: object.guid("conversationId").unwrap_or_default(),
        initiator_id: object.guid("initiatorId").unwrap_or_default(),
        source_address: address("sourceAddress")?,
        destination_address: address("destinationAddress")?,
        response_address: address("responseAddress")?,
        fault_address: address("faultAddress")?,
        message_types: message_types(object)?,
        message: payload.message,
        expiration_time: time(object, "expirationTime"),
        sent_time: time(object, "sentTime"),
        headers: amqp::merged(inbound.headers, headers(object)),
        reply_to: inbound.answer_queue(),
        propagates_headers: true,
    })
}

fn message_types(object: &Object<'_>) -> Result<Vec<String>, Undecodable> {
    let Some(raw) = object.get("messageType") else { return Ok(Vec::new()) };
    let types: Vec<Text<'_>> = serde_json::from_str(raw.get())
        .map_err(|error| undecodable(format!("`messageType` must be a list of URNs: {error}")))?;
    Ok(types.into_iter().map(|Text(urn)| urn.into_owned()).collect())
}

fn time(object: &Object<'_>, name: &str) -> Option<DateTime<Utc>> {
    object.text(name).ok().flatten().and_then(|text| timestamp::parse(&text))
}

fn headers(object: &Object<'_>) -> Option<Headers> {
    let members: Map<String, Value> = serde_json::from_str(object.get("headers")?.get()).ok()?;
    let values = members.into_iter().map(|(name, value)| {
        let value = HeaderValue::from_json(&value);
        (name, value)
    });
    Some(Headers(values.collect()))
}

/// Who sent an envelope, as MassTransit's `host` member tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// The machine's name.
    pub machine_name: Option<String>,
    /// The program's name.
    pub process_name: Option<String>,
    /// The process's number.
    pub process_id: Option<u32>,
    /// The program's package.
    pub assembly: Option<String>,
    /// That package's version.
    pub assembly_version: Option<String>,
    /// The version of what it runs on.
    pub framework_version: Option<String>,
    /// The version of what wrote the envelope.
    pub mass_transit_version: Option<String>,
    /// The operating system.
    pub operating_system_version: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    message_id: Uuid,
    request_id: Option<Uuid>,
    correlation_id: Option<Uuid>,
    conversation_id: Option<Uuid>,
    initiator_id: Option<Uuid>,
    source_address: Option<&'a str>,
    destination_address: Option<&'a str>,
    response_address: Option<&'a str>,
    fault_address: Option<&'a str>,
    message_type: &'a [String],
    message: &'a RawValue,
    expiration_time: Option<String>,
    sent_time: Option<String>,
    headers: Map<String, Value>,
    host: &'a Host,
}

/// Writes an envelope as MassTransit does: every member in its order, absent ones as `null`.
///
/// The AMQP headers that go with it come from [`amqp_headers`](super::amqp_headers).
#[must_use]
pub fn encode(envelope: &Envelope, host: &Host) -> Bytes {
    let headers = envelope.headers.0.iter().map(|(name, value)| (name.clone(), value.to_json()));
    let wire = Wire {
        message_id: envelope.message_id.0,
        request_id: envelope.request_id,
        correlation_id: envelope.correlation_id,
        conversation_id: envelope.conversation_id,
        initiator_id: envelope.initiator_id,
        source_address: envelope.source_address.as_deref(),
        destination_address: envelope.destination_address.as_deref(),
        response_address: envelope.response_address.as_deref(),
        fault_address: envelope.fault_address.as_deref(),
        message_type: &envelope.message_types,
        message: &envelope.message,
        expiration_time: envelope.expiration_time.map(timestamp::text),
        sent_time: envelope.sent_time.map(timestamp::text),
        headers: headers.collect(),
        host,
    };
    let body = serde_json::to_vec(&wire).expect("text, ids and JSON values can always be written");
    Bytes::from(body)
}
