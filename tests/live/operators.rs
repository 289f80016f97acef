//! Two operators at once: whatever they ask for, it ends in one order of events and a whole store.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{MASS_TRANSIT, Raw, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// Calls where `KNARR_TEST_ORDERS` does not say how many.
const ORDERS: usize = 200;
/// `printf %s <token> | sha256sum` of each.
const TOKENS: &str = "\
anna  operate bdc13163c5bc049b96d0cc89366df73e32a068fe8810290699e2a0360b7884ec
boris admin   02f4f01619184581b01d1d12020ddba360ba6b16da08cdccdedf9b4bc3a9649f
";
const PEOPLE: [(&str, &str); 2] =
    [("anna", "anna-is-on-call-tonight"), ("boris", "otto-only-looks-at-it")];

/// One call: by whom, what, and what came back.
struct Called {
    who: &'static str,
    verb: &'static str,
    target: String,
    status: u16,
    answer: Value,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_088_live_two_operators_end_in_one_linear_audit_and_a_whole_store() {
    let given = std::env::var("KNARR_TEST_ORDERS").ok().and_then(|text| text.parse().ok());
    let orders: usize = given.unwrap_or(ORDERS);
    // Two orders for each run and each set-aside message: the second one comes too late.
    let each = orders / 8;
    let world = World::new().await;
    let file = world.folder().join("tokens");
    std::fs::write(&file, TOKENS).expect("our own folder");
    let serving = Serving::ready(&world, &[("KNARR_TOKENS", file.to_str().expect("text"))]).await;
    let wire = Wire::open(&world).await;
    let runs = start_runs(&wire, &serving, each).await;
    let held = set_aside(&wire, &serving, each).await;

    let mut calls = Vec::new();
    for n in 0..each {
        for (who, token) in PEOPLE {
            let purge = format!("/api/v1/sagas/url-scan/instances/{}/purge", runs[n]);
            // Removing for good wants a larger role than Anna's: she cancels.
            let purge = if who == "anna" { purge.replace("/purge", "/cancel") } else { purge };
            for (verb, path, target) in [
                ("halt", "/api/v1/endpoints/url-scan/halt".to_owned(), String::new()),
                ("purge", purge, runs[n].clone()),
                ("resume", "/api/v1/endpoints/url-scan/resume".to_owned(), String::new()),
                ("release", format!("/api/v1/quarantine/{}/release", held[n]), held[n].clone()),
            ] {
                let url = serving.url().expect("it listens");
                calls.push(call(who, token, verb, target, format!("{url}{path}")));
            }
        }
    }
    assert_eq!(calls.len(), each * 8);
    // In a long run too, so many are under way at any time.
    let done: Vec<_> = futures_util::stream::iter(calls).buffer_unordered(ORDERS).collect().await;
    let done_here = done.len();
    check_answers(&done, each);
    check_audit(&serving, &done).await;
    println!("{done_here} orders: {:?}", statuses(&done));

    // Whoever was last: now it flows, and everything that was let go is decided once.
    serving.order("/api/v1/endpoints/url-scan/resume").await;
    let mut stored = Stored::open(&world).await;
    until("everything that was let go is decided", async || {
        let left = stored.count("SELECT count(*) FROM knarr.parked").await;
        if left == 0 { Ok(()) } else { Err(format!("{left} wait")) }
    })
    .await;
    let each = i64::try_from(each).expect("a small number");
    for (what, wanted, sql) in [
        ("tombstones", each, "SELECT count(*) FROM knarr.instance WHERE state = 'Purged'"),
        (
            "incidents of purges",
            each,
            "SELECT count(*) FROM knarr.incident WHERE class IN ('purged', 'cancelled')",
        ),
        ("released", each, "SELECT count(*) FROM knarr.quarantine WHERE status = 'released'"),
        (
            "lines that are no order's",
            0,
            "SELECT count(*) FROM knarr.audit WHERE detail::json ->> 'who' = ''",
        ),
    ] {
        assert_eq!(stored.count(sql).await, wanted, "{what}");
    }
    let twice = "SELECT count(*) FROM (SELECT instance, run, seq FROM knarr.journal \
                 WHERE outcome = 'applied' GROUP BY instance, run, seq HAVING count(*) > 1) twice";
    assert_eq!(stored.count(twice).await, 0, "no step is taken twice");
    wire.close().await;
    assert!(serving.stop().await.success());
}

async fn call(
    who: &'static str,
    token: &'static str,
    verb: &'static str,
    target: String,
    url: String,
) -> Called {
    // Each call over a connection of its own: nothing lines them up on the way.
    let client = Client::builder().no_proxy().build().expect("a client");
    let sent = client.post(url).bearer_auth(token).send().await.expect("it is answered");
    let status = sent.status().as_u16();
    let answer = sent.json().await.expect("JSON");
    Called { who, verb, target, status, answer }
}

/// Runs that wait, by their ids.
async fn start_runs(wire: &Wire, serving: &Serving, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|_| Uuid::now_v7().to_string()).collect();
    for id in &ids {
        publish(wire, json!({ "scanId": id, "url": "http://never.test/" })).await;
    }
    until("the runs wait", async || {
        let all = serving.list("/api/v1/sagas/url-scan/instances").await;
        let wait = all.iter().filter(|row| row["state"] == "Scanning").count();
        if wait == count { Ok(()) } else { Err(format!("{wait} of {count}")) }
    })
    .await;
    ids
}

