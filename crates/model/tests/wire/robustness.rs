//! Whatever comes, reading it ends with an identity and without a panic.

use knarr_model::HeaderValue;
use knarr_model::format::masstransit::{Host, encode};
use knarr_model::format::{CLOUD_EVENTS, MASS_TRANSIT, RAW_JSON, amqp_headers, read};
use proptest::prelude::*;
use serde_json::Value;

use crate::recorded::Wire;

/// Any JSON, about four levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("0d1f0f8e9a614c1f8a352f3a1f0c7d11")),
        Just(Value::from("2026-01-02T03:04:05.1234567+01:00")),
        Just(Value::from("urn:message:A:B")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_name(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn any_name() -> impl Strategy<Value = String> {
    let known = [
        "messageId",
        "MESSAGEID",
        "requestId",
        "correlationId",
        "conversationId",
        "messageType",
        "message",
        "headers",
        "sentTime",
        "expirationTime",
        "responseAddress",
        "specversion",
        "id",
        "source",
        "type",
        "data",
        "data_base64",
        "time",
        "MT-OriginalMessageId",
        "Knarr-x",
    ];
    prop_oneof![
        3 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => ".{0,6}",
    ]
}

fn any_header() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        ".{0,12}".prop_map(HeaderValue::Text),
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<u8>().prop_map(HeaderValue::U8),
        any::<i64>().prop_map(HeaderValue::I64),
        any::<f64>().prop_map(HeaderValue::F64),
        prop::num::f64::ANY.prop_map(HeaderValue::F64),
        prop::num::f32::ANY.prop_map(HeaderValue::F32),
        any::<i64>().prop_map(HeaderValue::Timestamp),
        (any::<u8>(), any::<i32>())
            .prop_map(|(scale, unscaled)| HeaderValue::Decimal { scale, unscaled }),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(HeaderValue::Bytes),
        any_json().prop_map(|value| HeaderValue::from_json(&value)),
    ]
}

fn any_header_name() -> impl Strategy<Value = String> {
    let known = [
        "MessageId",
        "MT-OriginalMessageId",
        "MT-MessageType",
        "CorrelationId",
        "Content-Type",
        "cloudEvents:specversion",
        "cloudEvents:type",
        "cloudEvents:id",
        "cloudEvents:source",
        "ce-specversion",
        "Knarr-x",
        "CC",
        "æ",
    ];
    prop_oneof![
        3 => prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => ".{0,12}",
    ]
}

fn any_wire(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Wire> {
    let content_type = prop_oneof![
        2 => Just(MASS_TRANSIT.to_owned()),
        1 => Just(RAW_JSON.to_owned()),
        1 => Just(CLOUD_EVENTS.to_owned()),
        1 => Just(String::new()),
        1 => ".{0,20}",
    ];
    let headers = prop::collection::btree_map(any_header_name(), any_header(), 0..5);
    let text = || prop::option::of(".{0,40}");
    (content_type, headers, text(), text(), any::<Option<u64>>(), body).prop_map(
        |(content_type, headers, message_id, reply_to, timestamp, body)| Wire {
            headers: knarr_model::Headers(headers),
            message_id,
            correlation_id: reply_to.clone(),
            reply_to,
            timestamp,
            ..Wire::of(&content_type, body).taking("A:B")
        },
    )
}

/// What holds for every message.
fn check(wire: &Wire) -> Result<(), TestCaseError> {
    let first = read(&wire.inbound());
    let second = read(&wire.inbound());
    prop_assert_eq!(first.message_id, second.message_id);
    prop_assert_eq!(first.digest, second.digest);
    prop_assert!(!first.message_id.0.is_nil());
    let Ok(envelope) = first.content else { return Ok(()) };
    prop_assert_eq!(envelope.message_id, first.message_id, "none of these is a slip");
    let value: Value = serde_json::from_str(envelope.message.get()).expect("a JSON payload");
    prop_assert!(value.is_object());

    // Written and read again it is the same message.
    let again = Wire {
        headers: amqp_headers(&envelope.headers),
        ..Wire::of(MASS_TRANSIT, encode(&envelope, &Host::default()))
    };
    let written = read(&again.inbound());
    let back = written.content.expect("what is written can be read");
    let is_redelivery = envelope.headers.get("MT-OriginalMessageId").is_some();
    prop_assert!(is_redelivery || back.message_id == envelope.message_id);
    prop_assert_eq!(written.digest, first.digest);
    prop_assert_eq!(back.correlation_id, envelope.correlation_id);
    prop_assert_eq!(back.conversation_id, envelope.conversation_id);
    prop_assert_eq!(back.sent_time, envelope.sent_time);
    prop_assert_eq!(back.message_types, envelope.message_types);
    prop_assert_eq!(back.response_address, envelope.response_address);
    Ok(())
}

proptest! {
    #[test]
    fn row_070_any_bytes_are_read_without_a_panic(
        wire in any_wire(prop::collection::vec(any::<u8>(), 0..200)),
    ) {
        check(&wire)?;
    }

    #[test]
    fn row_070_any_json_is_read_without_a_panic(
        wire in any_wire(any_json().prop_map(|value| value.to_string().into_bytes())),
    ) {
        check(&wire)?;
    }

    #[test]
    fn row_070_a_damaged_envelope_is_read_without_a_panic(
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 0..3),
        cut in 0usize..3,
        wire in any_wire(Just(Vec::new())),
    ) {
        let mut body = br#"{"messageId":"0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11",/* c */"messageType":
            ["urn:message:A:B"],"message":{"a":[1,2.5,"\ud83d\udce6",],},"headers":{"n":1}}"#.to_vec();
        let start = at.index(body.len());
        let end = (start + cut).min(body.len());
        body.splice(start..end, with);
        check(&Wire { body, ..wire })?;
    }
}

#[test]
fn row_071_depth_is_refused_and_never_exhausts_the_stack() {
    let depth = 200_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        for body in [
            deep.clone(),
            format!(r#"{{"a":{deep}}}"#),
            format!(r#"{{"messageType":["a"],"message":{deep},"headers":{deep}}}"#),
            format!(r#"{{"specversion":"1.0","type":"a","source":"b","id":"c","data":{deep}}}"#),
        ] {
            for content_type in [MASS_TRANSIT, RAW_JSON, CLOUD_EVENTS, ""] {
                let wire = Wire::of(content_type, body.clone()).taking("A:B");
                assert!(read(&wire.inbound()).content.is_err());
            }
        }
    }
}
