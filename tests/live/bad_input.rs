//! Messages that cannot be used: each is set aside once with its reason, and the queue flows on.

use std::process::Stdio;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::script::Submission;
use crate::serving::{Serving, TOKEN, knarr};
use crate::stored::Stored;
use crate::wire::{ENDPOINT, MASS_TRANSIT, Raw, SUBMIT, Wire, envelope, envelope_of};
use crate::world::{World, until};

/// A bad message, the class it must be set aside under, and what the reason must tell.
struct Bad {
    what: &'static str,
    raw: Raw,
    class: &'static str,
    told: &'static str,
}

fn submit(content_type: &'static str, body: impl Into<Vec<u8>>) -> Raw {
    Raw { exchange: SUBMIT, content_type, body: body.into(), ..Raw::default() }
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

/// An envelope around a message of ours that does not fit its type.
fn misfit(message: Value) -> Raw {
    submit(MASS_TRANSIT, envelope(&id(), message))
}

/// Levels that no message has.
const DEEP: usize = 200_000;

/// A type's name that fits into a header and on no screen.
const LONG_TYPE: &str = {
    static LETTERS: [u8; 60_000] = [b'a'; 60_000];
    match std::str::from_utf8(&LETTERS) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
};

/// Raw JSON of a scan whose other members are written by hand.
fn misfit_text(members: &str) -> Raw {
    submit("application/json", format!(r#"{{"scanId": "{}", {members}}}"#, id()))
}

fn good(url: &str) -> Value {
    json!({ "scanId": id(), "url": url })
}

#[rustfmt::skip]
fn bad_messages() -> Vec<Bad> {
    let bad = |what, raw, class, told| Bad { what, raw, class, told };
    let url = "http://clean.test/";
    let straight = |content_type, headers: &[_], body| Raw {
        routing_key: ENDPOINT, content_type, headers: headers.to_vec(), body, ..Raw::default()
    };
    let plain = || good(url).to_string().into_bytes();
    let other = "urn:message:Shop.Contracts:OrderSubmitted";
    let ours = "urn:message:Knarr.Internal:TimerFired";
    vec![
        bad("no JSON", submit(MASS_TRANSIT, "this is no JSON"), "undecodable", "not JSON"),
        bad("no JSON, raw", submit("application/json", "<url>http://clean.test</url>"), "undecodable", "not JSON"),
        bad("an empty body", submit(MASS_TRANSIT, ""), "undecodable", "empty"),
        bad("an empty raw body", submit("application/json", ""), "undecodable", "empty"),
        bad("no text", submit("application/json", [0xff, 0xfe, 0x00, 0x9f]), "undecodable", "UTF-8"),
        bad("a list for an envelope", submit(MASS_TRANSIT, "[1, 2]"), "undecodable", "must be an object"),
        bad("a number for a message", submit("application/json", "7"), "bad-message", "must be a JSON object"),
        bad("no message", submit(MASS_TRANSIT, json!({ "messageId": id(), "messageType": [format!("urn:message:{SUBMIT}")] }).to_string()), "bad-message", "message"),
        bad("another content type", submit("application/xml", "<a/>"), "undecodable", "application/xml"),
        bad("a message id that is no GUID", submit(MASS_TRANSIT, envelope("seventeen", good(url))), "undecodable", "seventeen"),
        bad("a number for a URL", misfit(json!({ "scanId": id(), "url": 7 })), "bad-message", "url"),
        bad("null for a URL", misfit(json!({ "scanId": id(), "url": null })), "bad-message", "url"),
        bad("no URL", misfit(json!({ "scanId": id() })), "bad-message", "url"),
        bad("no scan", misfit(json!({ "url": url })), "bad-message", "scan"),
        bad("a scan that is no UUID", misfit(json!({ "scanId": "seven", "url": url })), "bad-message", "scan"),
        bad("a scan that is a number", misfit(json!({ "scanId": 7, "url": url })), "bad-message", "scan"),
        bad("a URL that is too long", misfit(good(&format!("{url}{}", "a".repeat(8_192)))), "bad-message", "longer than 8192"),
        bad("a line break in a URL", misfit(good("http://clean.test/\nx")), "bad-message", "control characters"),
        bad("another type", Raw { body: envelope_of(&id(), other, good(url)), ..straight(MASS_TRANSIT, &[], Vec::new()) }, "unknown-type", "OrderSubmitted"),
        bad("a raw message of another type", straight("application/json", &[("MT-MessageType", other)], plain()), "unknown-type", "OrderSubmitted"),
        bad("a type of our own", straight("application/json", &[("MT-MessageType", ours)], plain()), "unknown-type", "TimerFired"),
        // Row 70: what looks like JSON and is none, or says two things at once.
        bad("no number", misfit_text(r#""url": NaN"#), "undecodable", "not JSON"),
        bad("a number that no machine has", misfit_text(r#""url": 1e999"#), "undecodable", "number out of range"),
        bad("2^63 for a URL", misfit_text(r#""url": 9223372036854775808"#), "bad-message", "url"),
        bad("half a character", misfit_text(r#""url": "\ud800""#), "undecodable", "escape"),
        bad("a member twice", misfit_text(r#""url": "http://clean.test/", "url": "http://clean.test/2""#), "bad-message", "duplicate"),
        bad("junk behind the end", submit("application/json", format!("{} }}", good(url))), "undecodable", "trailing"),
        bad("half a message", submit("application/json", good(url).to_string().split_at(40).0), "undecodable", "EOF"),
        bad("UTF-16", submit("application/json", good(url).to_string().encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()), "undecodable", "not JSON"),
        // Row 71: a reader that follows every level would exhaust its stack.
        bad("200 000 levels of lists", misfit_text(&format!(r#""url": {}{}"#, "[".repeat(DEEP), "]".repeat(DEEP))), "undecodable", "nested deeper than 127 levels"),
        bad("200 000 levels of objects", submit(MASS_TRANSIT, format!("{}1{}", r#"{"message":"#.repeat(DEEP), "}".repeat(DEEP))), "undecodable", "nested deeper than 127 levels"),
        bad("200 000 open brackets", submit("application/json", "[".repeat(DEEP)), "bad-message", "not a list"),
        // Row 72: nothing is ever unpacked.
        bad("a packed body", Raw { content_encoding: "gzip", ..submit("application/json", [&[0x1f, 0x8b, 0x08, 0x00][..], &[0; 64]].concat()) }, "undecodable", "encoded bodies are not read here"),
        bad("a body that is packed for all one knows", Raw { content_encoding: "br", ..submit(MASS_TRANSIT, "packed") }, "undecodable", "\"br\""),
        // Row 73: types that nobody takes, or that lead astray.
        bad("a type with line breaks", straight("application/json", &[("MT-MessageType", "urn:message:A\r\nlevel=ERROR:B")], plain()), "unknown-type", "level=ERROR"),
        bad("a type of 60 000 letters", straight("application/json", &[("MT-MessageType", LONG_TYPE)], plain()), "unknown-type", "aaaa"),
        bad("a number for a type", submit(MASS_TRANSIT, json!({ "messageId": id(), "messageType": 7, "message": good(url) }).to_string()), "undecodable", "messageType"),
        bad("a message of another type under our exchange", submit(MASS_TRANSIT, envelope_of(&id(), "urn:message:Shop:Cancelled", json!({ "scanId": id(), "reason": 7 }))), "unknown-type", "Shop:Cancelled"),
        bad("a raw message without a type", straight("application/json", &[], plain()), "untyped", "MT-MessageType"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_17_row_070_row_071_row_072_row_073_live_bad_input_is_set_aside_and_the_queue_flows_on()
{
    let world = World::new().await;
    let serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    let bad = bad_messages();
    for message in &bad {
        wire.publish(&message.raw).await;
        // A second copy of the same bytes is the same message, set aside once.
        wire.publish(&message.raw).await;
    }
    let rows = set_aside(&serving, bad.len()).await;
    let mut wrong = Vec::new();
    for message in &bad {
        let mine: Vec<_> = rows.iter().filter(|row| is_about(row, &message.raw)).collect();
        let said: Vec<_> = mine.iter().map(|row| (&row["class"], &row["reason"])).collect();
        let fits = mine.len() == 1
            && mine[0]["class"] == message.class
            && mine[0]["reason"].as_str().is_some_and(|reason| reason.contains(message.told));
        if !fits {
            let Bad { what, class, told, .. } = message;
            wrong.push(format!("{what}: expected {class} (`…{told}…`), found {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for row in &rows {
        assert_eq!((&row["endpoint"], &row["status"]), (&json!(ENDPOINT), &json!("held")), "{row}");
        let reason = row["reason"].as_str().expect("a reason");
        println!("{}: {reason}", row["class"]);
        assert!(!reason.trim().is_empty() && reason.lines().count() == 1, "{reason:?}");
        assert!(reason.len() < 3_000, "nobody reads {} bytes: {:.200}", reason.len(), reason);
        // The same is said where people ask for it.
        let said = said_of(&world, &serving, row).await;
        assert!(said.contains(reason), "`quarantine show` does not say {reason:?}:\n{said}");
    }
    let counted: u64 = {
        let counters = serving.counters().await;
        println!("{counters:?}");
        counters["quarantined"]
    };
    assert_eq!(counted, bad.len() as u64, "each is counted");
    assert_eq!(wire.ready(ENDPOINT).await, 0, "the queue is empty");
    // What is odd and can be read all the same is no bad message.
    let url = "http://clean.test/";
    let odd: [Raw; 4] = [
        submit("application/json", format!("\u{feff}{}", good(url))),
        submit("text/plain; charset=utf-8", good(url).to_string()),
        Raw { content_encoding: "gzip", ..submit("application/json", good(url).to_string()) },
        misfit_text(
            r#""url": "http://clean.test/", "\u0000": [9223372036854775808, -0.0, 1e-999]"#,
        ),
    ];
    for raw in &odd {
        wire.publish(raw).await;
    }
    // What comes behind all this gets its verdict.
    Submission::start(&world, &["--count", "20", "--no-copies"]).content(20).await;
    assert_eq!(set_aside(&serving, bad.len()).await.len(), bad.len(), "nothing more was set aside");
    Stored::open(&world).await.all_ended_once(20 + odd.len() as i64).await;
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// What `knarr quarantine show` says of a row.
async fn said_of(world: &World, serving: &Serving, row: &Value) -> String {
    let mut command = knarr(world, "quarantine", world.folder());
    command.args(["show", row["id"].as_str().expect("an id")]);
    command.env("KNARR_SERVER", serving.url().expect("it listens")).env("KNARR_TOKEN", TOKEN);
    let output = command.stdout(Stdio::piped()).output().await.expect("it runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_17_row_066_live_one_message_id_with_two_contents_is_a_conflict() {
    let world = World::new().await;
    let serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    let (message_id, first) = (id(), good("http://clean.test/1"));
    // The same scan, so that both travel on one lane, one behind the other.
    let mut second = first.clone();
    second["url"] = json!("http://clean.test/2");
    for message in [&first, &first, &second, &first, &second] {
        wire.publish(&submit(MASS_TRANSIT, envelope(&message_id, message.clone()))).await;
    }
    let rows = set_aside(&serving, 1).await;
    assert_eq!(rows[0]["class"], "id-conflict", "{rows:?}");
    assert_eq!(rows[0]["messageId"], json!(message_id));
    let body = rows[0]["body"].as_str().expect("a body");
    assert!(body.contains("http://clean.test/2"), "the second was set aside: {:#}", rows[0]);
    // The first is a scan like any other; its copies and the conflict have changed nothing.
    let mut stored = Stored::open(&world).await;
    stored.all_ended_once(1).await;
    let scan = first["scanId"].as_str().expect("an id");
    let shown = serving.get(&format!("/api/v1/sagas/url-scan/instances/{scan}")).await;
    assert_eq!(shown["state"], "Final", "{shown:#}");
    wire.close().await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_12_s0_13_s0_14_s0_15_row_093_live_a_failed_run_is_contained_and_never_comes_back() {
    let world = World::new().await;
    let serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    let scan = good("http://refused.test/both");
    let raw = submit(MASS_TRANSIT, envelope(&id(), scan.clone()));
    wire.publish(&raw).await;
    let rows = set_aside(&serving, 1).await;
    println!("{}", rows[0]["reason"]);
    assert_eq!(rows[0]["class"], "failed", "{rows:?}");
    assert_eq!(rows[0]["instance"], scan["scanId"], "{rows:?}");
    let reason = rows[0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("VirusTotal") && reason.contains("Safe Browsing"), "{reason}");
    let asked = world.sandbox.requests().len();
    let halted = until("the endpoint is halted", async || {
        let row = serving.list("/api/v1/endpoints").await.remove(0);
        if row["state"] == "halted" { Ok(row) } else { Err(row.to_string()) }
    })
    .await;
    assert_eq!(halted["stop"]["incident"], rows[0]["incident"], "{halted:#}");
    let mut stored = Stored::open(&world).await;
    let findings = "SELECT count(*) FROM knarr.scan_findings";
    assert_eq!(stored.count(findings).await, 0, "what the run wrote is removed");
    // Delivered once more, as it was, under another id, and by a shovel from a queue of dead letters,
    // it restarts nothing once the queue flows.
    wire.publish(&raw).await;
    wire.publish(&submit(MASS_TRANSIT, envelope(&id(), scan.clone()))).await;
    let letter = [("MT-Reason", "fault"), ("MT-Fault-Message", "both services refuse it")];
    let shovelled = Raw { exchange: "", routing_key: ENDPOINT, headers: letter.to_vec(), ..raw };
    wire.publish(&shovelled).await;
    serving.order("/api/v1/endpoints/url-scan/resume").await;
    Submission::start(&world, &["--count", "10", "--mix", "clean"]).content(10).await;
    assert_eq!(set_aside(&serving, 1).await.len(), 1);
    let about = |request: &knarr_sandbox::Request| {
        request.about.as_deref().is_some_and(|url| url.contains("refused.test"))
    };
    let since = world.sandbox.requests().into_iter().skip(asked).filter(about).count();
    assert_eq!(since, 0, "nobody is asked about it any more");
    for table in ["outbox", "timer", "activity", "parked"] {
        let left = format!("SELECT count(*) FROM knarr.{table}");
        until(&left, async || match stored.count(&left).await {
            0 => Ok(()),
            rows => Err(format!("{rows} rows")),
        })
        .await;
    }
    assert_eq!(wire.ready(ENDPOINT).await, 0, "the queue is empty");
    // Until it is released, once: it asks both services again, and is refused again.
    let release = format!("/api/v1/quarantine/{}/release", rows[0]["id"].as_str().expect("an id"));
    serving.order(&release).await;
    // The list shows what is held: the released one has left it, its successor is there.
    until("it is set aside again", async || {
        let listed = serving.list("/api/v1/quarantine").await;
        let other = listed.iter().any(|row| row["id"] != rows[0]["id"]);
        if other { Ok(()) } else { Err(format!("{listed:?}")) }
    })
    .await;
    let again = set_aside(&serving, 1).await;
    let all = world.sandbox.requests();
    let first = all[..asked].iter().filter(|request| about(request)).count();
    let second = all[asked..].iter().filter(|request| about(request)).count();
    assert!(first > 0 && second == first, "{first} requests of run 1, {second} of run 2");
    assert_eq!((again.len(), &again[0]["run"]), (1, &json!(2)), "{again:#?}");
    let (status, problem) = serving.try_order(&release).await;
    assert_eq!(status, 409, "{problem}");
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// Everything set aside, with bodies, once there are so many.
async fn set_aside(serving: &Serving, many: usize) -> Vec<Value> {
    let listed = until("all are set aside", async || {
        let rows = serving.list("/api/v1/quarantine").await;
        let reasons: Vec<_> = rows.iter().map(|row| &row["reason"]).collect();
        let few = || format!("{} of {many}: {reasons:#?}", rows.len());
        if rows.len() >= many { Ok(rows.clone()) } else { Err(few()) }
    })
    .await;
    let mut rows = Vec::new();
    for row in listed {
        let id = row["id"].as_str().expect("an id");
        rows.push(serving.get(&format!("/api/v1/quarantine/{id}")).await);
    }
    rows
}

/// Whether a row is about this message: it has its bytes.
fn is_about(row: &Value, raw: &Raw) -> bool {
    let headers = &row["headers"];
    let text = String::from_utf8_lossy(&raw.body);
    row["body"].as_str() == Some(&*text)
        && row["contentType"].as_str().unwrap_or_default() == raw.content_type
        && raw.headers.iter().all(|(name, value)| headers[name].as_str() == Some(*value))
        && (raw.headers.is_empty() == headers["MT-MessageType"].is_null())
}
