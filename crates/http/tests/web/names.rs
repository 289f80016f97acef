//! Names and addresses: what is not public is not called, however it is asked for.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use knarr_http::{Client, Failure, FailureKind, Lookup, Settings};

use crate::server::{Server, answer, impatient};

/// Answers from a script, one entry for each time that it is asked.
struct Scripted(Mutex<VecDeque<Vec<&'static str>>>);

#[async_trait]
impl Lookup for Scripted {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match self.0.lock().expect("not poisoned").pop_front() {
            Some(addresses) => {
                Ok(addresses.iter().map(|text| text.parse().expect("an address")).collect())
            }
            None => Err(io::Error::other(format!("NXDOMAIN {host}"))),
        }
    }
}

fn scripted(settings: Settings, script: Vec<Vec<&'static str>>) -> Client {
    let lookup = Scripted(Mutex::new(script.into()));
    Client::with_lookup(settings, Arc::new(lookup)).expect("a client")
}

fn strict() -> Settings {
    Settings { allow: "".parse().expect("nothing"), ..impatient() }
}

fn assert_forbidden(answer: Result<knarr_http::Response, Failure>, what: &str) {
    let failure = answer.expect_err(what);
    let shown = (failure.class.as_str(), failure.kind);
    assert_eq!(shown, ("forbidden-address", FailureKind::Permanent), "{what}: {}", failure.reason);
}

#[tokio::test]
async fn row_103_literals_that_are_not_public_are_refused_before_anything_is_sent() {
    let server = Server::answering(answer("200 OK", "", "1")).await;
    let port = server.address.port();
    let client = Client::new(strict()).expect("a client");
    for host in
        ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "0"]
    {
        assert_forbidden(client.get(format!("http://{host}:{port}/")).send().await, host);
    }
    assert_forbidden(
        client.get("http://169.254.169.254/latest/meta-data/").send().await,
        "metadata",
    );
    assert_forbidden(client.get("ftp://example.com/").send().await, "ftp");
    assert_forbidden(client.get("http://user:pass@example.com/").send().await, "credentials");
    assert_eq!(server.connections(), 0);
    let allowed = client.settings().clone();
    let allowed = Settings { allow: "127.0.0.1".parse().expect("an address"), ..allowed };
    let answer = Client::new(allowed).expect("a client").get(server.url("/")).send().await;
    assert_eq!(answer.expect("allowed").status, 200);
}

#[tokio::test]
async fn row_103_names_are_refused_for_what_they_resolve_to() {
    let server = Server::answering(answer("200 OK", "", "1")).await;
    let url = format!("http://inside.example:{}/", server.address.port());
    for address in
        ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00::1"]
    {
        let client = scripted(strict(), vec![vec![address]]);
        assert_forbidden(client.get(&url).send().await, address);
    }
    let localhost = Client::new(strict()).expect("a client");
    let url = format!("http://localhost:{}/", server.address.port());
    assert_forbidden(localhost.get(url).send().await, "localhost, by the system's own lookup");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn row_105_a_name_that_turns_inward_after_the_look_is_refused_and_one_look_decides() {
    let server = Server::answering(answer("200 OK", "connection: close\r\n", "1")).await;
    let url = format!("http://rebind.example:{}/", server.address.port());
    // The test's own address stands for the public one; 10/8 is what it turns into.
    let client = scripted(impatient(), vec![vec!["127.0.0.1"], vec!["10.0.0.1"]]);
    assert_eq!(client.get(&url).send().await.expect("the first look").status, 200);
    assert_forbidden(client.get(&url).send().await, "the second look");
    // One request asks once: had it asked again for connecting, the script would have run out.
    let client = scripted(impatient(), vec![vec!["127.0.0.1"]]);
    assert_eq!(client.get(&url).send().await.expect("one look").status, 200);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn row_105_unknown_names_may_come_back_and_vetted_addresses_are_used() {
    let server = Server::answering(answer("200 OK", "", "1")).await;
    let url = format!("http://flaky.example:{}/", server.address.port());
    let client = scripted(impatient(), vec![vec![], vec!["10.0.0.1", "127.0.0.1"]]);
    let failure = client.post_form(&url, &[]).send().await.expect_err("no address");
    assert_eq!((failure.class.as_str(), failure.kind), ("dns", FailureKind::Transient));
    assert_eq!(client.get(&url).send().await.expect("the vetted one of two").status, 200);
    let failure = client.get(url.replace("flaky", "gone")).send().await.expect_err("unknown");
    assert_eq!((failure.class.as_str(), failure.kind), ("dns", FailureKind::Transient));
    assert!(failure.reason.contains("gone.example cannot be resolved"), "{}", failure.reason);
}

#[tokio::test]
async fn a_host_may_be_allowed_by_name_wherever_it_is() {
    let server = Server::answering(answer("200 OK", "", "1")).await;
    let settings = Settings { allow: "sandbox".parse().expect("a name"), ..impatient() };
    let client = scripted(settings, vec![vec!["127.0.0.1"], vec!["127.0.0.1"]]);
    let port = server.address.port();
    let answer = client.get(format!("http://SANDBOX:{port}/")).send().await;
    assert_eq!(answer.expect("allowed by name").status, 200);
    assert_forbidden(client.get(format!("http://other:{port}/")).send().await, "another name");
}
