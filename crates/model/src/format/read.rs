//! From a message's bytes and properties to an envelope with a settled identity.

use super::inbound::{Decoded, Inbound, Read, bad_message, undecodable};
use super::json::{self, Object};
use super::media::Media;
use super::{cloud_events, guid, masstransit, raw_json};
use crate::digest::{Digest, id_from_content, id_from_text, journal_id};
use crate::envelope::Envelope;
use crate::headers::Headers;
use crate::ids::MessageId;
use crate::ports::transport::Undecodable;
use crate::quarantine::Class;
use crate::topology::{self, WithoutId};

/// Reads a message.
///
/// Never panics, whatever the bytes, and gives the same answer each time. The id is known also
/// where the content is not: from the body as far as it can be read, else from headers and
/// properties, else from the content itself.
#[must_use]
pub fn read(inbound: &Inbound<'_>) -> Read {
    let Decoded { own_id, digest, content } = decode(inbound);
    let original = match &content {
        Ok(envelope) if carries_headers_for_another(envelope) => None,
        Ok(envelope) => original_id(inbound, &envelope.headers),
        Err(_) => original_id(inbound, inbound.headers),
    };
    let given = original.or_else(|| given_id(inbound, own_id));
    let id = given.unwrap_or_else(|| content_id(inbound));
    let content = content.and_then(|mut envelope| {
        envelope.message_id = id;
        if let Some(urn) = envelope.message_types.iter().find(|urn| topology::is_reserved(urn)) {
            let reason = format!("`{urn}` is a type of Knarr's own that no transport may deliver");
            return Err(Undecodable { class: Class::UnknownType, reason });
        }
        if given.is_none() && inbound.without_id == WithoutId::Quarantine {
            let reason = "the message carries no id".to_owned();
            return Err(Undecodable { class: Class::WithoutId, reason });
        }
        Ok(envelope)
    });
    Read {
        message_id: content.as_ref().map_or(id, journal_id),
        content,
        digest: digest.unwrap_or_else(|| Digest::of_bytes(inbound.body)),
        without_id: given.is_none(),
    }
}

/// What is known of a message whose body is not to be read, such as one that is too large: its id
/// from headers and properties, else from its content.
#[must_use]
pub fn unread(inbound: &Inbound<'_>, why: Undecodable) -> Read {
    let given = original_id(inbound, inbound.headers).or_else(|| given_id(inbound, None));
    Read {
        content: Err(why),
        message_id: given.unwrap_or_else(|| content_id(inbound)),
        digest: Digest::of_bytes(inbound.body),
        without_id: given.is_none(),
    }
}

/// The namespace of the messages that ask a scheduler for something.
const SCHEDULING: &str = "urn:message:MassTransit.Scheduling:";

/// Whether a message's headers are those of the message inside it: a request to schedule a
/// redelivery names the original that it is about, and is itself another message each time
/// (measured in `messages/redelivery-first.02`).
fn carries_headers_for_another(envelope: &Envelope) -> bool {
    let is_scheduling = |urn: &String| {
        urn.get(..SCHEDULING.len()).is_some_and(|head| head.eq_ignore_ascii_case(SCHEDULING))
    };
    envelope.message_types.iter().any(is_scheduling)
}

/// The id of the message that this one is a redelivery of.
fn original_id(inbound: &Inbound<'_>, headers: &Headers) -> Option<MessageId> {
    let text = inbound.from_broker.then(|| headers.text("MT-OriginalMessageId")).flatten()?;
    guid::parse_known(&text).map(MessageId)
}

/// The id that a message carries (engine.md, Identity): the body's own, the header's, the
/// property's. Blank text and the zero GUID count as absent.
fn given_id(inbound: &Inbound<'_>, own_id: Option<MessageId>) -> Option<MessageId> {
    let named = |text: &str| {
        let text = text.trim();
        match guid::parse(text) {
            Some(_) => guid::parse_known(text).map(MessageId),
            None if text.is_empty() => None,
            None => Some(id_from_text(inbound.endpoint, text)),
        }
    };
    own_id
        .or_else(|| inbound.headers.text("MessageId").and_then(|text| named(&text)))
        .or_else(|| inbound.message_id.and_then(named))
}

fn content_id(inbound: &Inbound<'_>) -> MessageId {
    id_from_content(
        inbound.exchange,
        inbound.routing_key,
        inbound.content_type.unwrap_or_default(),
        inbound.timestamp,
        inbound.body,
    )
}

fn decode(inbound: &Inbound<'_>) -> Decoded {
    let media = Media::of(inbound);
    if let Media::NotOffered(name) = &media {
        let reason = format!("bodies of content type `{name}` cannot be read here");
        return Decoded::nothing(undecodable(reason));
    }
    let text = match json::text(inbound.body) {
        Ok(text) => text,
        Err(why) => return Decoded::nothing(why),
    };
    let error = match Object::parse(text) {
        Ok(object) => return by_format(inbound, &media, text, &object),
        Err(error) => error,
    };
    if error.is_data() {
        let what = json::kind(text);
        return Decoded::nothing(match media {
            Media::MassTransit => undecodable(format!("an envelope must be an object, not {what}")),
            _ => bad_message(format!("the message must be a JSON object, not {what}")),
        });
    }
    if let Some(relaxed) = json::relaxed(text)
        && let Ok(object) = Object::parse(&relaxed)
    {
        return by_format(inbound, &media, &relaxed, &object);
    }
    Decoded::nothing(undecodable(format!("the body is not JSON: {}", json::told(&error))))
}

fn by_format(inbound: &Inbound<'_>, media: &Media, text: &str, object: &Object<'_>) -> Decoded {
    match media {
        Media::MassTransit => masstransit::decode(inbound, object),
        Media::CloudEvents => cloud_events::structured(inbound, object),
        Media::CloudEventHeaders(prefix) => cloud_events::binary(inbound, prefix, text),
        _ if is_envelope(inbound, object) => masstransit::decode(inbound, object),
        _ if is_cloud_event(object) => cloud_events::structured(inbound, object),
        _ => raw_json::decode(inbound, text),
    }
}

/// Whether a body of no telling content type is an envelope: it lists types beside a message, and
/// no header says that it is the message itself.
fn is_envelope(inbound: &Inbound<'_>, object: &Object<'_>) -> bool {
    let lists_types = object.get("messageType").is_some_and(|raw| raw.get().starts_with('['));
    lists_types
        && object.get("message").is_some()
        && inbound.headers.text("MT-MessageType").is_none()
}

/// Whether a body of no telling content type is a CloudEvent: it has the four attributes that
/// every event has.
fn is_cloud_event(object: &Object<'_>) -> bool {
    ["specversion", "type", "source", "id"]
        .iter()
        .all(|name| matches!(object.text(name), Ok(Some(_))))
}
