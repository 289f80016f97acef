//! Headers between the AMQP frame and the envelope: what is merged, dropped and converted.

use super::timestamp;
use crate::headers::{HeaderValue, Headers};
use crate::names::MAX_NAME;

/// Headers of Knarr's own that a transport may deliver (engine.md, Identity).
const OURS: [&str; 2] = ["Knarr-Sequence", "Knarr-Quarantine-Id"];

/// Headers that belong to one hop: confirm tracking of .NET clients, and the body's format.
const OF_ONE_HOP: [&str; 4] = ["x-dotnet-pub-seq-no", "publishId", "Content-Type", "ContentType"];

/// Headers in which raw JSON carries what an envelope has members for (masstransit-wire §11).
const METADATA: [&str; 10] = [
    "MessageId",
    "CorrelationId",
    "ConversationId",
    "RequestId",
    "MT-InitiatorId",
    "MT-MessageType",
    "MT-Source-Address",
    "MT-Response-Address",
    "MT-Fault-Address",
    "MT-Host-Info",
];

/// Headers that MassTransit's transport makes up on receipt and never writes.
const NEVER_WRITTEN: [&str; 4] = [
    "RabbitMQ-ExchangeName",
    "RabbitMQ-RoutingKey",
    "RabbitMQ-DeliveryTag",
    "RabbitMQ-ConsumerTag",
];

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|have| have.eq_ignore_ascii_case(name))
}

/// Whether a header that came in is kept at all.
///
/// A header beginning with `Knarr-` would let a stranger speak for the engine.
fn is_kept(name: &str) -> bool {
    let ours = name.get(..6).is_some_and(|head| head.eq_ignore_ascii_case("knarr-"));
    (!ours || is_one_of(&OURS, name)) && !is_one_of(&OF_ONE_HOP, name)
}

/// AMQP headers and an envelope's own headers as one.
///
/// The envelope wins. Where both say the same, the AMQP value stays, for its type is more exact:
/// JSON cannot tell a byte from a long, nor a timestamp from text.
pub(super) fn merged(amqp: &Headers, envelope: Option<Headers>) -> Headers {
    let mut all = amqp.clone();
    all.0.retain(|name, _| is_kept(name));
    for (name, value) in envelope.into_iter().flat_map(|headers| headers.0) {
        let same = all.get(&name).is_some_and(|have| have.to_json() == value.to_json());
        if is_kept(&name) && !same {
            all.set(&name, value);
        }
    }
    all.drop_deep();
    all
}

/// AMQP headers of a message without an envelope: those that stand for envelope members go.
pub(super) fn without_metadata(amqp: &Headers) -> Headers {
    let mut headers = amqp.clone();
    headers.0.retain(|name, _| is_kept(name) && !is_one_of(&METADATA, name));
    headers.drop_deep();
    headers
}

/// The AMQP headers that go with an envelope whose headers are `headers`.
///
/// As MassTransit converts them (masstransit-wire §7): `true` becomes the text `True`; `false`,
/// nothing, lists and tables live in the envelope alone; dates before 1970 become text; `CC` and
/// `BCC` become lists. A name that AMQP cannot carry stays in the envelope.
#[must_use]
pub fn amqp_headers(headers: &Headers) -> Headers {
    let converted = headers.0.iter().filter_map(|(name, value)| {
        if name.len() > MAX_NAME || is_one_of(&NEVER_WRITTEN, name) {
            return None;
        }
        if is_one_of(&["CC", "BCC"], name) {
            return Some((name.clone(), copies(value)?));
        }
        let value = match value {
            HeaderValue::Bool(true) => HeaderValue::from("True"),
            HeaderValue::Timestamp(seconds) if *seconds < 0 => before_1970(*seconds)?,
            HeaderValue::Bool(false)
            | HeaderValue::Null
            | HeaderValue::List(_)
            | HeaderValue::Table(_) => return None,
            other => other.clone(),
        };
        Some((name.clone(), value))
    });
    Headers(converted.collect())
}

/// Routing keys of copies: the broker takes these only as a list of text.
fn copies(value: &HeaderValue) -> Option<HeaderValue> {
    let keys: Vec<_> = match value {
        HeaderValue::List(items) => items.iter().filter_map(HeaderValue::as_text).collect(),
        one => one.as_text().into_iter().collect(),
    };
    let keys: Vec<_> = keys.into_iter().map(HeaderValue::Text).collect();
    (!keys.is_empty()).then_some(HeaderValue::List(keys))
}

/// .NET's round-trip form with all seven digits.
fn before_1970(seconds: i64) -> Option<HeaderValue> {
    let at = chrono::DateTime::from_timestamp(seconds, 0)?;
    let text = timestamp::text(at);
    Some(HeaderValue::Text(text.replace('Z', ".0000000Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<const N: usize>(pairs: [(&str, HeaderValue); N]) -> Headers {
        Headers(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn an_envelope_wins_and_the_amqp_type_of_an_equal_value_stays() {
        let amqp = headers([
            ("short", HeaderValue::I16(-2)),
            ("other", HeaderValue::I16(1)),
            ("Tenant", HeaderValue::from("south")),
            ("x-death", HeaderValue::I64(1)),
            ("x-dotnet-pub-seq-no", HeaderValue::I64(4)),
            ("KNARR-Release", HeaderValue::from("forged")),
            ("Knarr-Sequence", HeaderValue::from("1/1")),
        ]);
        let envelope = headers([
            ("short", HeaderValue::I32(-2)),
            ("other", HeaderValue::I32(2)),
            ("tenant", HeaderValue::from("north")),
            ("Knarr-Original-Message-Id", HeaderValue::from("forged")),
        ]);
        let expected = headers([
            ("short", HeaderValue::I16(-2)),
            ("other", HeaderValue::I32(2)),
            ("tenant", HeaderValue::from("north")),
            ("x-death", HeaderValue::I64(1)),
            ("Knarr-Sequence", HeaderValue::from("1/1")),
        ]);
        assert_eq!(merged(&amqp, Some(envelope)), expected);
    }

    #[test]
    fn values_that_amqp_cannot_carry_stay_in_the_envelope() {
        let list = HeaderValue::List(vec![HeaderValue::from("a"), HeaderValue::from("b")]);
        let given = headers([
            ("true", HeaderValue::Bool(true)),
            ("false", HeaderValue::Bool(false)),
            ("null", HeaderValue::Null),
            ("list", list.clone()),
            ("CC", list.clone()),
            ("BCC", HeaderValue::from("a")),
            ("then", HeaderValue::Timestamp(-31_438_555)),
            ("now", HeaderValue::Timestamp(1)),
            ("RabbitMQ-RoutingKey", HeaderValue::from("x")),
        ]);
        let expected = headers([
            ("true", HeaderValue::from("True")),
            ("CC", list),
            ("BCC", HeaderValue::List(vec![HeaderValue::from("a")])),
            ("then", HeaderValue::from("1969-01-02T03:04:05.0000000Z")),
            ("now", HeaderValue::Timestamp(1)),
        ]);
        assert_eq!(amqp_headers(&given), expected);
    }
}
