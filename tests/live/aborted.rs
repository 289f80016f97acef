//! A halt in the midst of calls: their connections close, and nothing of them is left behind.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{MASS_TRANSIT, Raw, SUBMIT, Wire, envelope};
use crate::world::{World, until};

const SCANS: usize = 4;
/// Both services are asked at once.
const CALLS: usize = 2 * SCANS;

#[tokio::test(flavor = "multi_thread")]
async fn row_087_live_a_halt_closes_the_connections_of_calls_and_leaves_nothing_behind() {
    // The services take longer than anything here.
    let world = World::with_latency(Duration::from_secs(600)).await;
    let most = CALLS.to_string();
    let set = [("KNARR_MAX_CALLS", most.as_str()), ("VIRUSTOTAL_QUOTA", "1000/min")];
    let serving = Serving::ready(&world, &set).await;
    let wire = Wire::open(&world).await;
    for n in 0..SCANS {
        let scan = Uuid::now_v7();
        let url = format!("http://clean.test/{n}");
        let message = json!({ "scanId": scan, "url": url });
        let body = envelope(&Uuid::now_v7().to_string(), message);
        let raw = Raw { exchange: SUBMIT, content_type: MASS_TRANSIT, body, ..Raw::default() };
        wire.publish(&raw).await;
    }
    let open = async |wanted: usize| match world.sandbox.open() {
        open if open == wanted => Ok(()),
        open => Err(format!("{open} requests are open")),
    };
    until("every call is being answered", async || open(CALLS).await).await;
    assert_eq!(world.sandbox.gone(), 0);

    let told = serving.order("/api/v1/endpoints/url-scan/halt").await;
    let [node] = told["nodes"].as_array().expect("nodes").as_slice() else { panic!("{told:#}") };
    assert_eq!(node["abandoned"], CALLS, "{told:#}");
    assert_eq!(node["inHand"], CALLS, "{told:#}");
    until("every connection is closed", async || match world.sandbox.gone() {
        gone if gone == CALLS => Ok(()),
        gone => Err(format!("{gone} requests were given up")),
    })
    .await;
    assert_eq!(world.sandbox.open(), 0);

    let mut stored = Stored::open(&world).await;
    for (what, sql) in [
        ("a lease of a call", "SELECT count(*) FROM knarr.activity WHERE node IS NOT NULL"),
        ("an attempt that counts", "SELECT count(*) FROM knarr.activity WHERE attempt > 0"),
        (
            "a connection in a transaction",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND state LIKE 'idle in transaction%'",
        ),
        (
            "a lock",
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE d.datname = current_database() AND l.locktype = 'advisory' \
             AND NOT EXISTS (SELECT FROM pg_stat_activity a \
                             WHERE a.pid = l.pid AND a.state = 'active')",
        ),
    ] {
        // The claims are given back right after the calls are cancelled.
        until(what, async || match stored.count(sql).await {
            0 => Ok(()),
            left => Err(format!("{left} left")),
        })
        .await;
    }
    // Had one of the places for calls been kept, not all would be asked again.
    serving.order("/api/v1/endpoints/url-scan/resume").await;
    until("every call is asked again", async || open(CALLS).await).await;
    wire.close().await;
    assert!(serving.stop().await.success());
}
