//! Scans from submission to verdict, to quarantine, to cancellation, and across a restart.

use std::collections::BTreeMap;

use knarr_url_scan::Verdict;
use serde_json::json;

use crate::house::{House, app, sandbox};

#[tokio::test]
async fn s0_05_s0_07_s0_08_every_scan_that_is_submitted_gets_the_right_verdict_once() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let mut house = House::open(app(folder.path(), &sandbox)).await.expect("it starts");
    let mut expected = BTreeMap::new();
    for (url, verdict) in [
        ("https://clean.test/", Verdict::Clean),
        ("https://malicious.test/", Verdict::Malicious),
        ("https://suspicious.test/", Verdict::Suspicious),
        ("https://unknown.test/", Verdict::Clean),
        ("https://slow.test/", Verdict::Clean),
        ("https://boom.test/", Verdict::Clean),
        ("https://clean.test/again", Verdict::Clean),
    ] {
        expected.insert(house.submit(url).await, verdict);
    }
    let mut seen = BTreeMap::new();
    for _ in 0..expected.len() {
        let scanned = house.verdict().await;
        let twice = seen.insert(scanned.scan_id, scanned.verdict);
        assert_eq!(twice, None, "{scanned:?}");
    }
    assert_eq!(seen, expected);
    let path = "/api/v1/sagas/url-scan/instances?state=Final";
    let body = house.until(path, |body| body["items"].as_array().map_or(0, Vec::len) == 7).await;
    assert!(body["next"].is_null());
    let asked: Vec<_> = sandbox.requests().into_iter().map(|request| request.path).collect();
    assert!(asked.iter().any(|path| path.starts_with("/api/v3/urls")), "VirusTotal was asked");
    assert!(asked.iter().any(|path| path.starts_with("/v5/hashes")), "Safe Browsing was asked");
    house.close().await;
}

#[tokio::test]
async fn s0_15_a_scan_without_any_answer_is_set_aside_with_all_that_a_person_needs() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let house = House::open(app(folder.path(), &sandbox)).await.expect("it starts");
    let id = house.submit("https://refused.test/").await;
    house.send("Knarr.UrlScan:SubmitUrl", json!({ "scanId": "seven", "url": "x" })).await;
    let has_two = |body: &serde_json::Value| body["items"].as_array().map_or(0, Vec::len) == 2;
    let list = house.until("/api/v1/quarantine", has_two).await;
    let by_class: BTreeMap<_, _> = list["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|row| (row["class"].as_str().expect("a class"), row))
        .collect();
    let failed = by_class["failed"];
    assert_eq!(failed["instance"], id.to_string());
    let reason = by_class["bad-message"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("`scanId`"), "{reason}");
    let row =
        house.get(&format!("/api/v1/quarantine/{}", failed["id"].as_str().expect("id"))).await;
    assert!(row["body"].as_str().is_some_and(|body| body.contains("https://refused.test/")));
    assert!(row["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{row}");
    house.close().await;
}

#[tokio::test]
async fn s0_04_a_scan_under_way_survives_a_restart() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let patient = || app(folder.path(), &sandbox).set("URL_SCAN_DEADLINE", "4s");
    let house = House::open(patient()).await.expect("it starts");
    let id = house.submit("https://never.test/").await;
    let path = format!("/api/v1/sagas/url-scan/instances/{id}");
    let asked = |body: &serde_json::Value| {
        let events = body["journal"].as_array().into_iter().flatten();
        events.filter(|row| row["event"] == "done AskSafeBrowsing").count() == 1
    };
    house
        .until("/api/v1/sagas/url-scan/instances", |body| body["items"][0]["id"] == id.to_string())
        .await;
    let detail = house.until(&path, asked).await;
    assert!(detail["waiting"].as_str().is_some_and(|why| why.contains("AskVirusTotal")));
    house.close().await;
    let mut house = House::open(patient()).await.expect("it starts again on the same file");
    let scanned = house.verdict().await;
    assert_eq!((scanned.scan_id, scanned.verdict), (id, Verdict::Unknown));
    let detail = house.get(&path).await;
    assert_eq!(detail["state"], "Final");
    house.close().await;
}

#[tokio::test]
async fn a_scan_that_is_cancelled_ends_without_a_verdict() {
    let (folder, sandbox) = (tempfile::tempdir().expect("a folder"), sandbox().await);
    let mut house = House::open(app(folder.path(), &sandbox)).await.expect("it starts");
    let id = house.submit("https://never.test/").await;
    let path = "/api/v1/sagas/url-scan/instances?state=Scanning";
    house.until(path, |body| body["items"][0]["id"] == id.to_string()).await;
    let reason = "nobody wants it any more";
    house.send("Knarr.UrlScan:CancelScan", json!({ "scanId": id, "reason": reason })).await;
    let path = format!("/api/v1/sagas/url-scan/instances/{id}");
    let detail = house.until(&path, |body| body["state"] == "Final").await;
    assert_eq!(detail["waiting"], "It has finished.");
    assert_eq!((&detail["timers"], &detail["activities"]), (&json!([]), &json!([])));
    let next = house.submit("https://clean.test/").await;
    assert_eq!(house.verdict().await.scan_id, next, "the cancelled scan published nothing");
    house.close().await;
}
