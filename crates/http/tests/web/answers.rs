//! What answers come to, good and bad.

use std::time::Duration;

use knarr_http::{ApiError, Auth, FailureKind, Secret};
use tokio::io::AsyncWriteExt;

use crate::server::{Server, answer, client, request};

#[tokio::test]
async fn a_good_answer_comes_whole_and_inflated() {
    const GZIP: &[u8] = &[
        0x1f, 0x8b, 0x8, 0x0, 0x0, 0x0, 0x0, 0x0, 0x2, 0x3, 0xab, 0x56, 0x4a, 0xcb, 0x2f, 0xcd,
        0x4b, 0x51, 0xb2, 0x8a, 0x36, 0xd4, 0x31, 0xd2, 0x31, 0x8e, 0xad, 0x5, 0x0, 0x94, 0xd9,
        0x7e, 0x4, 0x11, 0x0, 0x0, 0x0,
    ];
    let server = Server::start(|mut stream| async move {
        let asked = request(&mut stream).await;
        assert!(asked.contains("accept-encoding: gzip"), "{asked}");
        assert!(asked.contains("(gzip)"), "{asked}");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nx-Word: yes\r\ncontent-length: {}\r\n\r\n",
            GZIP.len()
        );
        let _ = stream.write_all(&[head.as_bytes(), GZIP].concat()).await;
    })
    .await;
    let answer = client().get(server.url("/")).send().await.expect("an answer");
    assert!(answer.is_success());
    assert_eq!(answer.header("x-word"), Some("yes"));
    let value: serde_json::Value = answer.json().expect("JSON");
    assert_eq!(value, serde_json::json!({ "found": [1, 2, 3] }));
}

