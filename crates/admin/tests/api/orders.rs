//! Orders over the API: stops and starts, dry runs, keys, and what is refused.

use chrono::{DateTime, Utc};
use knarr_model::NodeId;
use knarr_model::ports::store::{EndpointState, HaltReport};
use reqwest::Method;
use serde_json::json;

use crate::desk::{ADMIN, ANNA, Bench, because, refused};
use crate::doors::told;
use crate::ids::id;
use crate::scans::SCAN;

const HALT: &str = "/api/v1/endpoints/url-scan/halt";
const RESUME: &str = "/api/v1/endpoints/url-scan/resume";
const PAUSE: &str = "/api/v1/endpoints/url-scan/pause";

fn state(bench: &Bench) -> (EndpointState, i64) {
    bench.rows(|rows| {
        let row = &rows.endpoint[SCAN];
        (row.state, row.epoch)
    })
}

#[tokio::test]
async fn s0_12_an_endpoint_is_halted_and_resumed_and_the_audit_knows_by_whom_and_why() {
    let bench = Bench::start().await;
    let halt = bench.request(ANNA, Method::POST, HALT).json(&because("the proxy is down"));
    let (status, done) = told(halt).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["done"], json!(["url-scan is halted at epoch 2"]));
    assert_eq!(state(&bench), (EndpointState::Halted, 2));
    let listed = bench.get("/api/v1/endpoints").await;
    let row = &listed["items"][0];
    assert_eq!(row["state"], "halted");
    assert_eq!(row["stop"]["reason"], "the proxy is down");
    assert_eq!(row["stop"]["by"], "anna");
    assert_eq!(row["stop"]["since"], done["at"]);
    bench.done(RESUME).await;
    assert_eq!(state(&bench), (EndpointState::Open, 2));
    let audit = bench.get("/api/v1/audit?endpoint=url-scan").await;
    let told: Vec<_> = audit["items"].as_array().expect("lines").iter().collect();
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["who"], &told[0]["verb"]), (&json!("admin"), &json!("resume")));
    assert_eq!((&told[1]["who"], &told[1]["verb"]), (&json!("anna"), &json!("halt")));
    assert_eq!(told[1]["reason"], "the proxy is down");
    assert_eq!(told[1]["id"], done["auditId"]);
}

#[tokio::test]
async fn row_085_a_halt_tells_what_each_process_had_in_hand() {
    let bench = Bench::start().await;
    let told = bench.done(&format!("{HALT}?dry_run=true")).await;
    assert_eq!(told["nodes"], json!(null), "nothing was stopped");
    bench.rows(|rows| {
        for (n, report) in [(7, (120, 70, 10)), (8, (0, 0, 0))] {
            let (drained, returned, abandoned) = report;
            let at = DateTime::UNIX_EPOCH;
            let report = HaltReport { epoch: 2, drained, returned, abandoned, at };
            rows.node.insert(NodeId(id(n)), DateTime::<Utc>::MAX_UTC);
            rows.served.insert((SCAN.into(), NodeId(id(n))), Some(report));
        }
        // It serves another endpoint, and this one's lease is past.
        rows.node.insert(NodeId(id(9)), DateTime::<Utc>::MAX_UTC);
        rows.served.insert(("other".into(), NodeId(id(9))), None);
        rows.served.insert((SCAN.into(), NodeId(id(10))), None);
    });
    let done = bench.done(HALT).await;
    let first = json!({
        "node": id(7), "inHand": 200, "drained": 120, "returned": 70, "abandoned": 10,
        "at": "1970-01-01T00:00:00Z",
    });
    assert_eq!((done["nodes"].as_array().map(Vec::len), &done["nodes"][0]), (Some(2), &first));
    let again = bench.done(HALT).await;
    assert_eq!(
        (&again["done"][0], &again["nodes"]),
        (&json!("was halted already"), &done["nodes"])
    );
}

