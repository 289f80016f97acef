//! Messages that come too often, too large, or with headers that no client library would write.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::octets::{Octets, field, long, short, text};
use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// Where copies of all verdicts are kept.
const TAP: &str = "tap";

fn id() -> String {
    Uuid::now_v7().to_string()
}

fn scan(url: &str) -> Value {
    json!({ "scanId": id(), "url": url })
}

fn submitted(message_id: &str, scan: &Value) -> Raw {
    let body = envelope(message_id, scan.clone());
    Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() }
}

/// Everything that was published to the tap: scan and message id of each verdict.
async fn verdicts(wire: &Wire) -> Vec<(String, String)> {
    let bodies = wire.take_all(TAP).await;
    let read = |body: Vec<u8>| {
        let verdict: Value = serde_json::from_slice(&body).expect("an envelope");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&verdict["message"]["scanId"]), text(&verdict["messageId"]))
    };
    bodies.into_iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_064_live_one_to_fifty_copies_on_two_replicas_are_applied_once() {
    const MANY: usize = 50;
    let world = World::new().await;
    let [mut one, mut other] = [Serving::start(&world, &[]), Serving::start(&world, &[])];
    one.wait_until_ready().await;
    other.wait_until_ready().await;
    let wire = Wire::open(&world).await;
    wire.tap(TAP, SCANNED).await;
    let messages: Vec<Raw> =
        (0..MANY).map(|_| submitted(&id(), &scan("http://clean.test/"))).collect();
    // Message n comes n + 1 times, its copies among those of the others and beside each other.
    let mut all: Vec<usize> = (0..MANY).flat_map(|n| vec![n; n + 1]).collect();
    let sent = all.len();
    for step in [7, 11, 13] {
        all = (0..sent).map(|at| all[(at * step + 5) % sent]).collect();
    }
    for n in &all {
        wire.publish(&messages[*n]).await;
    }
    let mut stored = Stored::open(&world).await;
    until("all are settled", async || {
        let [one, other] = [one.counters().await, other.counters().await];
        let received = one["received"] + other["received"];
        if received >= sent as u64 { Ok(()) } else { Err(format!("{received} of {sent}")) }
    })
    .await;
    stored.all_ended_once(MANY as i64).await;
    let [a, b] = [one.counters().await, other.counters().await];
    println!("{sent} messages: {a:?}\n{b:?}");
    let copies = (sent - MANY) as u64;
    assert_eq!(a["duplicates"] + b["duplicates"], copies, "every copy is known as one");
    assert!(a["received"] > 0 && b["received"] > 0, "both had a part in it");
    let told = verdicts(&wire).await;
    let scans: BTreeSet<_> = told.iter().map(|(scan, _)| scan).collect();
    assert_eq!((told.len(), scans.len()), (MANY, MANY), "one verdict each");
    assert!(one.list("/api/v1/quarantine").await.is_empty());
    wire.close().await;
    assert!(one.stop().await.success() && other.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_065_live_one_scan_under_many_message_ids_is_one_run() {
    let world = World::new().await;
    let serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    wire.tap(TAP, SCANNED).await;
    // The scan's id is what makes it one, whoever sends it again and under whatever message id.
    let (slow, clean) = (scan("http://slow.test/"), scan("http://clean.test/"));
    for _ in 0..20 {
        wire.publish(&submitted(&id(), &slow)).await;
        wire.publish(&submitted(&id(), &clean)).await;
    }
    let mut stored = Stored::open(&world).await;
    stored.all_ended_once(2).await;
    // Also when it has ended long ago.
    wire.publish(&submitted(&id(), &slow)).await;
    until("it is passed over", async || {
        let passed = serving.counters().await["passed_over"];
        if passed == 39 { Ok(()) } else { Err(format!("{passed} of 39")) }
    })
    .await;
    stored.all_ended_once(2).await;
    assert_eq!(verdicts(&wire).await.len(), 2);
    assert!(serving.list("/api/v1/quarantine").await.is_empty());
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// A state that nobody here knows, of an instance that waits.
#[tokio::test(flavor = "multi_thread")]
async fn row_075_live_a_state_of_another_edition_waits_and_says_so() {
    let world = World::new().await;
    let serving = Serving::ready(&world, &[("VIRUSTOTAL_POLL_INTERVAL", "1s")]).await;
    let wire = Wire::open(&world).await;
    let mut stored = Stored::open(&world).await;
    let waiting = scan("http://never.test/");
    let scan_id = waiting["scanId"].as_str().expect("an id");
    wire.publish(&submitted(&id(), &waiting)).await;
    until("it waits for an answer", async || match stored.in_flight().await {
        1 => Ok(()),
        rows => Err(format!("{rows} runs")),
    })
    .await;
    stored.execute("UPDATE knarr.instance SET state = 'Archiving'").await;
    let cancel = json!({ "scanId": scan_id, "reason": "no more" });
    let urn = "urn:message:Knarr.UrlScan:CancelScan";
    let body = crate::wire::envelope_of(&id(), urn, cancel);
    let exchange = "Knarr.UrlScan:CancelScan";
    let raw = Raw { exchange, content_type: MASS_TRANSIT, body, ..Raw::default() };
    wire.publish(&raw).await;
    let waits = "SELECT count(*) FROM knarr.parked WHERE error LIKE '%`Archiving`%'";
    until("the message waits, and says what for", async || match stored.count(waits).await {
        1 => Ok(()),
        rows => Err(format!("{rows} rows")),
    })
    .await;
    // Others are served; nothing is set aside, nothing stops.
    wire.publish(&submitted(&id(), &scan("http://clean.test/"))).await;
    until("the other one ends", async || match stored.states().await.get("Final") {
        Some(1) => Ok(()),
        states => Err(format!("{states:?}")),
    })
    .await;
    assert!(serving.list("/api/v1/quarantine").await.is_empty());
    assert_eq!(serving.list("/api/v1/endpoints").await[0]["state"], "open");
    stored.execute("UPDATE knarr.instance SET state = 'Scanning' WHERE state = 'Archiving'").await;
    stored.all_ended_once(2).await;
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// One field of a table in a table in a table.
fn nested(levels: usize) -> Vec<u8> {
    // From the inside: each level is a table with one field without a name.
    let mut value = Vec::new();
    for _ in 0..levels {
        value = field("", b'F', &long(&value));
    }
    value
}

/// Fields of a header table that clients may send and that nobody expects.
fn absurd_fields() -> Vec<(&'static str, Vec<u8>)> {
    let list = long([&b"S"[..], &long("a"), b"I", &[0xff; 4], b"V"].concat());
    let death = long([&b"F"[..], &long(field("count", b'S', &long("many")))].concat());
    vec![
        ("line breaks in a name", text("a\r\nlevel=ERROR msg=gotcha", "b")),
        ("line breaks in a value", text("tenant", "b\r\n\r\nlevel=ERROR msg=gotcha\u{1b}[2J")),
        ("a name of 255 bytes", text("n".repeat(255), "b")),
        ("no name", text("", "b")),
        ("a name twice", [text("tenant", "a"), text("tenant", "b")].concat()),
        ("a name that is no text", text([0xff, 0xfe, b'x'], "b")),
        ("a value that is no text", text("tenant", [0xff, 0x00, 0xc3])),
        ("100 000 bytes", text("tenant", vec![b'v'; 100_000])),
        ("the year 292 277 026 596", field("since", b'T', &i64::MAX.to_be_bytes())),
        ("an odd decimal", field("price", b'D', &[255, 0xff, 0xff, 0xff, 0xff])),
        ("a list", field("list", b'A', &list)),
        ("2 000 headers", (0..2_000).flat_map(|n| text(format!("h{n}"), "v")).collect()),
        ("a table for a message id", field("MessageId", b'F', &long(text("a", "b")))),
        ("a list for a type", field("MT-MessageType", b'A', &list)),
        ("a table for a count of deliveries", field("x-delivery-count", b'F', &long(""))),
        ("fewer deliveries than none", field("x-delivery-count", b'l', &(-5_i64).to_be_bytes())),
        ("deaths that are none", field("x-death", b'A', &death)),
        ("a trace that is none", text("traceparent", "00-zz-\r\n-01")),
        ("a sequence of ours", text("Knarr-Sequence", "7\r\n8")),
        ("a release of ours", text("Knarr-Release", id())),
        ("20 levels", nested(20)),
        ("200 levels", nested(200)),
        ("2 000 levels", nested(2_000)),
        ("10 000 levels", nested(10_000)),
    ]
}

/// Bits of the property flags.
const CONTENT_TYPE: u16 = 15;
const CORRELATION_ID: u16 = 10;
const REPLY_TO: u16 = 9;
const MESSAGE_ID: u16 = 7;
const KIND: u16 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn row_077_live_absurd_headers_break_nothing_and_hold_up_nobody() {
    let world = World::new().await;
    let serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    let mut octets = Octets::open(&world).await;
    let json = (CONTENT_TYPE, short("application/json"));
    let mut sent = Vec::new();
    for (what, fields) in absurd_fields() {
        let scan = scan("http://clean.test/");
        octets
            .publish(SUBMIT, std::slice::from_ref(&json), &fields, scan.to_string().as_bytes())
            .await;
        sent.push((what, scan));
        println!("sent: {what}");
    }
    for (what, bit, value) in [
        ("a message id of 255 bytes", MESSAGE_ID, "m".repeat(255)),
        ("line breaks in a message id", MESSAGE_ID, "a\r\nb".to_owned()),
        ("a correlation id that is none", CORRELATION_ID, "\u{0}\r\n".to_owned()),
        ("an address that is none", REPLY_TO, "r".repeat(255)),
        ("a kind that nobody knows", KIND, "urn:\r\n".to_owned()),
        ("a content type of 255 bytes", CONTENT_TYPE, "application/j".repeat(19)),
    ] {
        let scan = scan("http://clean.test/");
        let property = (bit, short(value));
        let properties = match bit {
            CONTENT_TYPE => vec![property],
            _ => vec![json.clone(), property],
        };
        octets.publish(SUBMIT, &properties, &[], scan.to_string().as_bytes()).await;
        sent.push((what, scan));
        println!("sent: {what}");
    }
    let mut stored = Stored::open(&world).await;
    // Each was taken for what it is, or set aside with a reason: nothing is lost, nothing waits.
    until("each has come to its end", async || {
        let aside = serving.list("/api/v1/quarantine").await;
        let ended = stored.states().await.get("Final").copied().unwrap_or_default();
        let settled = aside.len() + ended as usize;
        match settled == sent.len() {
            true => Ok(()),
            false => Err(format!("{settled} of {}", sent.len())),
        }
    })
    .await;
    for row in serving.list("/api/v1/quarantine").await {
        let reason = row["reason"].as_str().expect("a reason");
        println!("{}: {reason}", row["class"]);
        assert!(!reason.trim().is_empty() && reason.lines().count() == 1, "{reason:?}");
        let id = row["id"].as_str().expect("an id");
        let _whole = serving.get(&format!("/api/v1/quarantine/{id}")).await;
    }
    assert_eq!(wire.ready(ENDPOINT).await, 0, "the queue is empty");
    let log = serving.log();
    let forged =
        log.lines().find(|line| line.starts_with("level=ERROR") || line.contains('\u{1b}'));
    assert_eq!(forged, None, "a header has written a line of the log");
    let counters = serving.counters().await;
    assert_eq!(counters["lost_leases"], 0, "{counters:?}");
    wire.close().await;
    assert!(serving.stop().await.success());
}
