//! What MassTransit's consumer takes, we take; where we take more, it is listed with its reason.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use knarr_model::format::read;
use knarr_model::quarantine::Class;
use serde_json::Value;

use crate::recorded::{Wire, headers, json};

const PAYLOAD: &str = "a member of the payload: judged when the saga's type is read from it, \
                       not by the codec";

/// Bodies on which MassTransit fails and that can be read here.
const MORE_TOLERANT: [(&str, &str); 8] = [
    ("byte order mark", "the mark says nothing about the message; losing it loses nothing"),
    (
        "application/json, raw body, MT-MessageType",
        "the content type and the header say what it is; an endpoint here takes every format",
    ),
    ("long as 7.0", PAYLOAD),
    ("enum as name, other case", PAYLOAD),
    ("guid without hyphens", PAYLOAD),
    ("guid empty string", PAYLOAD),
    ("bool as string", PAYLOAD),
    ("time span iso 8601", PAYLOAD),
];

fn wire(case: &Value) -> Wire {
    let taken = match case["endpoint"].as_str() {
        Some("order") => "Shop.Contracts:OrderSubmitted",
        Some("raw-in") => "Shop.Contracts:Outer+Inner",
        other => panic!("what does {other:?} take?"),
    };
    let body = match case["body"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(case["body_base64"].as_str().expect("bytes")).expect("Base64"),
    };
    Wire {
        message_id: case["properties"]["message_id"].as_str().map(str::to_owned),
        correlation_id: case["properties"]["correlation_id"].as_str().map(str::to_owned),
        headers: headers(&case["headers"]),
        ..Wire::of(case["content_type"].as_str().unwrap_or_default(), body).taking(taken)
    }
}

#[test]
fn what_masstransit_consumes_can_be_read_here() {
    let tolerated: BTreeMap<_, _> = MORE_TOLERANT.into_iter().collect();
    let mut met = 0;
    for case in json("verdicts.json").as_array().expect("cases") {
        let name = case["case"].as_str().expect("a name");
        let wire = wire(case);
        let read = read(&wire.inbound());
        let taken = &wire.subscriptions[0].urn;
        let is_ours = read.content.as_ref().is_ok_and(|envelope| envelope.is_of_type(taken));
        match case["verdict"].as_str() {
            Some("consumed") => assert!(is_ours, "{name}: {:?}", read.content),
            Some("skipped") => {
                assert!(read.content.is_ok(), "{name}: {:?}", read.content);
                assert!(!is_ours, "{name}: unknown types stay unknown");
            }
            Some("error") if tolerated.contains_key(name) => {
                assert!(is_ours, "{name}: {:?}", read.content);
                met += 1;
            }
            Some("error") => {
                let why = read.content.expect_err(name);
                assert!(matches!(why.class, Class::Undecodable | Class::BadMessage), "{name}");
                assert!(!why.reason.is_empty() && why.reason.len() < 300, "{name}: {}", why.reason);
            }
            other => panic!("{name}: verdict {other:?}"),
        }
    }
    assert_eq!(met, MORE_TOLERANT.len(), "a tolerated case is no longer recorded");
}

#[test]
fn a_body_that_cannot_be_read_keeps_the_id_that_is_known() {
    const ID: &str = "5f6c0f8e-9a61-4c1f-8a35-2f3a1f0c7d11";
    for case in json("verdicts.json").as_array().expect("cases") {
        let mut wire = wire(case).header("MessageId", ID);
        let name = case["case"].as_str().expect("a name");
        let first = read(&wire.inbound());
        assert!(!first.without_id, "{name}");
        let own = "0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11";
        let id = first.message_id.to_string();
        assert!(id == ID || id == own, "{name}: {id}");

        wire.headers.0.clear();
        wire.message_id = Some(ID.to_owned());
        assert_eq!(read(&wire.inbound()).message_id, first.message_id, "{name}: by property");
    }
}
