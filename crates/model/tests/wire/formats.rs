//! Raw JSON, CloudEvents and hand-written envelopes: types, ids, headers and what is refused.

use knarr_model::digest::{id_from_cloud_event, id_from_text};
use knarr_model::format::{CLOUD_EVENTS, Inbound, MASS_TRANSIT, RAW_JSON, read, unread};
use knarr_model::ports::transport::Undecodable;
use knarr_model::quarantine::Class;
use knarr_model::topology::WithoutId;
use knarr_model::{Envelope, HeaderValue};
use serde_json::json;

use crate::recorded::Wire;

const ID: &str = "0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11";
const OTHER: &str = "5f6c0f8e-9a61-4c1f-8a35-2f3a1f0c7d11";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SUBMIT: &str = "Knarr.UrlScan:SubmitUrl";
const CANCEL: &str = "Knarr.UrlScan:CancelScan";
const SUBMIT_URN: &str = "urn:message:Knarr.UrlScan:SubmitUrl";

fn ok(wire: &Wire) -> Envelope {
    read(&wire.inbound()).content.unwrap_or_else(|why| panic!("{wire:?}: {why}"))
}

fn refused(wire: &Wire) -> Undecodable {
    read(&wire.inbound()).content.expect_err("refused")
}

fn id(wire: &Wire) -> String {
    read(&wire.inbound()).message_id.to_string()
}

