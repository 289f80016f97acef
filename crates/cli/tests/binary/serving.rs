//! `serve` and `sandbox` as processes, and the verbs that look at them.

use std::path::Path;
use std::time::Duration;

use crate::program::{Running, knarr, pause, said};

const ID: &str = "7b0c2f3e-1f8e-4c53-9f0a-5d1f5f0c1a01";

/// A sandbox, and a server that asks it.
fn serve(folder: &Path) -> (Running, Running, String) {
    let mut sandbox = Running::start(knarr(folder, &["sandbox", "--listen", "127.0.0.1:0"]));
    let services = sandbox.told("played at ");
    let services = services.split(". ").next().expect("an address").to_owned();
    let mut command = knarr(folder, &["serve", "--listen", "127.0.0.1:0"]);
    for name in ["VIRUSTOTAL_URL", "SAFE_BROWSING_URL"] {
        command.env(name, &services);
    }
    for name in ["VIRUSTOTAL_API_KEY", "SAFE_BROWSING_API_KEY"] {
        command.env(name, "premium-key");
    }
    command.env("KNARR_HTTP_ALLOW", "127.0.0.1");
    let mut server = Running::start(command);
    let address = server.told("admin API: ");
    server.told("INFO ready");
    (sandbox, server, address)
}

#[test]
fn a_server_shows_its_new_token_serves_its_verbs_and_stops_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (sandbox, mut server, address) = serve(folder.path());
    let console = server.told("console: ");
    let (_, token) = console.split_once("#token=").expect("a link");
    let kept = std::fs::read_to_string(folder.path().join("knarr-data/admin-token"));
    assert_eq!(kept.expect("kept").trim(), token);
    let verb = |arguments: &[&str]| {
        let mut command = knarr(folder.path(), arguments);
        command.env("KNARR_SERVER", &address);
        said(command)
    };
    let message = format!(r#"{{"scanId":"{ID}","url":"https://never.test/"}}"#);
    let sent = verb(&["publish", "Knarr.UrlScan:SubmitUrl", &message, "--header", "tenant=blue"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    let nobody = verb(&["publish", "Knarr.UrlScan:Nothing", "{}"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("Nobody takes"), "{nobody:?}");
    let broken = verb(&["publish", "Knarr.UrlScan:SubmitUrl", "{", "--json"]);
    assert!(broken.code == 1 && broken.out.is_empty(), "{broken:?}");
    let shown = loop {
        let shown = verb(&["instances", "show", "url-scan", ID]);
        if shown.out.contains("done AskSafeBrowsing") {
            break shown.out;
        }
        pause();
    };
    for part in [ID, "run 1: Scanning", "It waits for the answer to AskVirusTotal", "Deadline"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let listed = verb(&["instances", "list", "url-scan", "--json"]);
    assert_eq!(listed.out.lines().count(), 1, "{listed:?}");
    assert!(listed.out.contains(ID));
    let none = verb(&["instances", "list", "url-scan", "--state", "Final", "--json"]);
    assert_eq!((none.code, none.out.as_str()), (0, ""));
    let sagas = verb(&["sagas"]).out;
    assert!(sagas.contains("url-scan") && sagas.contains("1 Scanning"), "{sagas}");
    assert!(verb(&["endpoints", "list"]).out.contains("open"));
    assert_eq!(verb(&["quarantine", "list"]).code, 0);
    let stranger = verb(&["sagas", "--token", "0123456789abcdef"]);
    assert_eq!(stranger.code, 1);
    assert!(stranger.err.contains("A token is needed"), "{stranger:?}");
    assert!(!stranger.err.contains(token));

    server.signal("-TERM");
    let (status, took, heard) = server.end();
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}: {heard}");
    assert!(heard.contains("INFO stopped"), "{heard}");
    sandbox.signal("-INT");
    assert!(sandbox.end().0.success());

    let mut again = Running::start(knarr(folder.path(), &["serve", "--listen", "127.0.0.1:0"]));
    again.told("INFO ready");
    assert!(!again.heard().contains(token), "a token that is known is not shown again");
    again.signal("-INT");
    assert!(again.end().0.success());
}

#[test]
fn a_server_whose_broker_is_away_says_so_stays_and_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--broker", "amqp://127.0.0.1:9"];
    let mut server = Running::start(knarr(folder.path(), &arguments));
    let why = server.told("not ready: ");
    assert!(why.contains("broker: "), "{why}");
    server.signal("-TERM");
    let (status, took, heard) = server.end();
    assert!(status.success() && took < Duration::from_secs(10), "{status} {took:?}: {heard}");
}

#[test]
fn a_server_whose_store_is_away_waits_and_can_be_stopped_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = knarr(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.args(["--broker", "amqp://127.0.0.1:9"]);
    command.args(["--store", "postgres://knarr:s3cret@127.0.0.1:9/knarr"]);
    let mut server = Running::start(command);
    let why = server.told("waiting for the store: ");
    assert!(why.contains("next attempt in"), "{why}");
    let address = server.told("admin API: ");
    let live = get(&address, "/health/live");
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    let ready = get(&address, "/health/ready");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("the store is away"), "{ready}");
    server.signal("-TERM");
    let (status, _, heard) = server.end();
    assert!(status.success(), "{heard}");
    assert!(!heard.contains("s3cret"), "{heard}");
}

#[test]
fn row_113_after_a_restore_a_file_goes_on_at_an_epoch_that_nobody_has_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = ("KNARR_ADMIN_TOKEN", "0123456789abcdef");
    let epoch = |flags: &[&str]| {
        let mut command = knarr(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let mut server = Running::start({
            command.args(flags).env(token.0, token.1);
            command
        });
        let address = server.told("admin API: ");
        server.told("INFO ready");
        let mut list = knarr(folder.path(), &["endpoints", "list", "--json"]);
        list.env("KNARR_SERVER", &address).env("KNARR_TOKEN", token.1);
        let listed = said(list).out;
        server.signal("-TERM");
        let (status, _, heard) = server.end();
        assert!(status.success(), "{heard}");
        let (_, after) = listed.split_once("\"epoch\":").expect("an epoch");
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        (digits.parse::<u64>().expect("a number"), listed.contains("restoredAt"), heard)
    };
    let (before, was_restored, _) = epoch(&[]);
    assert!(before < 100 && !was_restored);
    let (restored, is_restored, heard) = epoch(&["--after-restore"]);
    assert!(restored > 1_700_000_000 && is_restored, "{restored}");
    assert!(heard.contains("after a restore: 0 runs are taken up"), "{heard}");
    let (again, still, heard) = epoch(&[]);
    assert_eq!((again, still), (restored, true), "and stays there: {heard}");
}

/// The answer to a GET, head and body.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read, Write};
    let host = address.strip_prefix("http://").expect("a URL");
    let mut stream = std::net::TcpStream::connect(host).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
