//! The database comes back as it was some time ago; the broker is where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope, envelope_of};
use crate::world::{World, until};

/// Where copies of all verdicts are kept.
const TAP: &str = "tap";
const CANCEL: &str = "Knarr.UrlScan:CancelScan";
const MANY: usize = 20;

/// A scan, and the message that starts it.
struct Scan {
    id: String,
    message_id: String,
    raw: Raw,
}

fn scan(url: &str) -> Scan {
    let (id, message_id) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let body = envelope(&message_id, json!({ "scanId": id, "url": url }));
    let raw = Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() };
    Scan { id, message_id, raw }
}

fn cancel(scan: &Scan) -> Raw {
    let urn = format!("urn:message:{CANCEL}");
    let message = json!({ "scanId": scan.id, "reason": "no more" });
    let body = envelope_of(&Uuid::now_v7().to_string(), &urn, message);
    Raw { exchange: CANCEL, content_type: MASS_TRANSIT, body, ..Raw::default() }
}

async fn start(wire: &Wire, scans: &[Scan]) {
    for scan in scans {
        wire.publish(&scan.raw).await;
    }
}

/// Ids of the verdicts' messages, by scan.
async fn told(wire: &Wire) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for body in wire.take_all(TAP).await {
        let verdict: Value = serde_json::from_slice(&body).expect("an envelope");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let ids = told.entry(text(&verdict["message"]["scanId"])).or_default();
        ids.insert(text(&verdict["messageId"]));
    }
    told
}

/// A copy of the world's database as it is now, to be restored later. Nobody may be connected.
async fn back_up(world: &World) -> String {
    let (server, name) = world.store.rsplit_once('/').expect("a database");
    let (name, options) = name.split_once('?').unwrap_or((name, ""));
    let mut connection =
        PgConnection::connect(&format!("{server}/postgres?{options}")).await.expect("a server");
    let copy = format!("CREATE DATABASE \"{name}_backup\" TEMPLATE \"{name}\"");
    until("nobody is connected any more", async || {
        let done = sqlx::query(AssertSqlSafe(copy.clone())).execute(&mut connection).await;
        done.map(drop).map_err(|error| error.to_string())
    })
    .await;
    format!("{server}/{name}_backup?{options}")
}

