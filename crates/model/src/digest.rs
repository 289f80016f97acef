//! Identity by content: the digest that tells a duplicate from an id conflict, and ids for messages without one.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::envelope::Envelope;
use crate::ids::{MessageId, derived_id};

/// The first 16 bytes of SHA-256 over a message's canonical form (RFC 8785), raw bytes if not JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of a payload's canonical form.
    pub fn of_message(message: &RawValue) -> Digest {
        Digest(head(&canonical_hash(message)))
    }

    /// The digest of a payload that is read already.
    pub fn of_value(message: &Value) -> Digest {
        Digest(head(&hash_value(message)))
    }

    /// The digest of bytes that are no JSON.
    pub fn of_bytes(bytes: &[u8]) -> Digest {
        Digest(head(&Sha256::digest(bytes)))
    }

    /// Reads a digest from a stored column.
    pub fn from_slice(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// SHA-256 of a start message with its saga and type: what a block compares (guard.md).
pub fn fingerprint(saga: &str, message_type: &str, message: &RawValue) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [saga.as_bytes(), message_type.to_ascii_lowercase().as_bytes()] {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.update(canonical_hash(message));
    hash.finalize().into()
}

fn canonical_hash(message: &RawValue) -> [u8; 32] {
    match serde_json::from_str::<Value>(message.get()) {
        Ok(value) => hash_value(&value),
        Err(_) => Sha256::digest(message.get().as_bytes()).into(),
    }
}

fn hash_value(value: &Value) -> [u8; 32] {
    // Only numbers that are not finite have no canonical form, and JSON has none of those.
    let canonical =
        serde_json_canonicalizer::to_vec(value).unwrap_or_else(|_| value.to_string().into_bytes());
    let mut hash = Sha256::new_with_prefix(canonical);
    large_integers(value, &mut hash);
    hash.finalize().into()
}

/// The largest whole number up to which the canonical form tells all whole numbers apart.
const EXACT: u64 = 1 << 53;

/// RFC 8785 writes numbers as doubles, so larger whole numbers are hashed once more, digit by
/// digit: 9007199254740993 is another message than 9007199254740992.
fn large_integers(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_some_and(|size| size > EXACT) {
                hash.update(number.to_string());
                hash.update([0]);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| large_integers(item, hash)),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            members.into_iter().for_each(|(_, item)| large_integers(item, hash));
        }
        _ => {}
    }
}

fn head(hash: &[u8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes
}

/// The id of a message whose sender gave it an id that is no UUID (raw JSON, AMQP property).
pub fn id_from_text(endpoint: &str, text: &str) -> MessageId {
    MessageId(
        Uuid::parse_str(text)
            .unwrap_or_else(|_| derived_id(&[b"text-id", endpoint.as_bytes(), text.as_bytes()])),
    )
}

/// The id of a CloudEvent: its `source` and `id` identify it (CloudEvents 1.0 §3.1.1).
pub fn id_from_cloud_event(source: &str, id: &str) -> MessageId {
    MessageId(derived_id(&[b"cloud-event", source.as_bytes(), id.as_bytes()]))
}

/// The id of a message that came without one: equal content is taken for the same message.
pub fn id_from_content(
    exchange: &str,
    routing_key: &str,
    content_type: &str,
    timestamp: Option<u64>,
    body: &[u8],
) -> MessageId {
    let stamp = timestamp.map(u64::to_be_bytes).unwrap_or_default();
    MessageId(derived_id(&[
        b"content",
        exchange.as_bytes(),
        routing_key.as_bytes(),
        content_type.as_bytes(),
        &stamp,
        body,
    ]))
}

/// The URN under which MassTransit's routing slips travel.
pub const ROUTING_SLIP: &str = "urn:message:MassTransit.Courier.Contracts:RoutingSlip";

/// The identity of a delivery: a routing slip keeps one message id through all its hops, so its
/// logs are counted in (engine.md, Identity; measured in `messages/slip-*`).
pub fn journal_id(envelope: &Envelope) -> MessageId {
    if !envelope.is_of_type(ROUTING_SLIP) {
        return envelope.message_id;
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Logs {
        activity_logs: Option<Vec<serde::de::IgnoredAny>>,
        compensate_logs: Option<Vec<serde::de::IgnoredAny>>,
        activity_exceptions: Option<Vec<serde::de::IgnoredAny>>,
    }
    let logs: Logs = serde_json::from_str(envelope.message.get()).unwrap_or_default();
    let count = |list: Option<Vec<serde::de::IgnoredAny>>| {
        (list.map_or(0, |items| items.len()) as u64).to_be_bytes()
    };
    MessageId(derived_id(&[
        b"slip",
        envelope.message_id.as_bytes(),
        &count(logs.activity_logs),
        &count(logs.compensate_logs),
        &count(logs.activity_exceptions),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("json")
    }

    #[test]
    fn spacing_and_member_order_do_not_change_the_digest() {
        let one = Digest::of_message(&raw(r#"{ "b": 1, "a": [1.0, "é"] }"#));
        let two = Digest::of_message(&raw("{\"a\":[1,\"\\u00e9\"],\"b\":1}"));
        assert_eq!(one, two);
        assert_ne!(one, Digest::of_message(&raw(r#"{"a":[1,"e"],"b":1}"#)));
    }

    #[test]
    fn whole_numbers_beyond_a_double_are_told_apart() {
        let digest = |text| Digest::of_message(&raw(text));
        assert_ne!(digest(r#"{"a":9007199254740993}"#), digest(r#"{"a":9007199254740992}"#));
        assert_ne!(digest(r#"{"a":-9007199254740995}"#), digest(r#"{"a":-9007199254740996}"#));
        assert_eq!(digest(r#"{"a":7.0}"#), digest(r#"{"a": 7}"#));
    }

    #[test]
    fn pe_identity_a_fingerprint_differs_by_saga_and_type() {
        let message = raw(r#"{"a":1}"#);
        assert_ne!(fingerprint("a", "t", &message), fingerprint("b", "t", &message));
        assert_eq!(fingerprint("a", "T", &message), fingerprint("a", "t", &message));
    }
}
