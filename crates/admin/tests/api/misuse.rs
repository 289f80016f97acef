//! Bad use, of every order there is: the right status, a problem document that says what to do, and
//! not a byte changed.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::desk::{ADMIN, ANNA, Bench, OTTO, refused};
use crate::doors::told;
use crate::ids::id;

/// Every order, as the description names it: method and path.
async fn orders(bench: &Bench) -> Vec<(Method, String)> {
    let (_, described) = told(bench.bare(Method::GET, "/api/openapi.json")).await;
    let mut orders = Vec::new();
    for (path, methods) in described["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["security"].is_array() && method != "get" {
                let path = path.replace("{saga}", "url-scan").replace("{name}", "url-scan");
                orders.push((method.to_uppercase().parse().expect("a method"), path));
            }
        }
    }
    assert_eq!(orders.len(), 16, "{orders:?}");
    orders
}

/// One thing there is, where the path wants one: a run, a held message, no incident.
fn meant(path: &str) -> String {
    let n = if path.contains("/instances/") { 1 } else { 20 };
    path.replace("{id}", &id(n).to_string())
}

/// A body that would do, for orders that want one.
fn good_body(path: &str) -> Value {
    match path.rsplit('/').next() {
        Some("message") => json!({ "body": "{\"url\":\"http://b.test/\"}" }),
        Some("messages") => json!({ "type": "Knarr.UrlScan:SubmitUrl", "message": {} }),
        _ if path.ends_with("/quarantine/release") || path.ends_with("/quarantine/discard") => {
            json!({ "endpoint": "url-scan" })
        }
        _ => json!({ "reason": "because" }),
    }
}

/// A way to spoil a request, the status that it gives and words of what to do.
type Misuse = (&'static str, u16, &'static str, fn(RequestBuilder, &Value) -> RequestBuilder);

#[rustfmt::skip]
const MISUSES: &[Misuse] = &[
    ("another content type", 415, "application/json", |r, b| r.header("content-type", "text/plain").body(b.to_string())),
    ("a form", 415, "application/json", |r, _| r.form(&[("reason", "because")])),
    ("a body too large", 413, "bytes are taken", |r, _| r.header("content-type", "application/json").body(format!("{{\"reason\":\"{}\"}}", "x".repeat(9_000)))),
    ("no JSON", 400, "not what is expected", |r, _| r.header("content-type", "application/json").body("{ reason")),
    ("a list", 400, "not what is expected", |r, _| r.json(&json!([1, 2]))),
    ("a member that there is not", 400, "colour", |r, b| { let mut b = b.clone(); b["colour"] = json!("red"); r.json(&b) }),
    ("a reason too long", 400, "reason", |r, b| { let mut b = b.clone(); b["reason"] = json!("x".repeat(2_001)); r.json(&b) }),
    ("a reason that is none", 400, "expected a string", |r, b| { let mut b = b.clone(); b["reason"] = json!(7); r.json(&b) }),
    ("a query that there is not", 400, "colour", |r, b| r.query(&[("colour", "red")]).json(b)),
    ("a dry run that is none", 400, "dry_run", |r, b| r.query(&[("dry_run", "perhaps")]).json(b)),
    ("a key too long", 400, "Idempotency-Key", |r, b| r.header("idempotency-key", "k".repeat(201)).json(b)),
    ("an empty key", 400, "Idempotency-Key", |r, b| r.header("idempotency-key", "").json(b)),
];

#[tokio::test]
async fn s0_01_every_misuse_of_every_order_is_told_and_changes_nothing() {
    let bench = Bench::start().await;
    for (method, path) in orders(&bench).await {
        let (path, body) = (meant(&path), good_body(&path));
        for (what, status, words, spoil) in MISUSES {
            let request = bench.request(ADMIN, method.clone(), &path);
            println!("{what}: {method} {path}");
            refused(&bench, spoil(request, &body), *status, words).await;
        }
    }
}

