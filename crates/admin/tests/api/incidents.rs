//! Incidents over the API: what is shown of them, and how they end.

use knarr_model::incident::IncidentStatus;
use knarr_model::instance::PURGED;
use reqwest::Method;
use serde_json::json;

use crate::desk::{ADMIN, ANNA, Bench, refused};
use crate::doors::{is_as_recorded, told};
use crate::ids::id;
use crate::scans::SCAN;

fn instance(verb: &str) -> String {
    format!("/api/v1/sagas/{SCAN}/instances/{}/{verb}", id(1))
}

fn state(bench: &Bench) -> (String, u32, i64) {
    bench.rows(|rows| {
        let row = rows.instance.values().next().expect("one");
        (row.instance.state.clone(), row.instance.run, row.instance.version)
    })
}

#[tokio::test]
async fn guard_a_purged_run_is_shown_with_what_is_kept_and_what_to_type_next() {
    let bench = Bench::start().await;
    let purge = bench.request(ADMIN, Method::POST, &instance("purge"));
    let (status, done) = told(purge.json(&json!({ "reason": "a wrong URL" }))).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(state(&bench), (PURGED.to_owned(), 1, 4));
    assert!(bench.rows(|rows| rows.timer.is_empty()), "its timer went with it");
    let incident = done["incident"]["id"].as_str().expect("opened").to_owned();
    let shown = bench.get(&format!("/api/v1/incidents/{incident}")).await;
    is_as_recorded("incident", &shown);
    let listed = bench.get("/api/v1/incidents?status=open&class=purged&endpoint=url-scan").await;
    is_as_recorded("incidents", &listed);
    for other in ["status=resolved", "class=failed", "endpoint=other"] {
        let none = bench.get(&format!("/api/v1/incidents?{other}")).await;
        assert_eq!(none["items"], json!([]), "{other}");
    }
    is_as_recorded("done", &done);
    is_as_recorded("audit", &bench.get("/api/v1/audit").await);
}

#[tokio::test]
async fn guard_a_retry_brings_the_run_back_once() {
    let bench = Bench::start().await;
    let incident = bench.purged().await;
    let retry = format!("/api/v1/incidents/{incident}/retry");
    let (status, done) = told(bench.request(ANNA, Method::POST, &retry)).await;
    assert_eq!((status, &done["incident"]["status"]), (200, &json!("retried")));
    assert_eq!(done["incident"]["closedBy"], "anna");
    assert_eq!(state(&bench), ("Scanning".to_owned(), 1, 5));
    assert_eq!(bench.rows(|rows| rows.timer.len()), 1, "its timer is back");
    for verb in ["retry", "resolve", "discard"] {
        let path = format!("/api/v1/incidents/{incident}/{verb}");
        refused(&bench, bench.request(ADMIN, Method::POST, &path), 409, "retried by anna").await;
    }
    let shown = bench.get(&format!("/api/v1/incidents/{incident}")).await;
    assert!(shown["keeps"].is_null(), "what was kept is back where it was");
}

#[tokio::test]
async fn guard_a_retry_waits_for_its_halted_endpoint_and_says_so() {
    let bench = Bench::start().await;
    let incident = bench.purged().await;
    bench.done("/api/v1/endpoints/url-scan/halt").await;
    let (status, done) = bench.order(&format!("/api/v1/incidents/{incident}/retry")).await;
    assert_eq!((status, &done["waits"]), (202, &json!(true)));
    assert!(done["done"].to_string().contains("when url-scan is resumed"), "{done}");
}

#[tokio::test]
async fn guard_an_incident_is_resolved_and_then_discarded() {
    let bench = Bench::start().await;
    let incident = bench.purged().await;
    bench.done(&format!("/api/v1/incidents/{incident}/resolve")).await;
    let shown = bench.get(&format!("/api/v1/incidents/{incident}")).await;
    assert_eq!((&shown["status"], shown["keeps"].is_object()), (&json!("resolved"), true));
    let ways = shown["next"].as_array().expect("a list");
    assert!(ways.iter().any(|way| way["command"] == format!("incidents discard {incident}")));
    assert!(!shown["next"].to_string().contains("retry"), "a resolved loss is accepted");
    bench.done(&format!("/api/v1/incidents/{incident}/discard")).await;
    let statuses = bench.rows(|rows| {
        let statuses: Vec<_> = rows.incident.values().map(|row| row.status).collect();
        (statuses, rows.snapshot.len())
    });
    assert_eq!(statuses, (vec![IncidentStatus::Discarded], 0));
    assert_eq!(state(&bench).0, PURGED, "the tombstone stays");
}

#[tokio::test]
async fn guard_a_cancelled_run_is_resumed_by_its_instance() {
    let bench = Bench::start().await;
    refused(&bench, bench.request(ANNA, Method::POST, &instance("resume")), 409, "not held").await;
    let (status, _) = told(bench.request(ANNA, Method::POST, &instance("cancel"))).await;
    assert_eq!((status, state(&bench).0.as_str()), (200, PURGED));
    let again = bench.request(ADMIN, Method::POST, &instance("purge"));
    refused(&bench, again, 409, "has ended already").await;
    assert_eq!(told(bench.request(ANNA, Method::POST, &instance("resume"))).await.0, 200);
    assert_eq!(state(&bench), ("Scanning".to_owned(), 1, 5));
}

#[tokio::test]
async fn guard_a_resume_sent_again_gets_its_first_answer_even_when_the_run_was_purged_since() {
    let bench = Bench::start().await;
    let first = bench.purged().await;
    let send = || {
        told(bench.request(ANNA, Method::POST, &instance("resume")).header("idempotency-key", "k"))
    };
    let (status, done) = send().await;
    assert_eq!((status, &done["incident"]["id"]), (200, &json!(first)));
    let second = bench.purged().await;
    assert_ne!(first, second);
    let before = bench.everything();
    let (status, again) = send().await;
    assert_eq!((status, &again["repeated"]), (200, &json!(true)));
    assert_eq!((&again["auditId"], &again["incident"]["id"]), (&done["auditId"], &json!(first)));
    assert_eq!(before, bench.everything());
}
