//! Orders from the command line to a server on the embedded store, and what people read there.

use std::path::Path;

use serde_json::Value;

use crate::program::{Running, Said, knarr, pause, said};

const RUN: &str = "7b0c2f3e-1f8e-4c53-9f0a-5d1f5f0c1a01";
const LOOKS: &str = "a-token-that-only-looks";
const FILE: &str = "\
# people
otto read 16d9fa5d18622ac6dd5b2b99eb09866662742da4e1ca44b7df3710ff625c8d6d
";

struct House {
    folder: tempfile::TempDir,
    server: Running,
    _sandbox: Running,
    address: String,
}

impl House {
    fn open() -> House {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tokens"), FILE).expect("written");
        let path = folder.path();
        let mut sandbox = Running::start(knarr(path, &["sandbox", "--listen", "127.0.0.1:0"]));
        let services = sandbox.told("played at ");
        let services = services.split(". ").next().expect("an address").to_owned();
        let mut command = knarr(path, &["serve", "--listen", "127.0.0.1:0"]);
        for name in ["VIRUSTOTAL", "SAFE_BROWSING"] {
            command.env(format!("{name}_URL"), &services);
            command.env(format!("{name}_API_KEY"), "premium-key");
        }
        command.env("KNARR_HTTP_ALLOW", "127.0.0.1").env("KNARR_TOKENS", "tokens");
        let mut server = Running::start(command);
        let address = server.told("admin API: ");
        server.told("INFO ready");
        House { folder, server, _sandbox: sandbox, address }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A verb to its end, whatever comes of it.
    fn verb(&self, arguments: &[&str]) -> Said {
        let mut command = knarr(self.path(), arguments);
        command.env("KNARR_SERVER", &self.address);
        said(command)
    }

    /// What a verb that goes well says.
    fn out(&self, arguments: &[&str]) -> String {
        let said = self.verb(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.out
    }

    /// A verb's lines as JSON.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.out(&[arguments, &["--json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    }

    fn publish(&self, message: &str) {
        self.out(&["publish", "Knarr.UrlScan:SubmitUrl", message]);
    }

    /// Rows of a list, once there are some.
    fn some(&self, arguments: &[&str]) -> Vec<Value> {
        loop {
            let rows = self.json(arguments);
            if !rows.is_empty() {
                return rows;
            }
            pause();
        }
    }
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_else(|| panic!("no {name} in {row}")).to_owned()
}

#[test]
fn guard_a_run_is_purged_read_about_and_brought_back_by_the_commands_that_are_told() {
    let mut house = House::open();
    house.publish(&format!(r#"{{"scanId":"{RUN}","url":"https://never.test/"}}"#));
    house.some(&["instances", "list", "url-scan", "--state", "Scanning"]);
    let purge = ["instances", "purge", "url-scan", RUN, "--reason", "a wrong URL"];
    let dry = house.out(&[&purge[..], &["--dry-run"]].concat());
    assert!(dry.starts_with("nothing was written"), "{dry}");
    assert!(dry.contains(&format!("run 1 of url-scan/{RUN} is ended")), "{dry}");
    let verbs = |house: &House| -> Vec<String> {
        let audit = house.json(&["audit", "--endpoint", "url-scan"]);
        audit.iter().map(|line| text(line, "verb")).collect()
    };
    assert_eq!(verbs(&house), ["send"]);
    let done = house.json(&[&purge[..], &["--key", "once"]].concat());
    let again = house.json(&[&purge[..], &["--key", "once"]].concat());
    assert_eq!(done[0]["auditId"], again[0]["auditId"]);
    assert_eq!(again[0]["repeated"], true);
    assert_eq!(house.verb(&purge).code, 1, "it has ended already");
    let listed = house.json(&["incidents", "list", "--status", "open"]);
    let id = text(&listed[0], "id");
    let shown = house.out(&["incidents", "show", &id]);
    for part in [
        &format!("incident {id}: open, purged"),
        "  a wrong URL",
        "endpoint: url-scan, open now",
        &format!("run: url-scan {RUN}, run 1, in state Scanning"),
        "removed: ",
        "kept, in state Scanning:",
        "https://never.test/",
        "Deadline",
        "what to type next:",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    // The very line that is told, typed.
    let retry = format!("knarr incidents retry {id}");
    assert!(shown.lines().any(|line| line.trim() == retry), "{shown}");
    let typed: Vec<&str> = retry.split(' ').skip(1).collect();
    let said = house.out(&typed);
    assert!(said.contains("is back") && said.contains("audit "), "{said}");
    house.some(&["instances", "list", "url-scan", "--state", "Scanning"]);
    let audit = house.json(&["audit", "--endpoint", "url-scan"]);
    assert_eq!(verbs(&house), ["retry", "purge", "send"]);
    assert_eq!(text(&audit[1], "reason"), "a wrong URL");
    assert!(house.out(&["audit"]).contains("a wrong URL"));
    house.server.told("INFO ready");
}

#[test]
fn s0_12_an_endpoint_is_stopped_and_started_and_a_small_role_may_only_look() {
    let house = House::open();
    let halt = ["endpoints", "halt", "url-scan", "--reason", "the proxy is down"];
    let refused = house.verb(&[&halt[..], &["--token", LOOKS]].concat());
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("has the role read; this wants operate"), "{refused:?}");
    assert!(!refused.err.contains(LOOKS));
    assert!(house.out(&halt).contains("url-scan is halted"));
    let listed = house.out(&["endpoints", "list", "--token", LOOKS]);
    for part in ["halted", "the proxy is down", "admin"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let resumed = house.json(&["endpoints", "resume", "url-scan"]);
    assert_eq!(resumed[0]["verb"], "resume");
    assert!(house.out(&["endpoints", "pause", "url-scan"]).contains("takes no messages in"));
    assert_eq!(house.json(&["endpoints", "list"])[0]["state"], "paused");
    house.out(&["endpoints", "resume", "url-scan"]);
    let unknown = house.verb(&["endpoints", "halt", "nope"]);
    assert!(unknown.code == 1 && unknown.err.contains("no endpoint nope"), "{unknown:?}");
    for wrong in [&["quarantine", "release"] as &[&str], &["endpoints", "halt"]] {
        assert_eq!(house.verb(wrong).code, 2, "{wrong:?}");
    }
}

#[test]
fn s0_14_a_set_aside_message_is_edited_and_released_once() {
    let house = House::open();
    house.publish(&format!(r#"{{"scanId":"{RUN}"}}"#));
    house.publish(r#"{"scanId":"no-uuid","url":"https://clean.test/"}"#);
    let held = loop {
        let held = house.some(&["quarantine", "list"]);
        if held.len() == 2 {
            break held;
        }
        pause();
    };
    // Newest first.
    let (second, first) = (text(&held[0], "id"), text(&held[1], "id"));
    let refused = house.verb(&["quarantine", "release", &first]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("What was sent does not do"), "{refused:?}");
    let shown = house.out(&["quarantine", "show", &first]);
    let hint = format!("knarr quarantine edit {first} --file FILE");
    assert!(shown.contains(&hint) && shown.contains("copies"), "{shown}");
    let body = text(&house.json(&["quarantine", "show", &first])[0], "body");
    let edited =
        body.replace(&format!("\"{RUN}\""), &format!("\"{RUN}\",\"url\":\"https://clean.test/\""));
    assert_ne!(body, edited);
    let file = house.path().join("edited.json");
    std::fs::write(&file, &edited).expect("written");
    let file = file.to_str().expect("text");
    house.out(&["quarantine", "edit", &first, "--file", file, "--reason", "a slip"]);
    assert!(house.out(&["quarantine", "release", &first]).contains(" goes as "));
    assert_eq!(house.verb(&["quarantine", "release", &first]).code, 1, "once");
    house.some(&["instances", "list", "url-scan"]);
    let bulk = house.verb(&["quarantine", "release", "--class", "bad-message"]);
    assert!(bulk.code == 1 && bulk.err.contains("Nothing was changed"), "{bulk:?}");
    house.out(&["quarantine", "discard", &second]);
    assert_eq!(house.json(&["quarantine", "list"]), Vec::<Value>::new());
    assert_eq!(house.json(&["quarantine", "list", "--status", "discarded"]).len(), 1);
}

#[test]
fn s0_01_a_wrong_token_file_ends_the_start_with_a_line_for_each_wrong_line() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tokens"), "otto boss 00\n\nanna\n").expect("written");
    let mut command = knarr(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("KNARR_TOKENS", "tokens");
    let said = said(command);
    assert_eq!(said.code, 2, "{said:?}");
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(lines[0].starts_with("error: KNARR_TOKENS: tokens, line 1: `boss`"), "{said:?}");
    assert!(
        lines[1].starts_with("error: KNARR_TOKENS: tokens, line 3: is not three words"),
        "{said:?}"
    );
}
