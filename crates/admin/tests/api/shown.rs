//! What is shown: the form of every answer, recorded.

use std::sync::atomic::Ordering;

use crate::doors::{Api, is_as_recorded};
use crate::ids::id;

#[tokio::test]
async fn every_route_answers_in_its_recorded_form() {
    let api = Api::start().await;
    let one = id(1);
    let held = id(20);
    for (name, path) in [
        ("sagas", "/api/v1/sagas".to_owned()),
        ("instances", "/api/v1/sagas/url-scan/instances".to_owned()),
        ("instance", format!("/api/v1/sagas/url-scan/instances/{one}")),
        ("endpoints", "/api/v1/endpoints".to_owned()),
        ("quarantine", "/api/v1/quarantine".to_owned()),
        ("quarantined", format!("/api/v1/quarantine/{held}")),
    ] {
        let (status, body) = api.get(&path).await;
        assert_eq!(status, 200, "{path}: {body}");
        is_as_recorded(name, &body);
    }
}

#[tokio::test]
async fn lists_are_paged_by_what_the_last_page_said() {
    let api = Api::start().await;
    let (_, first) = api.get("/api/v1/sagas/url-scan/instances?limit=1&state=Scanning").await;
    assert_eq!(first["items"][0]["id"], id(1).to_string());
    assert_eq!(first["next"], "two");
    let (_, second) = api.get("/api/v1/sagas/url-scan/instances?limit=1&cursor=two").await;
    assert_eq!(second["items"][0]["id"], id(2).to_string());
    assert!(second["next"].is_null());
    let asked = api.doors.asked.lock().expect("lock").clone();
    assert_eq!(asked, ["url-scan Some(\"Scanning\") 1 -", "url-scan None 1 two"]);
}

#[tokio::test]
async fn filters_of_the_quarantine_reach_the_store() {
    let api = Api::start().await;
    let path = "/api/v1/quarantine?status=released&class=id-conflict&endpoint=url-scan";
    assert_eq!(api.get(path).await.0, 200);
    let asked = api.doors.asked.lock().expect("lock").join("");
    for part in ["Released", "IdConflict", "url-scan"] {
        assert!(asked.contains(part), "{asked}");
    }
}

#[tokio::test]
async fn a_saga_of_another_node_is_shown_from_the_store() {
    let api = Api::start().await;
    assert_eq!(api.get("/api/v1/sagas/elsewhere/instances").await.0, 200);
}

#[tokio::test]
async fn a_broker_that_is_away_hides_only_the_depth() {
    let api = Api::start().await;
    api.doors.broker_away.store(true, Ordering::Relaxed);
    let (status, body) = api.get("/api/v1/endpoints").await;
    assert_eq!(status, 200);
    let endpoint = &body["items"][0];
    assert!(endpoint["depth"].is_null() && endpoint["consumers"].is_null());
    assert_eq!(endpoint["state"], "halted");
    assert!(endpoint["problem"].as_str().is_some_and(|why| why.contains("refused")), "{body}");
}

#[tokio::test]
async fn health_and_metrics_want_no_token() {
    let api = Api::start().await;
    let get = reqwest::Method::GET;
    let text = |path: &'static str| {
        let request = api.bare(get.clone(), path);
        async move {
            let response = request.send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("text"))
        }
    };
    assert_eq!(text("/health/live").await.0, 200);
    assert_eq!(text("/health/ready").await.0, 200);
    let metrics = text("/metrics").await;
    assert_eq!(metrics.0, 200);
    assert!(metrics.1.contains("# TYPE knarr_applied_total counter\nknarr_applied_total 41\n"));
    *api.doors.unready.lock().expect("lock") = vec!["broker: away".to_owned()];
    let ready = text("/health/ready").await;
    assert_eq!(ready.0, 503);
    assert!(ready.1.contains("broker: away"), "{}", ready.1);
    assert_eq!(text("/health/live").await.0, 200);
}