/// Ends the copy.
async fn forget(world: &World) {
    let (server, name) = world.store.rsplit_once('/').expect("a database");
    let (name, options) = name.split_once('?').unwrap_or((name, ""));
    let server = PgConnection::connect(&format!("{server}/postgres?{options}")).await;
    let drop = format!("DROP DATABASE \"{name}_backup\" WITH (FORCE)");
    let done = sqlx::query(AssertSqlSafe(drop)).execute(&mut server.expect("a server")).await;
    done.expect("our own database");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_113_live_a_store_from_the_past_goes_on_beside_a_broker_from_the_present() {
    let world = World::with_latency(Duration::from_millis(50)).await;
    let set = [("VIRUSTOTAL_POLL_INTERVAL", "3s")];
    let serving = Serving::ready(&world, &set).await;
    let wire = Wire::open(&world).await;
    wire.tap(TAP, SCANNED).await;
    // Under way when the backup is made: taken in, called for, not ended.
    let early: Vec<Scan> = (0..MANY).map(|_| scan("http://slow.test/")).collect();
    start(&wire, &early).await;
    let mut stored = Stored::open(&world).await;
    until("all are taken in", async || match stored.in_flight().await {
        rows if rows == MANY as i64 && wire.ready(ENDPOINT).await == 0 => Ok(()),
        rows => Err(format!("{rows} runs")),
    })
    .await;
    // One of two answers is there, so it is the other one that each verdict will come of, both times.
    until("one of the two calls of each has ended", async || {
        let open = stored.count("SELECT count(*) FROM knarr.activity").await;
        if open <= MANY as i64 { Ok(()) } else { Err(format!("{open} calls")) }
    })
    .await;
    drop(stored);
    serving.kill9().await;
    let backup = back_up(&world).await;
    // What happens then is lost: all end, others begin, some of those end, too.
    let serving = Serving::ready(&world, &set).await;
    let lost: Vec<Scan> = (0..MANY).map(|_| scan("http://clean.test/")).collect();
    let waiting: Vec<Scan> = (0..3).map(|_| scan("http://never.test/")).collect();
    start(&wire, &lost).await;
    start(&wire, &waiting).await;
    let mut stored = Stored::open(&world).await;
    until("they have ended", async || match stored.states().await.get("Final").copied() {
        Some(ended) if ended == 2 * MANY as i64 => Ok(()),
        ended => Err(format!("{ended:?} ended")),
    })
    .await;
    serving.order("/api/v1/endpoints/url-scan/halt").await;
    let halted = serving.list("/api/v1/endpoints").await.remove(0);
    serving.kill9().await;
    let before = told(&wire).await;
    assert_eq!(before.len(), 2 * MANY);
    // The broker goes on: copies of what had been acknowledged, messages for what is lost, new ones.
    start(&wire, &early).await;
    let fresh: Vec<Scan> = (0..MANY).map(|_| scan("http://clean.test/")).collect();
    start(&wire, &fresh).await;
    for scan in &waiting {
        wire.publish(&cancel(scan)).await;
    }
    let set = [set[0], ("KNARR_STORE", &*backup)];
    let mut serving = Serving::start_with(&world, &set, &["--after-restore"]);
    serving.wait_until_ready().await;
    let mut stored = Stored::at(&backup).await;
    stored.all_ended_once(2 * MANY as i64).await;
    let aside = until("what is for the lost ones is set aside", async || {
        let rows = serving.list("/api/v1/quarantine").await;
        if rows.len() == waiting.len() { Ok(rows) } else { Err(format!("{rows:?}")) }
    })
    .await;
    let named: BTreeSet<_> =
        aside.iter().map(|row| row["instance"].as_str().unwrap_or("")).collect();
    assert_eq!(named, waiting.iter().map(|scan| &*scan.id).collect());
    for row in &aside {
        let reason = row["reason"].as_str().expect("a reason");
        assert_eq!(row["class"], "missing", "{row}");
        assert!(reason.contains("the store was restored on "), "{reason}");
    }
    println!("{}", aside[0]["reason"]);
    // What was sent again bears the ids that it had: receivers know it.
    let after = told(&wire).await;
    for scan in &early {
        assert_eq!(after.get(&scan.id), before.get(&scan.id), "the verdict of {}", scan.id);
    }
    assert!(fresh.iter().all(|scan| after.contains_key(&scan.id)));
    // What senders send again is done again, once, under the same ids.
    start(&wire, &lost).await;
    stored.all_ended_once(3 * MANY as i64).await;
    let ids = "SELECT count(*) FROM knarr.journal WHERE outcome = 'applied' AND message_id = ANY ";
    let sent: Vec<_> = lost.iter().map(|scan| format!("'{}'", scan.message_id)).collect();
    let known = stored.count(&format!("{ids} (ARRAY[{}]::uuid[])", sent.join(","))).await;
    assert_eq!(known, MANY as i64);
    // The halt was lost with the rest, and no number is one that it or anything else was given.
    let row = serving.list("/api/v1/endpoints").await.remove(0);
    assert_eq!(row["state"], "open");
    assert!(row["epoch"].as_i64() > halted["epoch"].as_i64().map(|epoch| epoch + 1_000_000));
    assert!(row["restoredAt"].is_string(), "{row}");
    let audit = serving.list("/api/v1/audit").await;
    assert!(audit.iter().any(|line| line["verb"] == "after-restore"), "{audit:?}");
    let log = serving.log();
    let line = log.lines().find(|line| line.contains("20 runs are taken up"));
    println!("{}", line.expect("the log says what is taken up again"));
    wire.close().await;
    assert!(serving.stop().await.success());
    drop(stored);
    forget(&world).await;
}
