//! What MassTransit wrote is read in full, and written again word for word.

use std::collections::BTreeSet;
use std::fs;

use crate::recorded::{Wire, folder, json};
use knarr_model::format::masstransit::{Host, encode};
use knarr_model::format::{Inbound, MASS_TRANSIT, amqp_headers, parse_timestamp, read};
use knarr_model::{Envelope, HeaderValue, Headers};
use serde_json::Value;

fn all() -> Vec<(String, Value)> {
    let mut names: Vec<_> = fs::read_dir(folder().join("messages"))
        .expect("the recordings")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), json(&format!("messages/{name}")))).collect()
}

fn one(name: &str) -> Wire {
    Wire::recorded(&json(&format!("messages/{name}.json")))
}

fn envelope(wire: &Wire) -> Envelope {
    read(&wire.inbound()).content.expect("readable")
}

fn value(envelope: &Envelope) -> Value {
    serde_json::to_value(envelope).expect("storable")
}

fn host(of: &Value) -> Host {
    let text = |name: &str| of[name].as_str().map(str::to_owned);
    Host {
        machine_name: text("machineName"),
        process_name: text("processName"),
        process_id: of["processId"].as_u64().map(|id| u32::try_from(id).expect("small")),
        assembly: text("assembly"),
        assembly_version: text("assemblyVersion"),
        framework_version: text("frameworkVersion"),
        mass_transit_version: text("massTransitVersion"),
        operating_system_version: text("operatingSystemVersion"),
    }
}

#[test]
fn every_recorded_step_is_at_hand() {
    let listed: BTreeSet<String> = json("index.json")
        .as_array()
        .expect("steps")
        .iter()
        .flat_map(|step| step["files"].as_array().expect("files"))
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    let present: BTreeSet<String> = all().into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, present);
    assert!(present.len() >= 54, "only {} recordings", present.len());
}

#[test]
fn every_member_of_every_recorded_envelope_is_read() {
    for (name, message) in all() {
        let wire = Wire::recorded(&message);
        if wire.content_type.as_deref() != Some(MASS_TRANSIT) {
            continue;
        }
        let body: Value = serde_json::from_slice(&wire.body).expect("a JSON body");
        let read = read(&wire.inbound());
        assert!(!read.without_id, "{name}");
        let envelope = read.content.unwrap_or_else(|why| panic!("{name}: {why}"));
        let ids = [
            ("requestId", envelope.request_id),
            ("correlationId", envelope.correlation_id),
            ("conversationId", envelope.conversation_id),
            ("initiatorId", envelope.initiator_id),
        ];
        for (member, id) in ids {
            let id = id.map(|id| id.to_string());
            assert_eq!(id.as_deref(), body[member].as_str(), "{name}: {member}");
        }
        let texts = [
            ("sourceAddress", &envelope.source_address),
            ("destinationAddress", &envelope.destination_address),
            ("responseAddress", &envelope.response_address),
            ("faultAddress", &envelope.fault_address),
        ];
        for (member, text) in texts {
            assert_eq!(text.as_deref(), body[member].as_str(), "{name}: {member}");
        }
        for (member, time) in
            [("sentTime", envelope.sent_time), ("expirationTime", envelope.expiration_time)]
        {
            assert_eq!(time, body[member].as_str().and_then(parse_timestamp), "{name}: {member}");
        }
        assert_eq!(envelope.message_id.to_string(), body["messageId"], "{name}");
        assert_eq!(Some(&envelope.message_id.to_string()), wire.message_id.as_ref(), "{name}");
        assert_eq!(serde_json::json!(envelope.message_types), body["messageType"], "{name}");
        let payload: Value = serde_json::from_str(envelope.message.get()).expect("a payload");
        assert_eq!(payload, body["message"], "{name}");
        check_headers(&name, &envelope.headers, &wire.headers, &body["headers"]);
    }
}

