//! A real .NET service with MassTransit on the other side of the broker.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::dotnet::{Peer, peer};
use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, SUBMIT};
use crate::world::World;

/// A scan that the .NET service asks for, and what must come of it: a verdict, or `failed`.
struct Asked {
    scan: Uuid,
    url: String,
    expected: &'static str,
    correlation: Option<Uuid>,
    raw: bool,
}

/// Scans of each kind.
const ROUNDS: usize = 36;

fn asked() -> Vec<Asked> {
    const EXPECTED: [(&str, &str); 7] = [
        ("http://clean.test/a", "clean"),
        ("http://malicious.test/b?c=d", "malicious"),
        ("https://suspicious.test/", "suspicious"),
        ("http://slow.test/e", "clean"),
        ("http://unknown.test/f", "clean"),
        ("http://never.test/g", "unknown"),
        ("ftp://clean.test/not-offered", "failed"),
    ];
    let mut asked = Vec::new();
    for round in 0..ROUNDS {
        for (url, expected) in EXPECTED {
            // No service must remember one scan's URL for another's.
            let url = format!("{url}{}{round}", if url.contains('?') { "&" } else { "?n=" });
            let correlation = (round % 2 == 0).then(Uuid::now_v7);
            asked.push(Asked {
                scan: Uuid::now_v7(),
                url,
                expected,
                correlation,
                raw: round % 4 >= 2,
            });
        }
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn live_masstransit_peer_publishes_and_consumes() {
    let Some(path) = peer() else {
        println!("SKIPPED: no MassTransit peer here; name it in KNARR_MASSTRANSIT");
        return;
    };
    let world = World::new().await;
    let serving = Serving::ready(&world, &[("URL_SCAN_DEADLINE", "15s")]).await;
    let mut peer = Peer::start(path, &world).await;
    let asked = asked();
    for ask in &asked {
        peer.say(publish("Knarr.UrlScan:SubmitUrl", ask)).await;
    }
    // One more is taken back: it must end without a word.
    let cancelled = json!({ "scanId": Uuid::now_v7(), "url": "http://never.test/cancelled" });
    let submit = json!({ "do": "publish", "type": SUBMIT, "message": cancelled });
    peer.say(submit).await;
    let scan = cancelled["scanId"].as_str().expect("an id").to_owned();
    wait_for_state(&serving, &scan, "Scanning").await;
    let reason = json!({ "scanId": scan, "reason": "changed my mind" });
    let cancel = json!({ "do": "publish", "type": "Knarr.UrlScan:CancelScan", "message": reason });
    peer.say(cancel).await;
    wait_for_state(&serving, &scan, "Final").await;

    let mut consumed = BTreeMap::new();
    while consumed.len() < asked.len() {
        let event = peer.next("consumed").await;
        let scan: Uuid = event["message"]["scanId"].as_str().expect("a scan").parse().expect("id");
        assert_eq!(event["on"].as_str().map(last_segment), Some("peer-url-scan"), "{event:#}");
        let again = consumed.insert(scan, event);
        assert!(again.is_none(), "told twice: {again:#?}");
    }
    for ask in &asked {
        let event = consumed.get(&ask.scan).unwrap_or_else(|| panic!("nothing of {}", ask.url));
        check(ask, event, &world);
    }
    Stored::open(&world).await.all_ended_once(asked.len() as i64 + 1).await;
    assert_eq!(serving.list("/api/v1/quarantine").await, Vec::<Value>::new());
    peer.stop().await;
    assert!(serving.stop().await.success());
}

fn publish(kind: &str, ask: &Asked) -> Value {
    let mut publish = json!({
        "do": "publish",
        "type": kind,
        "message": { "scanId": ask.scan, "url": ask.url },
        "headers": { "tenant": "blue", "weight": 7 },
    });
    if let Some(correlation) = ask.correlation {
        publish["correlationId"] = json!(correlation);
    }
    if ask.raw {
        publish["raw"] = json!(true);
    }
    publish
}

/// What the .NET consumer saw, down to its ids, addresses and headers.
fn check(ask: &Asked, event: &Value, world: &World) {
    let message = &event["message"];
    assert_eq!(message["url"], json!(ask.url), "{event:#}");
    let kind = match ask.expected {
        "failed" => "UrlScanFailed",
        verdict => {
            assert_eq!(message["verdict"], verdict, "{event:#}");
            let sources: Vec<_> = message["sources"].as_array().expect("sources").iter().collect();
            let names: Vec<_> = sources.iter().map(|source| &source["name"]).collect();
            assert_eq!(names, ["virus-total", "safe-browsing"], "{event:#}");
            assert!(sources.iter().all(|source| source["detail"].is_string()), "{event:#}");
            assert!(
                message["completedAt"].as_str().is_some_and(|at| at.starts_with("20")),
                "{event:#}"
            );
            "UrlScanned"
        }
    };
    let urn = format!("urn:message:Knarr.UrlScan:{kind}");
    assert_eq!(event["as"], json!(urn), "{event:#}");
    assert_eq!(event["messageTypes"], json!([urn]), "{event:#}");
    assert_eq!(event["contentType"], "application/vnd.masstransit+json", "{event:#}");
    for name in ["messageId", "conversationId"] {
        let id = event[name].as_str().and_then(|id| id.parse::<Uuid>().ok());
        assert!(id.is_some_and(|id| !id.is_nil()), "{name}: {event:#}");
    }
    // Who caused it is told by the correlation id of what caused it.
    assert_eq!(event["initiatorId"], json!(ask.correlation), "{event:#}");
    assert_eq!(event["correlationId"], json!(ask.scan), "{event:#}");
    let vhost = last_segment(&world.broker);
    for (name, ending) in
        [("sourceAddress", ENDPOINT.to_owned()), ("destinationAddress", kind_of(kind))]
    {
        let address = event[name].as_str().unwrap_or_default();
        let fits =
            address.starts_with("rabbitmq://") && address.ends_with(&format!("/{vhost}/{ending}"));
        assert!(fits, "{name} is {address}: {event:#}");
    }
    let headers = &event["headers"];
    assert_eq!(headers["Knarr-Sequence"], "1,1", "{event:#}");
    // Headers of one's own travel on from envelopes, not from raw JSON.
    let (tenant, weight) = match ask.raw {
        false => (json!("blue"), json!(7)),
        true => (Value::Null, Value::Null),
    };
    assert_eq!((&headers["tenant"], &headers["weight"]), (&tenant, &weight), "{event:#}");
    assert!(event["sentTime"].is_string() && event["host"].is_string(), "{event:#}");
    for name in ["requestId", "responseAddress", "faultAddress", "expirationTime"] {
        assert!(event[name].is_null(), "{name}: {event:#}");
    }
    assert_eq!((&event["retry"], &event["redelivery"]), (&json!(0), &json!(0)), "{event:#}");
}

fn kind_of(kind: &str) -> String {
    format!("Knarr.UrlScan:{kind}")
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

async fn wait_for_state(serving: &Serving, scan: &str, state: &str) {
    let path = format!("/api/v1/sagas/url-scan/instances/{scan}");
    crate::world::until(&format!("{scan} is {state}"), async || {
        let (status, body) = serving.ask(&path).await?;
        let shown: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        if status == 200 && shown["state"] == state { Ok(()) } else { Err(body) }
    })
    .await;
}