#[tokio::test]
async fn s0_01_no_token_a_small_role_and_unknown_ids_change_nothing_whatever_the_body() {
    let bench = Bench::start().await;
    for (method, path) in orders(&bench).await {
        let body = good_body(&path);
        let request = |token: &str, path: &str| bench.request(token, method.clone(), path);
        let known = meant(&path);
        refused(&bench, bench.bare(method.clone(), &known).json(&body), 401, "Bearer").await;
        refused(&bench, request("nobody's token", &known).json(&body), 401, "KNARR_TOKENS").await;
        refused(&bench, request(OTTO, &known).json(&body), 403, "Use a token of that role").await;
        if path.contains("{id}") {
            let unknown = path.replace("{id}", &id(99).to_string());
            refused(&bench, request(ADMIN, &unknown).json(&body), 404, "GET /api/v1").await;
            let no_id = path.replace("{id}", "seventeen");
            refused(&bench, request(ADMIN, &no_id).json(&body), 400, "UUID").await;
        }
        if path.contains("/endpoints/") {
            let unknown = path.replace("url-scan", "nobody");
            refused(&bench, request(ADMIN, &unknown).json(&body), 404, "GET /api/v1").await;
        }
    }
}

/// Orders one after the other: what was done is done once, and what does not do is told.
#[tokio::test]
async fn row_095_a_second_release_and_a_release_of_what_does_not_do_change_nothing() {
    let bench = Bench::start().await;
    let of = |n: u128, verb: &str| format!("/api/v1/quarantine/{}{verb}", id(n));
    let post = |path: &str| bench.request(ADMIN, Method::POST, path);
    let edit = |n: u128, body: &str| {
        bench.request(ADMIN, Method::PUT, &of(n, "/message")).json(&json!({ "body": body }))
    };
    // One that cannot be read, and one that was edited into something that does not do.
    refused(&bench, post(&of(22, "/release")), 422, "Mend that").await;
    for bad in ["no JSON", "{\"url\":7}", "{}", "[]", ""] {
        refused(&bench, edit(20, bad), 422, "Mend that").await;
        refused(&bench, edit(22, bad), 422, "Mend that").await;
    }
    refused(&bench, post(&of(22, "/release")), 422, "Mend that").await;
    // All that is held at once is all or nothing: one of them cannot be read.
    let all = post("/api/v1/quarantine/release").json(&json!({ "endpoint": "url-scan" }));
    refused(&bench, all, 422, "Mend that").await;
    // Released once, discarded once.
    bench.done(&of(20, "/release")).await;
    refused(&bench, post(&of(20, "/release")), 409, "released").await;
    refused(&bench, edit(20, "{\"url\":\"http://b.test/\"}"), 409, "released").await;
    let discard = |n| bench.request(ADMIN, Method::DELETE, &of(n, ""));
    assert_eq!(told(discard(21)).await.0, 200);
    refused(&bench, discard(21), 409, "discarded").await;
    refused(&bench, post(&of(21, "/release")), 409, "discarded").await;
    // A run ends once, an incident too, and a key is of one order.
    let purge = format!("/api/v1/sagas/url-scan/instances/{}/purge", id(1));
    let incident = bench.purged().await;
    refused(&bench, post(&purge), 409, "ended already").await;
    let discard = format!("/api/v1/incidents/{incident}/discard");
    bench.done(&discard).await;
    for verb in ["retry", "resolve", "discard"] {
        let path = format!("/api/v1/incidents/{incident}/{verb}");
        refused(&bench, post(&path), 409, "Nothing was changed").await;
    }
    let halt = "/api/v1/endpoints/url-scan/halt";
    let keyed = |token, path: &str| {
        bench.request(token, Method::POST, path).header("idempotency-key", "k-1")
    };
    assert_eq!(told(keyed(ANNA, halt)).await.0, 200);
    refused(&bench, keyed(ADMIN, halt), 422, "take a new key").await;
    let resume = "/api/v1/endpoints/url-scan/resume";
    refused(&bench, keyed(ANNA, resume), 422, "take a new key").await;
}