/// Each header is there, with the envelope's value, and of the AMQP type where both agree.
fn check_headers(name: &str, have: &Headers, amqp: &Headers, envelope: &Value) {
    let envelope = envelope.as_object().expect("headers");
    for (header, value) in envelope {
        let have = have.get(header).unwrap_or_else(|| panic!("{name}: {header} is missing"));
        assert_eq!(&have.to_json(), value, "{name}: {header}");
    }
    for (header, value) in &amqp.0 {
        if header == "x-dotnet-pub-seq-no" {
            assert_eq!(have.get(header), None, "{name}");
            continue;
        }
        let agrees = envelope.get(header).is_none_or(|json| json == &value.to_json());
        if agrees {
            assert_eq!(have.get(header), Some(value), "{name}: {header}");
        }
    }
}

#[test]
fn pe_003_header_values_keep_their_amqp_type() {
    let headers = envelope(&one("publish-headers.01")).headers;
    for (name, value) in [
        ("short", HeaderValue::I16(-2)),
        ("int", HeaderValue::I32(3)),
        ("long", HeaderValue::I64(9_007_199_254_740_993)),
        ("byte", HeaderValue::U8(200)),
        ("double", HeaderValue::F64(1.5)),
        ("float", HeaderValue::F32(1.5)),
        ("decimal", HeaderValue::Decimal { scale: 2, unscaled: 1250 }),
        ("utc", HeaderValue::Timestamp(1_767_323_045)),
        ("string", HeaderValue::from("text æ")),
        ("empty", HeaderValue::from("")),
        ("true", HeaderValue::Bool(true)),
        ("false", HeaderValue::Bool(false)),
    ] {
        assert_eq!(headers.get(name), Some(&value), "{name}");
    }
    assert!(matches!(headers.get("list"), Some(HeaderValue::List(items)) if items.len() == 2));
    assert!(matches!(headers.get("object"), Some(HeaderValue::Table(_))));
}

#[test]
fn what_is_read_is_written_as_masstransit_wrote_it() {
    let mut compared = 0;
    for (name, message) in all() {
        let wire = Wire::recorded(&message);
        if wire.content_type.as_deref() != Some(MASS_TRANSIT) {
            continue;
        }
        let body: Value = serde_json::from_slice(&wire.body).expect("a JSON body");
        let mut envelope = envelope(&wire);
        // Headers that only the frame had are no part of what MassTransit wrote into the body.
        envelope.headers.0.retain(|header, _| !body["headers"][header].is_null());
        let written = encode(&envelope, &host(&body["host"]));
        let again: Value = serde_json::from_slice(&written).expect("JSON");
        assert_eq!(again, body, "{name}");
        let order = |json: &[u8]| {
            let members: Vec<_> = ["messageId", "messageType", "message\"", "sentTime", "host\""]
                .iter()
                .map(|member| {
                    let text = String::from_utf8_lossy(json);
                    text.find(&format!("\"{member}")).expect("the member")
                })
                .collect();
            members.is_sorted()
        };
        assert_eq!(order(&written), order(&wire.body), "{name}: another order of members");
        compared += 1;
    }
    assert!(compared >= 53, "only {compared} envelopes");
}

#[test]
fn what_is_written_is_read_as_the_same_message() {
    for (name, message) in all() {
        let wire = Wire::recorded(&message);
        let first = read(&wire.inbound());
        let envelope = first.content.unwrap_or_else(|why| panic!("{name}: {why}"));
        let again = Wire {
            headers: amqp_headers(&envelope.headers),
            ..Wire::of(MASS_TRANSIT, encode(&envelope, &Host::default()))
        };
        let inbound = Inbound { reply_to: wire.reply_to.as_deref(), ..again.inbound() };
        let second = read(&inbound);
        let mut expected = value(&envelope);
        // Raw JSON turns into an envelope here, and those carry their headers on.
        expected["propagates_headers"] = Value::Bool(true);
        assert_eq!(value(&second.content.expect("readable")), expected, "{name}");
        assert_eq!((second.message_id, second.digest), (first.message_id, first.digest), "{name}");
    }
}

