//! A server that cannot start as it is set: it says which setting, and waits or ends with code 2.

use std::process::Stdio;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::script::Submission;
use crate::serving::{Serving, knarr};
use crate::world::{World, until};

/// Settings that nobody can use, and what the one line about each must tell.
const WRONG: [(&str, &str, &str); 13] = [
    ("KNARR_BROKER", "http://guest:s3cret@127.0.0.1/", "amqp"),
    ("KNARR_BROKER", "amqp://guest:s3cret@127.0.0.1:port/v", "port"),
    ("KNARR_BROKER_CA", "s3cret", "BEGIN CERTIFICATE"),
    ("KNARR_STORE", "mysql://me:s3cret@127.0.0.1/db", "postgres://"),
    ("KNARR_LISTEN", "anywhere", "anywhere"),
    ("KNARR_LISTEN", "127.0.0.1:99999", "99999"),
    ("KNARR_ADMIN_TOKEN", "short", "16"),
    ("KNARR_HTTP_ALLOW", "10.0.0.0/99", "10.0.0.0/99"),
    ("KNARR_QUEUE", "stream", "quorum"),
    ("VIRUSTOTAL_URL", "http://127.0.0.1:1/api/v3", "path"),
    ("VIRUSTOTAL_POLL_INTERVAL", "20", "unit"),
    ("VIRUSTOTAL_QUOTA", "many", "quota"),
    ("URL_SCAN_DEADLINE", "0s", "no time"),
];

async fn refused(mut command: Command) -> (Option<i32>, String, String) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let output = output.expect("a wrong setting is told at once").expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_06_live_a_wrong_setting_is_one_line_that_names_it_and_exit_code_2() {
    let world = World::new().await;
    let mut wrong = Vec::new();
    for (name, value, told) in WRONG {
        let (_, folder) = world.room();
        let mut command = knarr(&world, "serve", &folder);
        command.env(name, value);
        let (code, out, err) = refused(command).await;
        let lines: Vec<_> = err.lines().filter(|line| line.contains(name)).collect();
        let clear = matches!(&*lines, [line] if line.contains(told));
        let secret = err.contains("s3cret");
        if code != Some(2) || !out.is_empty() || !clear || secret {
            wrong.push(format!("{name}={value}: exit {code:?}, said:\n{err}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Everything wrong is told at once.
    let (_, folder) = world.room();
    let mut command = knarr(&world, "serve", &folder);
    command.envs([("KNARR_QUEUE", "stream"), ("KNARR_LANES", "none"), ("URL_SCAN_DEADLINE", "9")]);
    let (code, _, err) = refused(command).await;
    assert_eq!(code, Some(2), "{err}");
    for name in ["KNARR_QUEUE", "KNARR_LANES", "URL_SCAN_DEADLINE"] {
        assert!(err.contains(name), "{name} is not named:\n{err}");
    }
}

/// A port on which nobody listens.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// From now on, what comes to `port` goes on to `to`.
async fn forward(port: u16, to: String) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is still free");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = to.clone();
            tokio::spawn(async move {
                if let Ok(mut far) = TcpStream::connect(to).await {
                    let _ends = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
}

/// Host and port of a URL, and the URL with this port instead.
fn with_port(url: &str, port: u16) -> (String, String) {
    let (head, rest) = url.split_once("://").expect("a URL");
    let (authority, path) = rest.split_once('/').expect("a path");
    let (login, address) = authority.rsplit_once('@').expect("a login");
    (address.to_owned(), format!("{head}://{login}@127.0.0.1:{port}/{path}"))
}

/// The log names the setting, readiness says why, and the process lives.
async fn waits(serving: &mut Serving, setting: &str, what: &str) {
    until("the log names the setting", async || {
        let log = serving.log();
        let clear = |line: &&str| line.contains(setting) && line.contains("WARN");
        let found = log.lines().find(clear).map(|line| println!("{line}"));
        found.ok_or_else(|| "no such line".to_owned())
    })
    .await;
    until("it is not ready, and says why", async || match serving.ask("/health/ready").await? {
        (503, body) if body.contains(what) => Ok(()),
        (status, body) => Err(format!("{status}: {body}")),
    })
    .await;
    let (live, _) = serving.ask("/health/live").await.expect("it answers");
    assert_eq!(live, 200, "waiting is living");
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_broker_that_is_away_is_waited_for() {
    let world = World::new().await;
    let port = free_port().await;
    let (address, url) = with_port(&world.broker, port);
    let mut serving = Serving::start(&world, &[("KNARR_BROKER", &url)]);
    waits(&mut serving, "KNARR_BROKER", "broker").await;
    forward(port, address).await;
    serving.wait_until_ready().await;
    Submission::start(&world, &["--count", "10", "--mix", "clean"]).content(10).await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn live_a_store_that_is_away_is_waited_for() {
    let world = World::new().await;
    let port = free_port().await;
    let (address, url) = with_port(&world.store, port);
    let mut serving = Serving::start(&world, &[("KNARR_STORE", &url)]);
    waits(&mut serving, "KNARR_STORE", "store").await;
    forward(port, address).await;
    serving.wait_until_ready().await;
    Submission::start(&world, &["--count", "10", "--mix", "clean"]).content(10).await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn live_wrong_credentials_are_told_and_waited_out() {
    let world = World::new().await;
    let url = world.broker.replace("guest:guest@", "guest:s3cret@");
    assert_ne!(url, world.broker, "the tests' broker knows the user guest");
    let mut serving = Serving::start(&world, &[("KNARR_BROKER", &url)]);
    waits(&mut serving, "KNARR_BROKER", "broker").await;
    assert!(!serving.log().contains("s3cret"), "a password is in the log:\n{}", serving.log());
    // A process that waits stops as readily as one that works.
    assert!(serving.stop().await.success());
}
