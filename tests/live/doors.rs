//! The broker's doors shut and open again under the whole program: alarms, rights, queues, TLS.

use std::collections::BTreeSet;
use std::time::Duration;

use knarr_testkit::services::Certificates;
use knarr_testkit::services::rabbitmq::Private;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// Where copies of all verdicts are kept.
const TAP: &str = "tap";
const OUTBOX: &str = "SELECT count(*) FROM knarr.outbox";
const CLOSE: &str = "[rabbit_networking:close_connection(P, \"go\") || \
                     P <- rabbit_networking:connections()], ok";

/// Submits scans that are soon decided; their ids.
async fn submit(wire: &Wire, many: usize) -> BTreeSet<String> {
    let mut scans = BTreeSet::new();
    for _ in 0..many {
        let (scan, id) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
        let body =
            envelope(&id, json!({ "scanId": scan, "url": format!("http://clean.test/{scan}") }));
        wire.publish(&Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() })
            .await;
        scans.insert(scan);
    }
    scans
}

async fn scans_told(wire: &Wire) -> Vec<String> {
    let verdicts = wire.take_all(TAP).await;
    let scan = |body: &Vec<u8>| -> String {
        let verdict: Value = serde_json::from_slice(body).expect("an envelope");
        verdict["message"]["scanId"].as_str().expect("an id").to_owned()
    };
    verdicts.iter().map(scan).collect()
}

/// Waits until so many have ended: what still lies in the broker is in no table.
async fn all_final(stored: &mut Stored, scans: usize) {
    let ended = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
    until("all have ended", async || match stored.count(ended).await {
        many if many == scans as i64 => Ok(()),
        many => Err(format!("{many} of {scans}")),
    })
    .await;
}

async fn all_ended_once(world: &World, scans: usize) {
    let mut stored = Stored::open(world).await;
    all_final(&mut stored, scans).await;
    stored.all_ended_once(scans as i64).await;
}

/// Waits until readiness is refused in words that hold all of these.
async fn unready(serving: &Serving, parts: &[&str]) -> String {
    until(&format!("not ready: {parts:?}"), async || match serving.ask("/health/ready").await? {
        (503, body) if parts.iter().all(|part| body.contains(part)) => Ok(body),
        (status, body) => Err(format!("{status}: {body}")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn row_022_row_023_live_alarms_fill_the_outbox_which_empties_when_they_end() {
    let (world, broker, _server) = World::mortal(Duration::from_millis(300)).await;
    let mut serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    wire.tap(TAP, SCANNED).await;
    let mut stored = Stored::open(&world).await;
    let (mut scans, mut told) = (BTreeSet::new(), Vec::new());
    let alarms = [
        (
            "vm_memory_monitor:set_vm_memory_high_watermark(0.0001)",
            "vm_memory_monitor:set_vm_memory_high_watermark(0.6)",
            "memory",
        ),
        (
            "rabbit_disk_monitor:set_disk_free_limit(1000000000000000000)",
            "rabbit_disk_monitor:set_disk_free_limit(50000000)",
            "disk",
        ),
    ];
    for (alarm, over, word) in alarms {
        scans.extend(submit(&wire, 30).await);
        broker.eval(alarm).await.expect("set");
        let why = unready(&serving, &["takes no messages", word]).await;
        println!("{why}");
        // Deciding goes on, and what it has to say waits.
        all_final(&mut stored, scans.len()).await;
        assert!(stored.count(OUTBOX).await > 0, "nothing waits in the outbox");
        broker.eval(over).await.expect("set");
        serving.wait_until_ready().await;
        stored.all_ended_once(scans.len() as i64).await;
        told.extend(scans_told(&wire).await);
        assert_eq!(told.iter().cloned().collect::<BTreeSet<_>>(), scans, "{word}");
    }
    println!("{} verdicts for {} scans", told.len(), scans.len());
    wire.close().await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_025_row_032_live_rights_and_the_queue_itself_go_and_come_back() {
    let (world, broker, _server) = World::mortal(Duration::ZERO).await;
    let mut serving = Serving::ready(&world, &[]).await;
    let rights = |read: &str| {
        format!(
            "rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"/\">>, \
             <<\".*\">>, <<\".*\">>, <<\"{read}\">>, <<\"guest\">>)"
        )
    };
    broker.eval(&rights("^nothing$")).await.expect("set");
    broker.eval(CLOSE).await.expect("closed");
    println!("{}", unready(&serving, &[ENDPOINT]).await);
    until("the log says why", async || {
        let log = serving.log();
        let told = log.lines().find(|it| it.contains("403") && it.contains(ENDPOINT));
        told.map(|line| println!("{line}")).ok_or_else(|| "no such line".to_owned())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let lines = serving.log().lines().filter(|it| it.contains("403")).count();
    assert!(lines <= 40, "{lines} lines in a few seconds are a flood");
    broker.eval(&rights(".*")).await.expect("set");
    serving.wait_until_ready().await;
    let wire = Wire::open(&world).await;
    submit(&wire, 5).await;
    all_ended_once(&world, 5).await;
    broker.ctl(&["delete_queue", ENDPOINT]).await.expect("deleted");
    until("the queue is there again, with its consumer", async || {
        let said = broker.ctl(&["-q", "list_consumers", "queue_name"]).await?;
        if said.contains(ENDPOINT) { Ok(()) } else { Err(said) }
    })
    .await;
    serving.wait_until_ready().await;
    submit(&wire, 5).await;
    all_ended_once(&world, 10).await;
    wire.close().await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_031_pe_042_live_a_queue_that_differs_is_named_with_its_argument_and_waited_out() {
    let world = World::new().await;
    let wire = Wire::open(&world).await;
    wire.classic(ENDPOINT).await;
    let mut serving = Serving::start(&world, &[]);
    until("the log names queue and argument", async || {
        let log = serving.log();
        let clear = |line: &&str| line.contains("queue `url-scan`") && line.contains("another `x-");
        let found = log.lines().find(clear).map(|line| println!("{line}"));
        found.ok_or_else(|| "no such line".to_owned())
    })
    .await;
    println!("{}", unready(&serving, &[ENDPOINT]).await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let lines = serving.log().lines().filter(|it| it.contains("another `x-")).count();
    assert!((1..=40).contains(&lines), "{lines} lines in a few seconds are a flood");
    // Whoever owns it takes it away: nothing else has to be done.
    wire.delete(ENDPOINT).await;
    serving.wait_until_ready().await;
    submit(&wire, 3).await;
    all_ended_once(&world, 3).await;
    wire.close().await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pe_046_live_a_broker_that_wants_certificates_is_served_over_tls() {
    let certificates = Certificates::make();
    let (broker, port) = Private::launch_with_tls(&certificates).await;
    let world = World::beside(&broker).await;
    let at = |name| certificates.path(name).display().to_string();
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let set = [
        ("KNARR_BROKER", url),
        ("KNARR_BROKER_CA_FILE", at("authority.pem")),
        ("KNARR_BROKER_CERTIFICATE_FILE", at("client.pem")),
        ("KNARR_BROKER_KEY_FILE", at("client.key")),
    ];
    let set: Vec<_> = set.iter().map(|(name, value)| (*name, &**value)).collect();
    let serving = Serving::ready(&world, &set).await;
    let wire = Wire::open(&world).await;
    submit(&wire, 5).await;
    all_ended_once(&world, 5).await;
    assert!(!serving.log().contains("PRIVATE KEY"), "the key is in the log");
    wire.close().await;
    assert!(serving.stop().await.success());
}
