//! What is refused: each with its status and a sentence that says what to do.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::json;

use crate::doors::{Api, TOKEN, told};
use crate::ids::id;

#[tokio::test]
async fn nothing_of_the_api_is_shown_without_the_token() {
    let api = Api::start().await;
    let paths = [
        "/api/v1/sagas",
        "/api/v1/sagas/url-scan/instances",
        "/api/v1/endpoints",
        "/api/v1/quarantine",
        "/api/v1/nothing-here",
    ];
    for path in paths {
        for wrong in [None, Some("Bearer "), Some("Bearer nope"), Some("Basic eDp5")] {
            let mut request = api.bare(Method::GET, path);
            if let Some(value) = wrong {
                request = request.header("authorization", value);
            }
            let response = request.try_clone().expect("no body").send().await.expect("an answer");
            assert_eq!(response.headers()["www-authenticate"], "Bearer", "{path}");
            let (status, body) = told(request).await;
            assert_eq!(status, 401, "{path}: {body}");
            assert!(body["detail"].as_str().is_some_and(|d| d.contains("KNARR_ADMIN_TOKEN")));
            assert!(!body.to_string().contains(TOKEN));
        }
    }
    let sent = api.bare(Method::POST, "/api/v1/messages").json(&json!({}));
    assert_eq!(told(sent).await.0, 401);
    assert!(api.doors.published.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn unknown_things_are_404_and_name_what_was_asked_for() {
    let api = Api::start().await;
    for (path, expected) in [
        ("/api/v1/sagas/nope/instances".to_owned(), "serves: url-scan"),
        (format!("/api/v1/sagas/url-scan/instances/{}", id(99)), "no instance"),
        (format!("/api/v1/quarantine/{}", id(99)), "no set-aside message"),
        ("/api/v1/nothing-here".to_owned(), "GET / lists"),
        ("/nothing-here".to_owned(), "GET / lists"),
    ] {
        let (status, body) = api.get(&path).await;
        assert_eq!(status, 404, "{path}");
        assert!(body["detail"].as_str().is_some_and(|d| d.contains(expected)), "{path}: {body}");
    }
}

#[tokio::test]
async fn wrong_queries_are_400_and_name_the_member() {
    let api = Api::start().await;
    for (path, expected) in [
        ("/api/v1/quarantine?limit=0", "limit"),
        ("/api/v1/quarantine?limit=1001", "limit"),
        ("/api/v1/quarantine?limit=many", "limit"),
        ("/api/v1/quarantine?colour=red", "colour"),
        ("/api/v1/quarantine?class=unlucky", "id-conflict"),
        ("/api/v1/quarantine?status=lost", "held, released, discarded"),
        ("/api/v1/quarantine/abc", "UUID"),
        ("/api/v1/sagas/url-scan/instances/abc", "UUID"),
        ("/api/v1/sagas/url-scan/instances?cursor=zzz", "no cursor"),
        ("/api/v1/sagas?cursor=9", "no cursor"),
    ] {
        let (status, body) = api.get(path).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body["detail"].as_str().is_some_and(|d| d.contains(expected)), "{path}: {body}");
    }
}

#[tokio::test]
async fn other_methods_are_405() {
    let api = Api::start().await;
    for (method, path) in [
        (Method::DELETE, "/api/v1/sagas"),
        (Method::GET, "/api/v1/messages"),
        (Method::POST, "/health/live"),
    ] {
        let request = api.bare(method.clone(), path).bearer_auth(TOKEN);
        let (status, body) = told(request).await;
        assert_eq!(status, 405, "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_one_that_hangs_too() {
    let api = Api::start().await;
    api.doors.store_away.store(true, Ordering::Relaxed);
    let request = api.bare(Method::GET, "/api/v1/endpoints").bearer_auth(TOKEN);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    api.doors.store_hangs.store(true, Ordering::Relaxed);
    let (status, body) = api.get("/api/v1/endpoints").await;
    assert_eq!(status, 503);
    assert!(body["detail"].as_str().is_some_and(|d| d.contains("in time")), "{body}");
}