fn envelope(members: &str) -> Wire {
    let body = format!(r#"{{"messageType":["{SUBMIT_URN}"],"message":{{"a":1}}{members}}}"#);
    Wire::of(MASS_TRANSIT, body)
}

fn event(members: &str) -> Wire {
    let body = format!(r#"{{"specversion":"1.0","id":"e-1","source":"/shop"{members}}}"#);
    Wire::of(CLOUD_EVENTS, body).taking(SUBMIT)
}

#[test]
fn one_message_has_one_digest_in_every_format() {
    let bare = "{ \"url\": \"https://example.test/\\u00e6\",\n \"scanId\": 7.0 }";
    let same = r#"{"scanId":7,"url":"https://example.test/æ"}"#;
    let digest = |wire: &Wire| read(&wire.inbound()).digest;
    let raw = digest(&Wire::of(RAW_JSON, bare).taking(SUBMIT));
    let enveloped =
        format!(r#"{{"messageId":"{ID}","messageType":["{SUBMIT_URN}"],"message":{same}}}"#);
    assert_eq!(digest(&Wire::of(MASS_TRANSIT, enveloped.clone())), raw);
    assert_eq!(digest(&Wire::of("", enveloped)), raw);
    assert_eq!(digest(&event(&format!(r#","type":"{SUBMIT}","data":{bare}"#))), raw);
    let base64 = "eyJ1cmwiOiJodHRwczovL2V4YW1wbGUudGVzdC/DpiIsInNjYW5JZCI6N30=";
    assert_eq!(digest(&event(&format!(r#","type":"{SUBMIT}","data_base64":"{base64}""#))), raw);
    assert_ne!(digest(&Wire::of(RAW_JSON, r#"{"scanId":7}"#).taking(SUBMIT)), raw);
}

#[test]
fn raw_json_is_of_the_type_whose_exchange_it_came_by() {
    let both = Wire::of(RAW_JSON, "{}").taking(SUBMIT).taking(CANCEL);
    assert_eq!(
        ok(&both.clone().by(CANCEL)).message_types,
        ["urn:message:Knarr.UrlScan:CancelScan"]
    );
    let only = Wire::of(RAW_JSON, "{}").taking(SUBMIT);
    assert_eq!(ok(&only.clone().by("")).message_types, [SUBMIT_URN]);
    assert_eq!(ok(&only.by("orders")).message_types, [SUBMIT_URN]);
    for exchange in ["", "orders", "knarr.urlscan:submiturl"] {
        let why = refused(&both.clone().by(exchange));
        assert_eq!(why.class, Class::Untyped);
        assert!(why.reason.contains("MT-MessageType"), "{why}");
    }
    assert_eq!(refused(&Wire::of(RAW_JSON, "{}")).class, Class::Untyped);
}

#[test]
fn the_type_header_of_raw_json_counts_first() {
    let both = Wire::of(RAW_JSON, "{}").taking(SUBMIT).taking(CANCEL).by(SUBMIT);
    let typed = both.clone().header("mt-messagetype", "urn:message:Else:Where; urn:message:A:B;");
    assert_eq!(ok(&typed).message_types, ["urn:message:Else:Where", "urn:message:A:B"]);
    let empty = both.clone().header("MT-MessageType", "");
    assert_eq!(ok(&empty).message_types, [SUBMIT_URN]);
    let wrong = both.header("MT-MessageType", HeaderValue::List(vec![]));
    assert_eq!(ok(&wrong).message_types, [SUBMIT_URN]);
}

#[test]
fn pe_071_a_blank_type_header_is_set_aside_and_nothing_is_guessed() {
    let blank = Wire::of(RAW_JSON, "{}").taking(SUBMIT).by(SUBMIT).header("MT-MessageType", "  ");
    assert_eq!(refused(&blank).class, Class::Untyped);
}

#[test]
fn pe_007_json_without_a_content_type_tells_by_its_members_what_it_is() {
    for content_type in ["", "text/plain", "application/octet-stream", RAW_JSON] {
        let with = |body: &str| Wire::of(content_type, body).taking(SUBMIT);
        let body = format!(r#"{{"messageType":["urn:message:A:B"],"message":{{}},"id":"{ID}"}}"#);
        let enveloped = with(&body);
        assert_eq!(ok(&enveloped).message_types, ["urn:message:A:B"]);
        let typed = enveloped.header("MT-MessageType", SUBMIT_URN);
        assert_eq!(ok(&typed).message.get(), body, "the header says that it is the message");
        let event = with(r#"{"specversion":"1.0","type":"A:B","source":"s","id":"1","data":{}}"#);
        assert_eq!(ok(&event).message_types, ["urn:message:A:B"]);
        for body in [
            r#"{"url":"x"}"#,
            r#"{"messageType":"invoice","message":"hello"}"#,
            r#"{"messageType":["a"]}"#,
            r#"{"specversion":"1.0","type":"A:B"}"#,
        ] {
            let raw = ok(&with(body));
            assert_eq!(
                (raw.message.get(), &raw.message_types[..]),
                (body, &[SUBMIT_URN.into()][..])
            );
        }
    }
}

#[test]
fn metadata_of_raw_json_comes_from_headers_then_properties() {
    let mut wire = Wire::of("application/json; charset=utf-8", r#" {"a": 1} "#)
        .taking(SUBMIT)
        .header("ConversationId", OTHER)
        .header("RequestId", ID)
        .header("MT-InitiatorId", "no GUID")
        .header("MT-Response-Address", "queue:answers")
        .header("MT-Fault-Address", "queue:faults")
        .header("MT-Host-Info", "{}")
        .header("tenant", "north")
        .header("MT-Redelivery-Count", HeaderValue::I32(2))
        .header("traceparent", PARENT);
    wire.correlation_id = Some(OTHER.to_owned());
    wire.reply_to = Some("amq.gen-1".to_owned());
    wire.timestamp = Some(1_767_323_045);
    let envelope = ok(&wire);
    let text = |id: Option<uuid::Uuid>| id.map(|id| id.to_string());
    assert_eq!(text(envelope.correlation_id).as_deref(), Some(OTHER));
    assert_eq!(text(envelope.conversation_id).as_deref(), Some(OTHER));
    assert_eq!(text(envelope.request_id).as_deref(), Some(ID));
    assert_eq!(envelope.initiator_id, None);
    assert_eq!(envelope.response_address.as_deref(), Some("queue:answers"));
    assert_eq!(envelope.fault_address.as_deref(), Some("queue:faults"));
    assert_eq!(envelope.reply_to.as_deref(), Some("amq.gen-1"));
    assert_eq!(envelope.sent_time.map(|at| at.timestamp()), Some(1_767_323_045));
    assert_eq!(envelope.message.get(), r#"{"a": 1}"#);
    let kept: Vec<_> = envelope.headers.0.keys().map(String::as_str).collect();
    assert_eq!(kept, ["MT-Redelivery-Count", "tenant", "traceparent"]);
    assert_eq!(envelope.context().trace_parent.as_deref(), Some(PARENT));
}

#[test]
fn mt_298_headers_of_raw_json_do_not_travel_on_those_of_an_envelope_do() {
    let raw = Wire::of(RAW_JSON, "{}").taking(SUBMIT).header("tenant", "north");
    assert!(ok(&raw).context().headers.is_empty());
    let enveloped = envelope(r#","headers":{"tenant":"north","MT-Reason":"fault","n":3}"#);
    let travelling = ok(&enveloped.header("x-death", HeaderValue::I64(1))).context().headers;
    assert_eq!(travelling.text("tenant").as_deref(), Some("north"));
    assert_eq!(travelling.get("n"), Some(&HeaderValue::I32(3)));
    assert_eq!(travelling.0.len(), 2);
}

#[test]
fn ids_are_taken_in_their_order() {
    let all = envelope(&format!(r#","messageId":"{ID}""#)).header("MessageId", OTHER);
    assert_eq!(id(&all), ID);
    let mut header = envelope("").header("MessageId", OTHER);
    header.message_id = Some(ID.to_owned());
    assert_eq!(id(&header), OTHER);
    header.headers.0.clear();
    assert_eq!(id(&header), ID);

    let original = all.header("MT-OriginalMessageId", "{11111111-9A61-4C1F-8A35-2F3A1F0C7D11}");
    assert_eq!(id(&original), "11111111-9a61-4c1f-8a35-2f3a1f0c7d11");
    let released = Inbound { from_broker: false, ..original.inbound() };
    assert_eq!(read(&released).message_id.to_string(), ID);
    let wrong = original.header("MT-OriginalMessageId", HeaderValue::I32(7));
    assert_eq!(id(&wrong), ID);
}

#[test]
fn guids_are_read_in_every_dotnet_form() {
    for text in [
        "0D1F0F8E-9A61-4C1F-8A35-2F3A1F0C7D11",
        "0d1f0f8e9a614c1f8a352f3a1f0c7d11",
        "{0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11}",
        "(0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11)",
    ] {
        let wire = envelope(&format!(r#","messageId":"{text}","CORRELATIONID":"{text}""#));
        assert_eq!(id(&wire), ID);
        assert_eq!(ok(&wire).correlation_id.map(|id| id.to_string()).as_deref(), Some(ID));
    }
}

#[test]
fn an_id_that_is_other_text_is_made_a_name_within_its_endpoint() {
    let raw = |id: &str| Wire {
        message_id: Some(id.to_owned()),
        ..Wire::of(RAW_JSON, "{}").taking(SUBMIT)
    };
    assert_eq!(id(&raw("order-1")), id_from_text("orders", "order-1").to_string());
    assert_eq!(id(&raw("order-1")), id(&raw(" order-1 ")));
    assert_ne!(id(&raw("order-1")), id(&raw("order-2")));
    let elsewhere = raw("order-1");
    let elsewhere = Inbound { endpoint: "bills", ..elsewhere.inbound() };
    assert_ne!(read(&elsewhere).message_id.to_string(), id(&raw("order-1")));
}

#[test]
fn pe_006_a_blank_or_zero_id_is_no_id() {
    let zero = "00000000-0000-0000-0000-000000000000";
    for blank in ["", "  ", zero] {
        let members = format!(r#","messageId":"{blank}","correlationId":"{blank}""#);
        let mut wire = envelope(&members).header("MessageId", blank);
        wire.message_id = Some(blank.to_owned());
        let read = read(&wire.inbound());
        assert!(read.without_id, "{blank:?}");
        assert_eq!(read.content.expect("readable").correlation_id, None);
    }
}

#[test]
fn pe_005_without_any_id_the_content_is_the_id_or_the_message_is_set_aside() {
    let wire = envelope("").by("a");
    let first = read(&wire.inbound());
    assert!(first.without_id);
    assert_eq!(first.message_id, first.content.expect("readable").message_id);
    assert_eq!(id(&wire), first.message_id.to_string());
    let mut differing = vec![envelope("").by("b"), envelope(r#","x":1"#).by("a"), wire.clone()];
    differing[2].timestamp = Some(1);
    for other in &differing {
        assert_ne!(id(other), first.message_id.to_string());
    }
    let strict = Wire { without_id: WithoutId::Quarantine, ..wire };
    assert_eq!(refused(&strict).class, Class::WithoutId);
    assert_eq!(read(&strict.inbound()).message_id, first.message_id);
    let named = strict.header("MessageId", ID);
    assert!(read(&named.inbound()).content.is_ok());
}

#[test]
fn mt_369_masstransits_trace_header_is_read_from_the_wire_and_from_the_envelope() {
    const OTHER_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let body = |headers: &str| {
        format!(
            r#"{{"messageId":"{ID}","messageType":["{SUBMIT_URN}"],"message":{{}},
               "headers":{{{headers}}}}}"#
        )
    };
    let envelope = |headers: &str| Wire::of("application/vnd.masstransit+json", body(headers));
    let activity = format!(r#""MT-Activity-Id":"{PARENT}""#);
    let parent = |wire: Wire| ok(&wire).context().trace_parent;
    // As MassTransit sends it: on the wire, in the envelope, or both.
    assert_eq!(parent(envelope("").header("MT-Activity-Id", PARENT)).as_deref(), Some(PARENT));
    assert_eq!(parent(envelope(&activity)).as_deref(), Some(PARENT));
    let raw = Wire::of("application/json", "{}").taking(SUBMIT).header("MessageId", ID);
    assert_eq!(parent(raw.header("mt-activity-id", PARENT)).as_deref(), Some(PARENT));
    // The W3C's own header goes before it; one that cannot be read does not.
    let both = envelope(&activity).header("traceparent", OTHER_PARENT);
    assert_eq!(parent(both).as_deref(), Some(OTHER_PARENT));
    let broken = envelope(&activity).header("traceparent", "00-1-2-01");
    assert_eq!(parent(broken).as_deref(), Some(PARENT));
    // .NET's older ids are no trace context, and what is none goes no further.
    let older = envelope("").header("MT-Activity-Id", "|7e4d2a1c-4f5b1b2c3d4e5f60.1.");
    let older = ok(&older.header("tracestate", "vendor=1")).context();
    assert_eq!((older.trace_parent, older.trace_state), (None, None));
}

#[test]
fn a_cloud_event_is_read_with_its_attributes() {
    let wire = event(&format!(
        r#","type":"{SUBMIT}","time":"2026-01-02T03:04:05+01:00","subject":"s","tenant":"north",
           "count":3,"traceparent":"{PARENT}","datacontenttype":"application/json","data":{{"a":1}}"#
    ))
    .header("MessageId", OTHER)
    .header("x-hop", "1");
    let envelope = ok(&wire);
    assert_eq!(envelope.message_types, [SUBMIT_URN]);
    assert_eq!(envelope.message_id, id_from_cloud_event("/shop", "e-1"));
    assert_eq!(envelope.source_address.as_deref(), Some("/shop"));
    assert_eq!(
        envelope.sent_time.map(|at| at.to_rfc3339()).as_deref(),
        Some("2026-01-02T02:04:05+00:00")
    );
    assert_eq!(envelope.message.get(), r#"{"a":1}"#);
    assert_eq!(envelope.headers.text("ce-subject").as_deref(), Some("s"));
    assert_eq!(envelope.headers.text("ce-tenant").as_deref(), Some("north"));
    assert_eq!(envelope.headers.get("ce-count"), Some(&HeaderValue::I32(3)));
    assert_eq!(envelope.context().trace_parent.as_deref(), Some(PARENT));
    assert!(envelope.headers.get("ce-specversion").is_none());
}

#[test]
fn the_type_of_a_cloud_event_is_an_exchange_or_a_urn() {
    for (given, urn) in [
        (SUBMIT, SUBMIT_URN),
        (SUBMIT_URN, SUBMIT_URN),
        ("urn:message:knarr.urlscan:SUBMITURL", SUBMIT_URN),
        ("urn:message:A:B", "urn:message:A:B"),
        ("A.C:B", "urn:message:A.C:B"),
        ("com.example.created", "urn:message:com.example:created"),
        ("created", "urn:message:created"),
    ] {
        assert_eq!(ok(&event(&format!(r#","type":"{given}","data":{{}}"#))).message_types, [urn]);
    }
}

#[test]
fn a_cloud_event_with_its_attributes_in_headers_is_the_same_event() {
    for prefix in ["cloudEvents:", "cloudEvents_", "ce-"] {
        let name = |attribute: &str| format!("{prefix}{attribute}");
        let wire = Wire::of(RAW_JSON, r#"{"a":1}"#)
            .taking(SUBMIT)
            .taking(CANCEL)
            .header(&name("specversion"), "1.0")
            .header(&name("type"), SUBMIT)
            .header(&name("source"), "/shop")
            .header(&name("id"), "e-1")
            .header(&name("time"), HeaderValue::Timestamp(1_767_323_045))
            .header(&name("subject"), "s")
            .header("tenant", "north");
        let envelope = ok(&wire);
        assert_eq!(envelope.message_types, [SUBMIT_URN]);
        assert_eq!(envelope.message_id, id_from_cloud_event("/shop", "e-1"));
        assert_eq!(envelope.sent_time.map(|at| at.timestamp()), Some(1_767_323_045));
        let kept: Vec<_> = envelope.headers.0.keys().map(String::as_str).collect();
        assert_eq!(kept, ["ce-subject", "tenant"]);
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_a_sentence() {
    let raw = |body: &str| Wire::of(RAW_JSON, body).taking(SUBMIT);
    let cases = [
        (raw(""), Class::Undecodable, "empty"),
        (raw(" \n"), Class::Undecodable, "empty"),
        (Wire::of(MASS_TRANSIT, ""), Class::Undecodable, "empty"),
        (raw("{\"a\":"), Class::Undecodable, "not JSON"),
        (Wire::of(RAW_JSON, vec![0x7b, 0xff, 0x7d]), Class::Undecodable, "UTF-8"),
        (raw("[]"), Class::BadMessage, "a list"),
        (raw("7"), Class::BadMessage, "a number"),
        (Wire::of(MASS_TRANSIT, "[]"), Class::Undecodable, "a list"),
        (Wire::of(MASS_TRANSIT, r#"{"messageType":[]}"#), Class::BadMessage, "no `message`"),
        (envelope(r#","message":["a"]"#), Class::BadMessage, "a list"),
        (envelope(r#","messageId":"order-1""#), Class::Undecodable, "\"order-1\""),
        (envelope(r#","messageId":7"#), Class::Undecodable, "messageId"),
        (envelope(r#","requestId":"x""#), Class::Undecodable, "requestId"),
        (envelope(r#","correlationId":"x""#), Class::Undecodable, "correlationId"),
        (envelope(r#","responseAddress":7"#), Class::Undecodable, "responseAddress"),
        (envelope(r#","messageType":"x""#), Class::Undecodable, "messageType"),
        (event(r#","data":{}"#), Class::Undecodable, "`type`"),
        (event(&format!(r#","type":"{SUBMIT}""#)), Class::BadMessage, "no `data`"),
        (event(&format!(r#","type":"{SUBMIT}","data":"x""#)), Class::BadMessage, "text"),
        (event(&format!(r#","type":"{SUBMIT}","data_base64":"?""#)), Class::Undecodable, "Base64"),
        (event(&format!(r#","type":"{SUBMIT}","data_base64":"eA==""#)), Class::Undecodable, "JSON"),
        (
            envelope(r#","messageType":["urn:message:knarr.internal:Timer"]"#),
            Class::UnknownType,
            "no transport may deliver",
        ),
    ];
    for (wire, class, words) in cases {
        let why = refused(&wire);
        assert_eq!(why.class, class, "{why}");
        assert!(why.reason.contains(words), "{why}");
    }
}

#[test]
fn mt_301_formats_that_are_not_offered_are_named() {
    for media in [
        "application/vnd.masstransit+bson",
        "application/vnd.masstransit+xml",
        "application/xml",
        "application/vnd.masstransit+msgpack",
        "application/vnd.masstransit+aes",
        "application/vnd.masstransit.v2+aes",
    ] {
        let mut wire = Wire::of(&media.to_uppercase(), "{}").taking(SUBMIT);
        wire.message_id = Some(ID.to_owned());
        assert!(refused(&wire).reason.contains(media));
        assert_eq!(id(&wire), ID);
        wire.content_type = None;
        let by_header = wire.header("Content-Type", media);
        assert_eq!(refused(&by_header).class, Class::Undecodable);
    }
}

#[test]
fn mt_293_an_empty_or_foreign_body_keeps_its_id_and_its_digest_tells_bodies_apart() {
    let read_of = |body: &str| {
        let wire = Wire { message_id: Some(ID.into()), ..Wire::of(MASS_TRANSIT, body) };
        read(&wire.inbound())
    };
    let (list, text) = (read_of("[]"), read_of("x"));
    assert_eq!(list.message_id.to_string(), ID);
    assert_eq!(list.message_id, text.message_id);
    assert_ne!(list.digest, text.digest);
}

#[test]
fn what_only_describes_a_message_is_passed_over_when_it_is_wrong() {
    for members in [
        r#","sentTime":"yesterday""#,
        r#","sentTime":7"#,
        r#","expirationTime":"soon""#,
        r#","headers":["a"]"#,
        r#","headers":"a""#,
        r#","headers":null"#,
        r#","host":7"#,
        r#","conversationId":"x","initiatorId":7"#,
        r#","destinationAddress":null,"unknown":{"deep":[1]}"#,
    ] {
        let envelope = ok(&envelope(members));
        assert_eq!((envelope.sent_time, envelope.conversation_id), (None, None), "{members}");
        assert!(envelope.headers.is_empty(), "{members}");
    }
}

#[test]
fn names_are_read_in_any_case_and_the_last_duplicate_counts() {
    let body = format!(
        r#"{{"MESSAGEID":"{OTHER}","messageid":"{ID}","Message":{{"a":1}},"MessageType":["a:b"],
            "message":{{"b":2}},"SENTTIME":"2026-01-02T03:04:05"}}"#
    );
    let envelope = ok(&Wire::of("Application/VND.MassTransit+JSON ; charset=utf-8", body));
    assert_eq!(envelope.message_id.to_string(), ID);
    assert_eq!(envelope.message.get(), r#"{"b":2}"#);
    assert_eq!(
        envelope.sent_time.map(|at| at.to_rfc3339()).as_deref(),
        Some("2026-01-02T03:04:05+00:00")
    );
}

#[test]
fn headers_of_knarrs_own_are_dropped_but_for_two() {
    let wire = envelope(r#","headers":{"knarr-release":"1","Knarr-Sequence":"i/1/7"}"#)
        .header("Knarr-Original-Message-Id", ID)
        .header("KNARR-RELEASE", "1")
        .header("knarr-quarantine-id", OTHER);
    let kept: Vec<_> = ok(&wire).headers.0.into_keys().collect();
    assert_eq!(kept, ["Knarr-Sequence", "knarr-quarantine-id"]);
}

#[test]
fn a_body_that_is_not_to_be_read_still_has_an_identity() {
    let why = || Undecodable { class: Class::TooLarge, reason: "9 MiB".to_owned() };
    let named = envelope(&format!(r#","messageId":"{ID}""#)).header("MessageId", OTHER);
    let left = unread(&named.inbound(), why());
    assert_eq!((left.message_id.to_string().as_str(), left.without_id), (OTHER, false));
    assert_eq!(left.content.expect_err("left alone"), why());
    assert!(unread(&envelope("").inbound(), why()).without_id);
}

#[test]
fn an_envelope_may_come_back_from_storage() {
    let wire = envelope(r#","headers":{"n":3,"list":["a",{"b":null}]}"#);
    let envelope = ok(&wire.header("bytes", HeaderValue::Bytes(vec![0, 255])));
    let stored = serde_json::to_value(&envelope).expect("storable");
    let again: Envelope = serde_json::from_str(&stored.to_string()).expect("readable from storage");
    assert_eq!(serde_json::to_value(&again).expect("storable"), stored);
    assert_eq!(stored["headers"]["n"], json!({ "I": 3 }));
}