#[test]
fn frame_headers_are_written_as_masstransit_wrote_them() {
    for (name, message) in all() {
        let wire = Wire::recorded(&message);
        if wire.content_type.as_deref() != Some(MASS_TRANSIT) {
            continue;
        }
        let written = amqp_headers(&envelope(&wire).headers);
        for (header, value) in &wire.headers.0 {
            match header.as_str() {
                "x-dotnet-pub-seq-no" => assert_eq!(written.get(header), None, "{name}"),
                // JSON says these as dates in text, other than the frame does: text they stay.
                "offset" | "before-1970" => {
                    assert!(matches!(written.get(header), Some(HeaderValue::Text(_))), "{name}");
                }
                _ => assert_eq!(written.get(header), Some(value), "{name}: {header}"),
            }
        }
        let extra: Vec<_> =
            written.0.keys().filter(|header| wire.headers.get(header).is_none()).collect();
        assert!(extra.is_empty(), "{name}: {extra:?}");
    }
}

#[test]
fn mt_297_raw_json_of_a_peer_is_read_from_its_headers() {
    let wire = one("publish-nested.02");
    assert_eq!(wire.content_type.as_deref(), Some("application/json"));
    let read = read(&wire.inbound());
    let envelope = read.content.expect("readable");
    assert_eq!(envelope.message_id.to_string(), "00130000-0698-be52-c9ee-08df485749cb");
    assert_eq!(envelope.message_types, ["urn:message:Shop.Contracts:OrderStatus"]);
    assert_eq!(
        envelope.conversation_id.map(|id| id.to_string()).as_deref(),
        Some("00130000-0698-be52-e86e-08df485749ca")
    );
    assert_eq!(envelope.source_address.as_deref(), Some("rabbitmq://localhost:55672/raw-in"));
    assert_eq!(envelope.destination_address.as_deref(), Some("queue:orders"));
    let sent = envelope.sent_time.expect("the time inside the message id");
    assert_eq!(sent.format("%F %T").to_string(), "2026-11-22 05:13:04");
    assert!(envelope.headers.is_empty(), "{:?}", envelope.headers);
    assert!(!envelope.propagates_headers);
}

#[test]
fn mt_259_a_redelivery_has_its_originals_id_and_its_scheduling_has_its_own() {
    let scheduling = one("redelivery-first.02");
    let original = scheduling.headers.text("MT-OriginalMessageId").expect("the original's id");
    let own = read(&scheduling.inbound());
    assert_eq!(Some(own.message_id.to_string()), scheduling.message_id);

    let redelivered = one("redelivery-first.01").header("MT-OriginalMessageId", original.as_str());
    let mut inbound = redelivered.inbound();
    let body = String::from_utf8(redelivered.body.clone())
        .expect("text")
        .replace("00130000-0698-be52-d991", "11111111-0698-be52-d991");
    inbound.body = body.as_bytes();
    assert_eq!(read(&inbound).message_id.to_string(), original);
    inbound.from_broker = false;
    assert!(read(&inbound).message_id.to_string().starts_with("11111111-"));
}

#[test]
fn a_routing_slip_is_another_delivery_at_each_hop() {
    let slips = [
        "slip-completed.01",
        "slip-completed.03",
        "slip-faulted.01",
        "slip-faulted.03",
        "slip-faulted.06",
    ];
    let reads: Vec<_> = slips.iter().map(|name| read(&one(name).inbound())).collect();
    let ids: BTreeSet<_> = reads.iter().map(|read| read.message_id).collect();
    assert_eq!(ids.len(), slips.len());
    let on_the_wire: BTreeSet<_> =
        reads.iter().map(|read| read.content.as_ref().expect("readable").message_id).collect();
    assert_eq!(on_the_wire.len(), 2, "one id a slip");
    assert_eq!(read(&one(slips[1]).inbound()).message_id, reads[1].message_id);
}
