//! Secrets stand in no log, however much is logged, in no error and in no answer.

use std::process::Stdio;

use serde_json::json;
use uuid::Uuid;

use crate::serving::{Serving, knarr};
use crate::stored::Stored;
use crate::wire::{MASS_TRANSIT, Raw, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// Each secret is another one, so that a leak tells which it was.
const PASSWORD: &str = "c4nary-of-the-store";
const ADMIN: &str = "c4nary-of-the-admin";
const VIRUS_TOTAL: &str = "c4nary-of-virus-total";
const SAFE_BROWSING: &str = "c4nary-of-safe-browsing";
const WRONG: &str = "c4nary-of-the-broker";
const CANARIES: [&str; 5] = [PASSWORD, ADMIN, VIRUS_TOTAL, SAFE_BROWSING, WRONG];

/// Lines that hold a secret, in any of the forms in which it may stand there.
fn leaks(what: &str, said: &str) -> Vec<String> {
    let forms = CANARIES.iter().flat_map(|secret| {
        let bytes = format!("{:?}", secret.as_bytes());
        [(*secret).to_owned(), bytes.trim_matches(['[', ']']).to_owned()]
    });
    let forms: Vec<String> = forms.collect();
    let holds = |line: &&str| forms.iter().any(|form| line.contains(form));
    said.lines().filter(holds).map(|line| format!("{what}: {line:.500}")).collect()
}

/// The store's URL with a password that it does not ask for.
fn with_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (login, rest) = rest.split_once('@').expect("a login");
    let user = login.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:{PASSWORD}@{rest}")
}

async fn said(world: &World, verb: &[&str], set: &[(&str, &str)]) -> String {
    let mut command = knarr(world, verb[0], world.folder());
    command.args(&verb[1..]).envs(set.iter().copied()).stdout(Stdio::piped());
    let output = command.stderr(Stdio::piped()).output().await.expect("it runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_06_live_no_secret_is_in_a_log_an_error_or_an_answer() {
    let world = World::new().await;
    let mut found = Vec::new();
    let store = with_password(&world.store);
    let key = world.folder().join("key");
    std::fs::write(&key, format!("{SAFE_BROWSING}\n")).expect("our own folder");
    let key = key.to_str().expect("text");
    let blank = ("SAFE_BROWSING_API_KEY", "");
    let set = [
        ("KNARR_LOG", "trace"),
        ("KNARR_STORE", &*store),
        ("KNARR_ADMIN_TOKEN", ADMIN),
        ("VIRUSTOTAL_API_KEY", VIRUS_TOTAL),
        blank,
        ("SAFE_BROWSING_API_KEY_FILE", key),
    ];
    let mut serving = Serving::start(&world, &set);
    until("it is ready", async || {
        let url = serving.url().ok_or("it does not listen yet")?;
        let answer = reqwest::get(format!("{url}/health/ready")).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(()) } else { Err(answer.status().to_string()) }
    })
    .await;
    // Work that asks both services with keys that they refuse: a run fails, and is told about.
    let wire = Wire::open(&world).await;
    for _ in 0..2 {
        let scan = json!({ "scanId": Uuid::now_v7(), "url": "http://clean.test/" });
        let body = envelope(&Uuid::now_v7().to_string(), scan);
        let raw = Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() };
        wire.publish(&raw).await;
    }
    let mut stored = Stored::open(&world).await;
    let failed = "SELECT count(*) FROM knarr.incident";
    until("both services refuse the keys", async || match stored.count(failed).await {
        0 => Err("no incident".to_owned()),
        _ => Ok(()),
    })
    .await;
    let url = serving.url().expect("it listens");
    let server = [set.as_slice(), &[("KNARR_SERVER", &*url), ("KNARR_TOKEN", ADMIN)]].concat();
    for verb in [
        &["check", "--json"] as &[&str],
        &["check", "--against"],
        &["sagas", "--json"],
        &["endpoints", "list", "--json"],
        &["instances", "list", "url-scan", "--json"],
        &["incidents", "list", "--json"],
        &["quarantine", "list", "--json"],
        &["audit", "--json"],
        &["diagram", "url-scan"],
        &["migrate"],
        &["incidents", "show", "nonsense"],
        &["publish", "Nobody:Takes", "{}"],
    ] {
        found.extend(leaks(&verb.join(" "), &said(&world, verb, &server).await));
    }
    let web = reqwest::Client::new();
    for path in [
        "/api/v1/whoami",
        "/api/v1/incidents",
        "/api/v1/quarantine",
        "/api/v1/sagas/url-scan/instances",
        "/api/v1/audit",
        "/api/openapi.json",
        "/metrics",
        "/health/ready",
        "/api/v1/nowhere",
    ] {
        let answer = web.get(format!("{url}{path}")).bearer_auth(ADMIN).send().await;
        let text = answer.expect("it answers").text().await.expect("a body");
        found.extend(leaks(path, &text));
    }
    // Nor does what the database keeps of it.
    for column in ["incident.detail", "quarantine.detail", "snapshot.whole", "activity.ended"] {
        let (table, name) = column.split_once('.').expect("a column");
        let query = format!("SELECT count(*) FROM knarr.{table} WHERE {name} LIKE '%c4nary%'");
        if stored.count(&query).await > 0 {
            found.push(format!("it is kept in {column}"));
        }
    }
    let log = serving.log();
    assert!(log.contains("TRACE"), "everything is logged");
    found.extend(leaks("serve", &log));
    wire.close().await;
    assert!(serving.stop().await.success());
    // A broker that refuses the password; logged as it may be, and by the client as well.
    let broker = world.broker.replace("guest:guest@", &format!("guest:{WRONG}@"));
    for level in ["trace", "trace,lapin=trace"] {
        let set = [set.as_slice(), &[("KNARR_BROKER", &*broker), ("KNARR_LOG", level)]].concat();
        serving = Serving::start(&world, &set);
        until("it is refused", async || {
            let log = serving.log();
            let told = log.contains("no connection to the broker");
            if told { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        found.extend(leaks(level, &serving.log()));
        assert!(serving.stop().await.success());
    }
    assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
}