#[tokio::test]
async fn requests_are_written_as_they_were_meant() {
    let (asked, heard) = std::sync::mpsc::sync_channel(4);
    let server = Server::start(move |mut stream| {
        let asked = asked.clone();
        async move {
            let _ = asked.send(request(&mut stream).await);
            let _ =
                stream.write_all(answer("200 OK", "connection: close\r\n", "1").as_bytes()).await;
        }
    })
    .await;
    let client = client();
    let key = || Secret::new("s3cret");
    client
        .get(server.url("/a?x=1"))
        .query("p", "a+/=")
        .auth(&Auth::query("key", key()))
        .send()
        .await
        .expect("sent");
    let text = heard.recv().expect("heard");
    assert!(text.starts_with("GET /a?x=1&p=a%2B%2F%3D&key=s3cret HTTP/1.1\r\n"), "{text}");
    client
        .post_form(server.url("/f"), &[("url", "http://a.test/?b=c&d")])
        .auth(&Auth::header("x-apikey", key()))
        .send()
        .await
        .expect("sent");
    let text = heard.recv().expect("heard");
    assert!(text.contains("content-type: application/x-www-form-urlencoded"), "{text}");
    assert!(text.contains("x-apikey: s3cret\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nurl=http%3A%2F%2Fa.test%2F%3Fb%3Dc%26d"), "{text}");
    client
        .post_json(server.url("/j"), &[1, 2])
        .auth(&Auth::bearer(key()))
        .header("x-more", "y")
        .send()
        .await
        .expect("sent");
    let text = heard.recv().expect("heard");
    assert!(
        text.contains("authorization: Bearer s3cret\r\n") && text.contains("x-more: y"),
        "{text}"
    );
    assert!(text.contains("content-type: application/json") && text.ends_with("[1,2]"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_bad_request_and_never_leaves() {
    let client = client();
    let failures = [
        client.get("not a url").send().await,
        client.get("http://127.0.0.1/").header("x y", "z").send().await,
        client.get("http://127.0.0.1/").header("x", "a\r\nb: c").send().await,
        client
            .post_json("http://127.0.0.1/", &std::collections::BTreeMap::from([((1, 2), 3)]))
            .send()
            .await,
    ];
    for failure in failures {
        let failure = failure.expect_err("wrong");
        assert_eq!((failure.class.as_str(), failure.kind), ("bad-request", FailureKind::Permanent));
    }
}

#[tokio::test]
async fn row_100_and_101_too_many_requests_and_overload_say_when_to_come_back() {
    for (status, header, after) in [
        ("429 Too Many Requests", "retry-after: 7\r\n", Some(7)),
        ("503 Service Unavailable", "retry-after: 999999\r\n", Some(3_600)),
        (
            "503 Service Unavailable",
            "date: Wed, 01 Jul 2026 12:00:00 GMT\r\nretry-after: Wed, 01 Jul 2026 12:00:09 GMT\r\n",
            Some(9),
        ),
        ("429 Too Many Requests", "retry-after: -3\r\n", None),
        ("429 Too Many Requests", "", None),
    ] {
        let server = Server::answering(answer(status, header, "slow down")).await;
        let answer = client().get(server.url("/")).send().await.expect("an answer");
        let failure = answer.failure(None);
        assert_eq!(failure.kind, FailureKind::Transient);
        assert_eq!(failure.after.map(|after| after.as_secs()), after, "{header}");
    }
}

#[tokio::test]
async fn row_101_and_104_errors_are_classed_by_status_and_by_the_services_own_code() {
    let server =
        Server::answering(answer("502 Bad Gateway", "", "<html>\n<h1>Bad\u{7} Gateway</h1>")).await;
    let answered = client().get(server.url("/")).send().await.expect("an answer");
    let failure = answered.failure(None);
    assert_eq!((failure.class.as_str(), failure.kind), ("http-502", FailureKind::Transient));
    assert_eq!(failure.reason, "127.0.0.1 answered 502: <html> <h1>Bad Gateway</h1>");
    let api = ApiError { code: "Conflict".to_owned(), message: "it is there".to_owned() };
    let server = Server::answering(answer("409 Conflict", "", "{}")).await;
    let answered = client().get(server.url("/")).send().await.expect("an answer");
    let failure = answered.failure(Some(api));
    assert_eq!((failure.class.as_str(), failure.kind), ("Conflict", FailureKind::Permanent));
    assert_eq!(failure.reason, "127.0.0.1 answered 409: it is there");
}

#[tokio::test]
async fn row_102_a_post_whose_answer_is_lost_is_unknown_unless_repeating_is_harmless() {
    for broken in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let server = Server::answering(broken).await;
        let client = client();
        let form = [("a", "b")];
        let lost = client.post_form(server.url("/"), &form).send().await.expect_err("lost");
        assert_eq!((lost.class.as_str(), lost.kind), ("broken", FailureKind::Unknown), "{broken}");
        assert!(lost.reason.contains("may have been carried out"), "{}", lost.reason);
        let again = client.post_form(server.url("/"), &form).repeatable().send().await;
        assert_eq!(again.expect_err("lost").kind, FailureKind::Transient);
        let got = client.get(server.url("/")).send().await.expect_err("lost");
        assert_eq!((got.class.as_str(), got.kind), ("broken", FailureKind::Transient));
        assert_eq!(server.connections(), 3, "nothing is sent twice behind our back");
    }
}

#[tokio::test]
async fn row_102_a_reset_in_the_middle_of_a_body_is_transient_for_a_question() {
    let server = Server::start(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        stream.set_zero_linger().expect("a reset at once");
    })
    .await;
    let failure = client().get(server.url("/")).send().await.expect_err("reset");
    assert_eq!((failure.class.as_str(), failure.kind), ("broken", FailureKind::Transient));
}

#[tokio::test]
async fn row_103_redirects_are_not_followed_wherever_they_lead() {
    let target = Server::answering(answer("200 OK", "", "stolen")).await;
    for location in [
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "/again".to_owned(),
        target.url("/"),
        "ftp://elsewhere.example/".to_owned(),
    ] {
        let header = format!("location: {location}\r\n");
        let server = Server::answering(answer("302 Found", &header, "")).await;
        let answered = client()
            .get(server.url("/"))
            .auth(&Auth::bearer(Secret::new("k")))
            .send()
            .await
            .expect("an answer");
        let failure = answered.failure(None);
        assert_eq!((failure.class.as_str(), failure.kind), ("http-302", FailureKind::Permanent));
        assert!(failure.reason.contains("not followed"), "{}", failure.reason);
        assert_eq!(server.connections(), 1);
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn row_104_garbage_is_a_typed_failure() {
    for garbage in [
        &b"\x00\x01\x02 this is no HTTP\r\n\r\n"[..],
        b"HTTP/1.1 two-hundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: minus one\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let server = Server::answering(garbage).await;
        let failure = client().get(server.url("/")).send().await.expect_err("garbage");
        let name = String::from_utf8_lossy(garbage);
        assert_eq!(
            (failure.class.as_str(), failure.kind),
            ("broken", FailureKind::Transient),
            "{name}"
        );
    }
    let server =
        Server::answering(&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe\""[..]).await;
    let answered = client().get(server.url("/")).send().await.expect("bytes are bytes");
    let failure = answered.json::<String>().expect_err("no text");
    assert_eq!((failure.class.as_str(), failure.kind), ("bad-answer", FailureKind::Transient));
    let server = Server::answering(answer("200 OK", "", "{\"n\":\"seven\"}")).await;
    let answered = client().get(server.url("/")).send().await.expect("an answer");
    let failure =
        answered.json::<std::collections::BTreeMap<String, u32>>().expect_err("no number");
    assert!(failure.reason.contains("expected u32"), "{}", failure.reason);
    assert!(failure.after.is_none_or(|after| after < Duration::from_secs(1)));
}
