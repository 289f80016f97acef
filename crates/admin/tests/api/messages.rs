//! Messages sent by people: what reaches the broker, and what is refused before.

use knarr_model::ports::transport::Published;
use serde_json::{Value, json};

use crate::desk::{ANNA, Bench, refused};
use crate::doors::{Api, TOKEN, told};

const PATH: &str = "/api/v1/messages";

fn submit() -> Value {
    json!({
        "type": "Knarr.UrlScan:SubmitUrl",
        "message": { "scanId": "00000000-0000-0000-0000-000000000001", "url": "http://a.test/" },
        "headers": { "tenant": "blue" }
    })
}

#[tokio::test]
async fn a_message_goes_out_as_an_envelope_to_its_types_exchange() {
    let api = Api::start().await;
    let (status, answer) = told(api.post(PATH, &submit())).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["type"], "urn:message:Knarr.UrlScan:SubmitUrl");
    let published = api.doors.published.lock().expect("lock").clone();
    let [message] = &published[..] else { panic!("{published:?}") };
    assert_eq!(message.exchange, "Knarr.UrlScan:SubmitUrl");
    assert_eq!(message.content_type, "application/vnd.masstransit+json");
    assert_eq!(message.id.to_string(), answer["messageId"]);
    let body: Value = serde_json::from_slice(&message.body).expect("an envelope");
    assert_eq!(body["messageId"], answer["messageId"]);
    assert_eq!(body["messageType"], json!(["urn:message:Knarr.UrlScan:SubmitUrl"]));
    assert_eq!(body["message"]["url"], "http://a.test/");
    assert_eq!(body["headers"]["tenant"], "blue");
}

#[tokio::test]
async fn a_message_goes_on_in_the_trace_of_its_request_unless_it_says_otherwise() {
    const REQUEST: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut with_own = submit();
    with_own["headers"]["MT-Activity-Id"] = json!(OWN);
    for (body, header, expected) in [
        (submit(), REQUEST, Some(REQUEST)),
        (submit(), "00-1-2-01", None),
        (with_own, REQUEST, Some(OWN)),
    ] {
        let api = Api::start().await;
        let (status, answer) = told(api.post(PATH, &body).header("traceparent", header)).await;
        assert_eq!(status, 200, "{answer}");
        let published = api.doors.published.lock().expect("lock").clone();
        let envelope: Value = serde_json::from_slice(&published[0].body).expect("an envelope");
        for name in ["traceparent", "MT-Activity-Id"] {
            assert_eq!(published[0].headers.text(name).as_deref(), expected, "{name}: {body}");
            assert_eq!(envelope["headers"][name].as_str(), expected, "{name}: {body}");
        }
    }
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_message_id() {
    let api = Api::start().await;
    let mut ids = Vec::new();
    for key in ["a", "a", "b"] {
        let request = api.post(PATH, &submit()).header("idempotency-key", key);
        ids.push(told(request).await.1["messageId"].clone());
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_dry_run_checks_and_sends_nothing() {
    let api = Api::start().await;
    let (status, answer) = told(api.post("/api/v1/messages?dry_run=true", &submit())).await;
    assert_eq!((status, &answer["dryRun"]), (200, &json!(true)));
    let wrong = json!({ "type": "nonsense", "message": {} });
    assert_eq!(told(api.post("/api/v1/messages?dry_run=true", &wrong)).await.0, 400);
    assert!(api.doors.published.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_the_broker() {
    let api = Api::start().await;
    let with = |member: &str, value: Value| {
        let mut body = submit();
        body[member] = value;
        body
    };
    for (body, expected) in [
        (with("type", json!("SubmitUrl")), "Namespace:Name"),
        (with("type", json!("Knarr.Internal:Timer")), "reserved"),
        (with("message", json!(7)), "JSON object"),
        (with("headers", json!({ "Knarr-Sequence": "1,1" })), "Knarr-Sequence"),
        (with("colour", json!("red")), "colour"),
        (json!({ "message": {} }), "type"),
    ] {
        let (status, answer) = told(api.post(PATH, &body)).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|d| d.contains(expected)), "{answer}");
    }
    let raw = |media: &'static str, body: &'static str| {
        let request = api.bare(reqwest::Method::POST, PATH).bearer_auth(TOKEN);
        told(request.header("content-type", media).body(body))
    };
    assert_eq!(raw("text/plain", "{}").await.0, 415);
    assert_eq!(raw("application/json; charset=utf-8", "{").await.0, 400);
    let large = with("message", json!({ "url": "x".repeat(5000) }));
    let (status, answer) = told(api.post(PATH, &large)).await;
    assert_eq!(status, 413);
    assert!(answer["detail"].as_str().is_some_and(|d| d.contains("4096")), "{answer}");
    assert!(api.doors.published.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn the_brokers_answer_is_told() {
    let api = Api::start().await;
    for (answer, status, expected) in [
        (Published::Returned("NO_ROUTE".to_owned()), 404, "Nobody takes"),
        (Published::Impossible("the body is too large".to_owned()), 400, "too large"),
        (Published::Unknown("no confirm in time".to_owned()), 503, "Idempotency-Key"),
    ] {
        *api.doors.answer.lock().expect("lock") = answer;
        let (got, body) = told(api.post(PATH, &submit())).await;
        assert_eq!(got, status, "{body}");
        assert!(body["detail"].as_str().is_some_and(|d| d.contains(expected)), "{body}");
    }
}

#[tokio::test]
async fn s0_01_a_message_sent_by_hand_is_a_line_of_the_audit_and_a_refused_one_is_none() {
    let bench = Bench::start().await;
    let send = |key: &str| {
        let request = bench.request(ANNA, reqwest::Method::POST, PATH);
        request.header("idempotency-key", key).json(&submit())
    };
    let dry = bench.request(ANNA, reqwest::Method::POST, &format!("{PATH}?dry_run=true"));
    assert_eq!(told(dry.json(&submit())).await.1["auditId"], json!(null));
    assert!(bench.audit().is_empty());
    let (status, sent) = told(send("k-1")).await;
    assert_eq!(status, 200, "{sent}");
    let (_, again) = told(send("k-1")).await;
    assert_eq!((&again["auditId"], &again["messageId"]), (&sent["auditId"], &sent["messageId"]));
    let [line] = &bench.audit()[..] else { panic!("{:?}", bench.audit()) };
    assert_eq!((line.who.as_str(), line.verb.as_str()), ("anna", "send"));
    assert_eq!(json!(line.id), sent["auditId"]);
    assert_eq!(line.target, format!("message {}", sent["messageId"].as_str().expect("an id")));
    assert_eq!(&*line.endpoint, "url-scan");
    // The key of a halt is none of a message's: refused before anything leaves.
    let halt = bench.request(ANNA, reqwest::Method::POST, "/api/v1/endpoints/url-scan/halt");
    assert_eq!(told(halt.header("idempotency-key", "k-2")).await.0, 200);
    refused(&bench, send("k-2"), 422, "take a new key").await;
}