/// Set-aside messages that their endpoint would take, by the ids of their rows: what cannot be read
/// was mended.
async fn set_aside(wire: &Wire, serving: &Serving, count: usize) -> Vec<String> {
    for _ in 0..count {
        publish(wire, json!({ "scanId": Uuid::now_v7(), "url": 7 })).await;
    }
    until("they are set aside", async || match serving.list("/api/v1/quarantine").await.len() {
        held if held == count => Ok(()),
        held => Err(format!("{held} of {count}")),
    })
    .await;
    let rows = serving.list("/api/v1/quarantine").await;
    let mut ids = Vec::new();
    for row in rows {
        let id = row["id"].as_str().expect("an id").to_owned();
        let shown = serving.get(&format!("/api/v1/quarantine/{id}")).await;
        let mut body: Value =
            serde_json::from_str(shown["body"].as_str().expect("a body")).expect("an envelope");
        body["message"]["url"] = json!("http://never.test/");
        serving.put(&format!("/api/v1/quarantine/{id}/message"), &json!({ "body": body })).await;
        ids.push(id);
    }
    ids
}

async fn publish(wire: &Wire, message: Value) {
    let body = envelope(&Uuid::now_v7().to_string(), message);
    let raw = Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() };
    wire.publish(&raw).await;
}

fn statuses(done: &[Called]) -> BTreeMap<(&'static str, u16), usize> {
    let mut counts = BTreeMap::new();
    for call in done {
        *counts.entry((call.verb, call.status)).or_default() += 1;
    }
    counts
}

/// Stops and goes always work; of two orders for one run, or one message, exactly one does.
fn check_answers(done: &[Called], each: usize) {
    let worked = |call: &&Called| matches!(call.status, 200 | 202);
    for call in done {
        let fits = match call.verb {
            "halt" | "resume" => call.status == 200,
            _ => matches!(call.status, 200 | 202 | 409),
        };
        assert!(fits, "{} {}: {} {:#}", call.verb, call.target, call.status, call.answer);
    }
    for verb in ["purge", "release"] {
        let of: Vec<_> = done.iter().filter(|call| call.verb == verb).filter(worked).collect();
        let targets: BTreeSet<_> = of.iter().map(|call| &call.target).collect();
        assert_eq!((of.len(), targets.len()), (each, each), "{verb}: each once");
    }
}

/// Every order that was carried out is one line under its own name, and the lines, oldest first,
/// tell one history: each says how the endpoint stood after the one before.
async fn check_audit(serving: &Serving, done: &[Called]) {
    let mut lines = serving.list("/api/v1/audit").await;
    lines.reverse();
    let id = |line: &Value, name: &str| line[name].as_str().expect("an id").to_owned();
    let by_id: BTreeMap<String, &Value> = lines.iter().map(|line| (id(line, "id"), line)).collect();
    assert_eq!(by_id.len(), lines.len(), "no line stands twice");
    let carried_out: Vec<_> = done.iter().filter(|call| call.status < 300).collect();
    for call in &carried_out {
        let line = by_id[&id(&call.answer, "auditId")];
        let verb = if call.answer["verb"] == "cancel" { "purge" } else { call.verb };
        assert_eq!((line["who"].as_str(), verb), (Some(call.who), call.verb), "{line:#}");
    }
    let of_people = |line: &&Value| PEOPLE.iter().any(|(who, _)| line["who"] == *who);
    assert_eq!(lines.iter().filter(of_people).count(), carried_out.len());

    let (mut halted, mut epoch) = (false, 1);
    for line in lines.iter().filter(of_people) {
        let told = line["done"][0].as_str().expect("a sentence");
        match (line["verb"].as_str(), halted) {
            (Some("halt"), false) => {
                epoch += 1;
                assert_eq!(told, format!("url-scan is halted at epoch {epoch}"));
                halted = true;
            }
            (Some("halt"), true) => assert_eq!(told, "was halted already"),
            (Some("resume"), true) => {
                assert_eq!(told, format!("url-scan is open at epoch {epoch}"));
                halted = false;
            }
            (Some("resume"), false) => assert_eq!(told, "was open already"),
            (Some("release"), halted) => assert_eq!(line["waits"], halted, "{line:#}"),
            _ => {}
        }
    }
    let endpoints = serving.list("/api/v1/endpoints").await;
    let state = if halted { "halted" } else { "open" };
    assert_eq!(endpoints[0]["state"], state, "the last line is how it stands");
    assert_eq!(endpoints[0]["epoch"], epoch);
}
