//! Keys are sent, and are in no error afterwards.

use knarr_http::{Auth, Client, Secret};

use crate::server::{Server, answer, client};

const KEY: &str = "AIzaSy+very/secret=";

#[tokio::test]
async fn row_107_no_failure_shows_the_key_whichever_way_it_was_sent() {
    let echo = format!("no such key: {KEY} (AIzaSy%2Bvery%2Fsecret%3D)");
    let refusing = Server::answering(answer("403 Forbidden", "", &echo)).await;
    let mute = Server::answering("").await;
    let strict = Client::new(knarr_http::Settings::default()).expect("a client");
    let client = client();
    for auth in [
        Auth::header("x-apikey", Secret::new(KEY)),
        Auth::query("key", Secret::new(KEY)),
        Auth::bearer(Secret::new(KEY)),
    ] {
        let answered = client.get(refusing.url("/")).auth(&auth).send().await.expect("an answer");
        let nowhere = "http://127.0.0.1:1/";
        let failures = [
            answered.failure(None),
            answered.json::<u8>().expect_err("no number"),
            client.get(mute.url("/")).auth(&auth).send().await.expect_err("broken"),
            client.get(nowhere).auth(&auth).send().await.expect_err("nobody listens"),
            strict.get(nowhere).auth(&auth).send().await.expect_err("forbidden"),
            client.get("no url").auth(&auth).send().await.expect_err("bad"),
        ];
        for failure in failures {
            let shown = format!("{failure} {failure:?} {auth:?}");
            assert!(!shown.contains("very"), "{shown}");
        }
    }
    let refused = client.get(refusing.url("/")).auth(&Auth::bearer(Secret::new(KEY)));
    let failure = refused.send().await.expect("an answer").failure(None);
    assert_eq!(failure.reason, "127.0.0.1 answered 403: no such key: *** (***)");
}
