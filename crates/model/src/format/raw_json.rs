//! Raw JSON: the body is the message, and AMQP headers tell the rest.

use serde_json::value::RawValue;
use uuid::Uuid;

use super::inbound::{Decoded, Inbound, undecodable};
use super::json::Payload;
use super::{amqp, guid};
use crate::envelope::Envelope;
use crate::ids::MessageId;
use crate::ports::transport::Undecodable;
use crate::quarantine::Class;

/// Reads a bare message (masstransit-wire §11).
pub(super) fn decode(inbound: &Inbound<'_>, text: &str) -> Decoded {
    let payload = serde_json::from_str::<&RawValue>(text)
        .map_err(|error| undecodable(format!("the body is not JSON: {error}")))
        .and_then(|raw| Payload::of("the message", raw));
    Decoded {
        own_id: None,
        digest: payload.as_ref().ok().map(|payload| payload.digest),
        content: payload.and_then(|payload| {
            let types = message_types(inbound)?;
            Ok(from_headers(inbound, types, payload))
        }),
    }
}

/// An envelope whose members come from AMQP headers and properties; ids of another form than
/// GUIDs are passed over.
pub(super) fn from_headers(
    inbound: &Inbound<'_>,
    message_types: Vec<String>,
    payload: Payload,
) -> Envelope {
    let text = |name| inbound.headers.text(name).filter(|text| !text.trim().is_empty());
    let id = |name| text(name).and_then(|text| guid::parse_known(&text));
    Envelope {
        message_id: MessageId(Uuid::nil()),
        request_id: id("RequestId"),
        correlation_id: id("CorrelationId")
            .or_else(|| inbound.correlation_id.and_then(guid::parse_known)),
        conversation_id: id("ConversationId"),
        initiator_id: id("MT-InitiatorId"),
        source_address: text("MT-Source-Address"),
        destination_address: Some(format!("queue:{}", inbound.endpoint)),
        response_address: text("MT-Response-Address"),
        fault_address: text("MT-Fault-Address"),
        message_types,
        message: payload.message,
        expiration_time: None,
        sent_time: inbound.stamped_at().or_else(|| {
            let given = text("MessageId").or(inbound.message_id.map(str::to_owned))?;
            guid::parse(&given).and_then(guid::new_id_time)
        }),
        headers: amqp::without_metadata(inbound.headers),
        reply_to: inbound.answer_queue(),
        propagates_headers: false,
    }
}

/// The types that `MT-MessageType` names, else the one whose exchange the delivery names, else the
/// only one that the endpoint takes. Nothing is guessed from the body, nor from a blank header.
fn message_types(inbound: &Inbound<'_>) -> Result<Vec<String>, Undecodable> {
    let untyped = |reason| Err(Undecodable { class: Class::Untyped, reason });
    if let Some(list) = inbound.headers.text("MT-MessageType") {
        let types: Vec<_> = list
            .split(';')
            .map(str::trim)
            .filter(|urn| !urn.is_empty())
            .map(str::to_owned)
            .collect();
        return match types.is_empty() {
            true => untyped("the header MT-MessageType is blank".to_owned()),
            false => Ok(types),
        };
    }
    let taken = inbound.subscriptions;
    if let Some(named) = taken.iter().find(|taken| taken.exchange == inbound.exchange) {
        return Ok(vec![named.urn.clone()]);
    }
    match taken {
        [only] => Ok(vec![only.urn.clone()]),
        _ => untyped(format!(
            "raw JSON without the header MT-MessageType came by exchange `{}`, which names none of \
             the {} types that `{}` takes",
            inbound.exchange,
            taken.len(),
            inbound.endpoint,
        )),
    }
}
