//! Set-aside messages edited over the API: checked first, with what was there kept.

use reqwest::Method;
use serde_json::json;

use crate::desk::{ADMIN, Bench, refused};
use crate::doors::told;
use crate::ids::id;

fn path(n: u128) -> String {
    format!("/api/v1/quarantine/{}/message", id(n))
}

#[tokio::test]
async fn row_095_a_message_is_edited_once_its_endpoint_would_take_it_and_then_released() {
    let bench = Bench::start().await;
    let put = |body: serde_json::Value| bench.request(ADMIN, Method::PUT, &path(22)).json(&body);
    let wrong = json!({ "body": "{ still none" });
    refused(&bench, put(wrong), 422, "As edited, it cannot be read").await;
    let missing = json!({ "body": { "scanId": "x" } });
    refused(&bench, put(missing), 422, "the member `url` is missing").await;
    let dry = format!("{}?dry_run=true", path(22));
    let good = json!({ "body": { "url": "http://a.test/" }, "reason": "a slip" });
    let before = bench.everything();
    let (status, shown) = told(bench.request(ADMIN, Method::PUT, &dry).json(&good)).await;
    assert_eq!((status, before), (200, bench.everything()), "{shown}");
    let (status, done) = told(put(good)).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(shown["done"], done["done"]);
    let row = bench.get(&format!("/api/v1/quarantine/{}", id(22))).await;
    assert_eq!(row["body"], r#"{"url":"http://a.test/"}"#);
    assert_eq!(row["edits"][0]["before"], "{ no JSON");
    assert_eq!(row["edits"][0]["who"], "admin");
    bench.done(&format!("/api/v1/quarantine/{}/release", id(22))).await;
    refused(&bench, put(json!({ "body": "{}" })), 409, "released already").await;
}

#[tokio::test]
async fn a_body_may_be_given_as_text_and_is_taken_letter_by_letter() {
    let bench = Bench::start().await;
    let text = "{\n  \"url\": \"http://b.test/\"\n}\n";
    let put = bench.request(ADMIN, Method::PUT, &path(20));
    let body = json!({ "body": text, "contentType": "application/json; charset=utf-8" });
    assert_eq!(told(put.json(&body)).await.0, 200);
    let row = bench.get(&format!("/api/v1/quarantine/{}", id(20))).await;
    assert_eq!((&row["body"], &row["size"]), (&json!(text), &json!(text.len())));
    assert_eq!(row["contentType"], "application/json; charset=utf-8");
}

#[tokio::test]
async fn an_edit_that_is_no_edit_is_refused() {
    let bench = Bench::start().await;
    let put = || bench.request(ADMIN, Method::PUT, &path(20));
    refused(&bench, put(), 415, "application/json").await;
    refused(&bench, put().json(&json!({})), 400, "`body`").await;
    refused(&bench, put().json(&json!({ "body": 7 })), 400, "string, or a JSON object").await;
    refused(&bench, put().json(&json!({ "body": "{}", "x": 1 })), 400, "`x`").await;
    refused(
        &bench,
        put().body("raw").header("content-type", "text/plain"),
        415,
        "application/json",
    )
    .await;
    let unknown = bench.request(ADMIN, Method::PUT, &path(99)).json(&json!({ "body": "{}" }));
    refused(&bench, unknown, 404, "no set-aside message").await;
    // Larger than other orders may be, but not without end.
    let url = format!("http://a.test/{}", "x".repeat(5000));
    assert_eq!(told(put().json(&json!({ "body": { "url": url } }))).await.0, 200);
    let huge = json!({ "body": "x".repeat(9000) });
    refused(&bench, put().json(&huge), 413, "8192").await;
}
