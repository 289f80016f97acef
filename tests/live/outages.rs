//! Broker and database die and come back under load: what they had confirmed is not lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, MASS_TRANSIT, Raw, SCANNED, SUBMIT, Wire, envelope};
use crate::world::{World, until};

/// Where copies of all verdicts are kept.
const TAP: &str = "tap";
const SCANS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn s0_04_row_094_live_broker_and_store_die_under_load_and_nothing_is_lost() {
    let (world, mut broker, mut server) = World::mortal(Duration::from_millis(100)).await;
    let mut serving = Serving::ready(&world, &[("VIRUSTOTAL_POLL_INTERVAL", "2s")]).await;
    let wire = Wire::open(&world).await;
    wire.tap(TAP, SCANNED).await;
    broker.remember_queues().await;
    let mut scans = BTreeSet::new();
    scans.extend(submit(&wire, SCANS / 2).await);
    broker.kill9().await;
    broker.start().await;
    serving.wait_until_ready().await;
    let wire = Wire::open(&world).await;
    scans.extend(submit(&wire, SCANS / 2).await);
    server.kill9().await;
    let unready =
        until("a lost store is noticed", async || match serving.ask("/health/ready").await? {
            (503, body) if body.contains("store") => Ok(body),
            (status, body) => Err(format!("{status}: {body}")),
        })
        .await;
    println!("{unready}");
    server.start().await;
    serving.wait_until_ready().await;
    let mut stored = Stored::open(&world).await;
    stored.all_ended_once(SCANS as i64).await;
    // Nobody's budget was used: nothing is set aside, no endpoint stopped.
    for list in ["/api/v1/quarantine", "/api/v1/incidents"] {
        assert_eq!(serving.list(list).await, Vec::<serde_json::Value>::new(), "{list}");
    }
    assert_eq!(wire.ready(ENDPOINT).await, 0, "nothing is left in the queue");
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let verdicts = wire.take_all(TAP).await;
    println!("{} verdicts were sent for {SCANS} scans", verdicts.len());
    for verdict in verdicts {
        let verdict: serde_json::Value = serde_json::from_slice(&verdict).expect("an envelope");
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        assert_eq!(verdict["message"]["verdict"], "clean", "{verdict:#}");
        let ids = told.entry(text(&verdict["message"]["scanId"])).or_default();
        ids.insert(text(&verdict["messageId"]));
    }
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), scans, "every scan has its verdict");
    let twice: Vec<_> = told.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "told under several ids: {twice:?}");
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// Submits scans, of which half take a while; their ids, once the broker has them all.
async fn submit(wire: &Wire, many: usize) -> Vec<String> {
    let mut scans = Vec::new();
    for number in 0..many {
        let kind = if number % 2 == 0 { "slow" } else { "clean" };
        let (scan, message_id) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
        let message = json!({ "scanId": scan, "url": format!("http://{kind}.test/{scan}") });
        let body = envelope(&message_id, message);
        wire.publish(&Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() })
            .await;
        scans.push(scan);
    }
    scans
}