#[tokio::test]
async fn s0_12_a_pause_and_a_careful_resume_keep_the_epoch() {
    let bench = Bench::start().await;
    bench.done(PAUSE).await;
    assert_eq!(state(&bench), (EndpointState::Paused, 1));
    bench.done(RESUME).await;
    bench.done(HALT).await;
    let pause = bench.request(ADMIN, Method::POST, PAUSE);
    refused(&bench, pause, 409, "resume it first").await;
    bench.done(&format!("{RESUME}?probe=true")).await;
    let row = bench.rows(|rows| rows.endpoint[SCAN].clone());
    assert!(row.stop.expect("still stopped").restart_at.is_some(), "a node tries it");
}

#[tokio::test]
async fn guard_a_dry_run_writes_nothing_and_says_what_the_order_then_does() {
    let bench = Bench::start().await;
    let instance = format!("/api/v1/sagas/{SCAN}/instances/{}", id(1));
    for path in [
        PAUSE.to_owned(),
        HALT.to_owned(),
        format!("/api/v1/quarantine/{}/release", id(20)),
        RESUME.to_owned(),
        format!("/api/v1/quarantine/{}/release", id(21)),
        format!("/api/v1/quarantine/{}/unblock", id(22)),
        format!("{instance}/purge"),
        format!("{instance}/resume"),
        format!("{instance}/cancel"),
    ] {
        let before = bench.everything();
        let (status, dry) = bench.order(&format!("{path}?dry_run=true")).await;
        // A pause of what is halted is refused both times; the others are shown.
        assert_eq!(status, 200, "{path}: {dry}");
        assert_eq!(before, bench.everything(), "{path}: a dry run writes nothing");
        assert_eq!((&dry["dryRun"], &dry["auditId"]), (&json!(true), &json!(null)));
        let real = bench.done(&path).await;
        assert_ne!(before, bench.everything(), "{path}");
        assert!(real["auditId"].is_string() && real["dryRun"] == json!(false), "{real}");
        for member in ["done", "verb", "target", "endpoint", "waits", "who"] {
            assert_eq!(dry[member], real[member], "{path}");
        }
    }
}

#[tokio::test]
async fn guard_the_same_key_gives_the_same_answer_and_one_line_of_the_audit() {
    let bench = Bench::start().await;
    let instance = format!("/api/v1/sagas/{SCAN}/instances/{}", id(1));
    for (at, path) in [
        HALT.to_owned(),
        format!("/api/v1/quarantine/{}/release", id(20)),
        format!("{instance}/purge"),
        format!("{instance}/resume"),
        format!("/api/v1/quarantine/{}/unblock", id(21)),
    ]
    .into_iter()
    .enumerate()
    {
        let send = || {
            let request = bench.request(ANNA, Method::POST, &path);
            let request = if path.ends_with("purge") {
                bench.request(ADMIN, Method::POST, &path)
            } else {
                request
            };
            told(request.header("idempotency-key", format!("key-{at}")))
        };
        let (status, mut first) = send().await;
        let lines = bench.audit().len();
        let before = bench.everything();
        let (again, second) = send().await;
        assert_eq!(status, again, "{path}: {second}");
        assert_eq!(second["repeated"], true);
        first["repeated"] = json!(true);
        assert_eq!(first, second, "{path}");
        assert_eq!((before, lines), (bench.everything(), at + 1), "{path}");
    }
}

