//! Set-aside messages over the API: let go once, in bulk, given up, no longer blocking.

use knarr_model::MessageId;
use knarr_model::quarantine::Status;
use reqwest::Method;
use serde_json::json;

use crate::desk::{ADMIN, ANNA, Bench, refused};
use crate::doors::{is_as_recorded, told};
use crate::ids::id;
use crate::scans::SCAN;

const BULK: &str = "/api/v1/quarantine/release";

fn of(n: u128, verb: &str) -> String {
    format!("/api/v1/quarantine/{}/{verb}", id(n))
}

#[tokio::test]
async fn s0_14_a_message_is_released_once_under_a_new_id_and_goes_on_blocking_its_copies() {
    let bench = Bench::start().await;
    let (status, _) = told(bench.request(ANNA, Method::POST, &of(20, "release"))).await;
    assert_eq!((status, bench.status_of(20)), (200, Status::Released));
    let (parked, block) = bench.rows(|rows| {
        let parked: Vec<_> = rows.parked.values().map(|held| held.row.message_id).collect();
        (parked, rows.block[&id(20)].clone())
    });
    assert_eq!(parked.len(), 1);
    assert_ne!(parked[0], MessageId(id(1020)));
    assert_eq!(block.lets, Some(parked[0]), "only this one may start");
    let again = bench.request(ADMIN, Method::POST, &of(20, "release"));
    refused(&bench, again, 409, "released already").await;
    let discard = bench.request(ADMIN, Method::DELETE, &format!("/api/v1/quarantine/{}", id(20)));
    refused(&bench, discard, 409, "released already").await;
    let shown = bench.get(&format!("/api/v1/quarantine/{}", id(20))).await;
    assert_eq!(shown["releasedAs"], parked[0].to_string());
    is_as_recorded("released", &shown);
}

#[tokio::test]
async fn s0_14_a_release_waits_for_its_halted_endpoint_with_202() {
    let bench = Bench::start().await;
    bench.done("/api/v1/endpoints/url-scan/halt").await;
    let (status, dry) = bench.order(&format!("{}?dry_run=true", of(20, "release"))).await;
    assert_eq!((status, &dry["waits"]), (200, &json!(true)), "a dry run waits for nothing");
    let (status, done) = bench.order(&of(20, "release")).await;
    assert_eq!((status, &done["waits"]), (202, &json!(true)));
    assert!(done["done"].to_string().contains("until url-scan is resumed"), "{done}");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_released_and_says_why() {
    let bench = Bench::start().await;
    let release = bench.request(ADMIN, Method::POST, &of(22, "release"));
    refused(&bench, release, 422, "cannot be read").await;
}

#[tokio::test]
async fn guard_pe_273_a_class_is_released_in_bulk_all_of_it_or_nothing() {
    let bench = Bench::start().await;
    let all = || bench.request(ANNA, Method::POST, BULK);
    refused(&bench, all().json(&json!({ "endpoint": SCAN })), 422, "cannot be read").await;
    let which = json!({ "endpoint": SCAN, "class": "failed", "reason": "the proxy is back" });
    let send = || all().header("idempotency-key", "bulk").json(&which);
    let (status, done) = told(send()).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["target"], "2 set-aside messages of url-scan");
    assert_eq!(done["done"].as_array().map(Vec::len), Some(2));
    let statuses = [20, 21, 22].map(|n| bench.status_of(n));
    assert_eq!(statuses, [Status::Released, Status::Released, Status::Held]);
    let (status, again) = told(send()).await;
    assert_eq!((status, &again["repeated"]), (200, &json!(true)));
    assert_eq!((&again["done"], &again["auditId"]), (&done["done"], &done["auditId"]));
    assert_eq!(bench.audit().len(), 1);
    refused(&bench, all().json(&which), 404, "held").await;
    refused(&bench, all().json(&json!({ "endpoint": "nope" })), 404, "no endpoint").await;
    refused(&bench, all().json(&json!({ "endpoint": SCAN, "class": "x" })), 400, "failed").await;
}

#[tokio::test]
async fn s0_14_a_discarded_message_blocks_until_it_is_unblocked() {
    let bench = Bench::start().await;
    let path = format!("/api/v1/quarantine/{}", id(20));
    let (status, done) = told(bench.request(ADMIN, Method::DELETE, &path)).await;
    assert_eq!((status, &done["verb"]), (200, &json!("discard")));
    assert!(bench.rows(|rows| rows.quarantine[&id(20)].body.is_empty()));
    assert!(bench.rows(|rows| rows.block.contains_key(&id(20))));
    assert_eq!(told(bench.request(ANNA, Method::POST, &of(20, "unblock"))).await.0, 200);
    assert!(!bench.rows(|rows| rows.block.contains_key(&id(20))));
    let again = bench.request(ANNA, Method::POST, &of(20, "unblock"));
    refused(&bench, again, 409, "blocks nothing").await;
    let release = bench.request(ADMIN, Method::POST, &of(20, "release"));
    refused(&bench, release, 409, "discarded already").await;
}

#[tokio::test]
async fn guard_pe_273_a_class_is_given_up_in_bulk_readable_or_not() {
    let bench = Bench::start().await;
    let all = || bench.request(ADMIN, Method::POST, "/api/v1/quarantine/discard");
    let none = json!({ "endpoint": SCAN, "class": "poison" });
    refused(&bench, all().json(&none), 404, "held").await;
    let dry = bench.request(ADMIN, Method::POST, "/api/v1/quarantine/discard?dry_run=true");
    let (status, shown) = told(dry.json(&json!({ "endpoint": SCAN }))).await;
    assert_eq!((status, shown["done"].as_array().map(Vec::len)), (200, Some(3)), "{shown}");
    assert_eq!([20, 21, 22].map(|n| bench.status_of(n)), [Status::Held; 3]);
    let (status, done) = told(all().json(&json!({ "endpoint": SCAN, "class": "failed" }))).await;
    assert_eq!((status, &done["target"]), (200, &json!("2 set-aside messages of url-scan")));
    let statuses = [20, 21, 22].map(|n| bench.status_of(n));
    assert_eq!(statuses, [Status::Discarded, Status::Discarded, Status::Held]);
    assert_eq!(told(all().json(&json!({ "endpoint": SCAN }))).await.0, 200);
    assert_eq!(bench.status_of(22), Status::Discarded);
    assert_eq!(bench.audit().len(), 2);
    bench.rows(|rows| assert!(rows.block.contains_key(&id(20)), "its copies stay blocked"));
}