#[tokio::test]
async fn guard_a_key_of_another_request_or_of_another_person_is_refused() {
    let bench = Bench::start().await;
    let send = |token: &str, path: &str| {
        bench.request(token, Method::POST, path).header("idempotency-key", "k")
    };
    assert_eq!(told(send(ADMIN, HALT)).await.0, 200);
    refused(&bench, send(ADMIN, RESUME), 422, "take a new key").await;
    refused(&bench, send(ANNA, HALT), 422, "by admin").await;
    let release = format!("/api/v1/quarantine/{}/release", id(20));
    refused(&bench, send(ADMIN, &release), 422, "`halt url-scan`").await;
    assert_eq!(bench.audit().len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_404_and_says_where_to_look() {
    let bench = Bench::start().await;
    for (path, words) in [
        ("endpoints/nope/halt".to_owned(), "/api/v1/endpoints"),
        ("endpoints/nope/pause".to_owned(), "/api/v1/endpoints"),
        ("endpoints/nope/resume".to_owned(), "/api/v1/endpoints"),
        (format!("sagas/url-scan/instances/{}/purge", id(99)), "/api/v1/sagas/url-scan/instances"),
        (format!("sagas/url-scan/instances/{}/resume", id(99)), "no instance"),
        (format!("sagas/nope/instances/{}/cancel", id(1)), "no saga"),
        (format!("incidents/{}/retry", id(99)), "/api/v1/incidents"),
        (format!("incidents/{}/resolve", id(99)), "no incident"),
        (format!("incidents/{}/discard", id(99)), "no incident"),
        (format!("quarantine/{}/release", id(99)), "/api/v1/quarantine"),
        (format!("quarantine/{}/unblock", id(99)), "no set-aside message"),
    ] {
        let request = bench.request(ADMIN, Method::POST, &format!("/api/v1/{path}"));
        refused(&bench, request, 404, words).await;
    }
    let discard = bench.request(ADMIN, Method::DELETE, &format!("/api/v1/quarantine/{}", id(99)));
    refused(&bench, discard, 404, "no set-aside message").await;
    let which = json!({ "endpoint": "url-scan", "class": "poison" });
    let bulk = bench.request(ADMIN, Method::POST, "/api/v1/quarantine/release").json(&which);
    refused(&bench, bulk, 404, "held").await;
}

#[tokio::test]
async fn a_wrong_request_is_refused_before_anything_is_looked_at() {
    let bench = Bench::start().await;
    let post = |path: &str| bench.request(ADMIN, Method::POST, path);
    let long = "x".repeat(201);
    for (request, status, words) in [
        (post(HALT).json(&json!({ "why": "x" })), 400, "`why`"),
        (post(HALT).json(&json!({ "reason": 7 })), 400, "string"),
        (post(HALT).json(&because(&"x".repeat(2001))), 400, "2000"),
        (post(HALT).json(&because(&"x".repeat(5000))), 413, "4096"),
        (post(HALT).header("content-type", "text/plain").body("{}"), 415, "application/json"),
        (post(HALT).header("content-type", "application/json").body("{"), 400, "EOF"),
        (post(HALT).header("idempotency-key", long), 400, "200"),
        (post(HALT).header("idempotency-key", ""), 400, "200"),
        (post(&format!("{HALT}?dry_run=maybe")), 400, "dry_run"),
        (post(&format!("{HALT}?probe=true")), 400, "probe"),
        (post("/api/v1/endpoints/%ff/halt"), 400, "percent-encoded"),
        (post("/api/v1/incidents/abc/retry"), 400, "UUID"),
        (post("/api/v1/quarantine/abc/release"), 400, "UUID"),
        (post("/api/v1/sagas/url-scan/instances/abc/purge"), 400, "UUID"),
        (post("/api/v1/quarantine/release").json(&json!({})), 400, "endpoint"),
        (post("/api/v1/quarantine/release"), 415, "application/json"),
    ] {
        refused(&bench, request, status, words).await;
    }
    // A form's header without a body is what `curl -X POST -d ''` sends.
    let form = post(HALT).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(told(form).await.0, 200);
}

#[tokio::test]
async fn a_store_that_is_away_or_keeps_changing_is_503_with_what_to_do() {
    let bench = Bench::start().await;
    bench.keep_changing();
    let body = refused(&bench, bench.request(ADMIN, Method::POST, HALT), 503, "try again").await;
    assert_eq!(body["title"], "Try again later");
    bench.shut();
    let request = bench.request(ADMIN, Method::POST, HALT);
    let response = request.try_clone().expect("no body").send().await.expect("an answer");
    assert!(response.headers().contains_key("retry-after"));
    refused(&bench, request, 503, "same Idempotency-Key").await;
}
