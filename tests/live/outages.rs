//! Broker and database die and come back under load: what they had confirmed is not lost.

use std::time::Duration;

use crate::scans::Scans;
use crate::serving::Serving;
use crate::world::{World, until};

const SCANS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn s0_04_row_094_live_broker_and_store_die_under_load_and_nothing_is_lost() {
    let (world, mut broker, mut server) = World::mortal(Duration::from_millis(100)).await;
    let mut serving = Serving::ready(&world, &[("VIRUSTOTAL_POLL_INTERVAL", "2s")]).await;
    let mut scans = Scans::tapped(&world).await;
    broker.remember_queues().await;
    scans.submit(SCANS / 2).await;
    broker.kill9().await;
    broker.start().await;
    serving.wait_until_ready().await;
    let mut scans = scans.tapped_again(&world).await;
    scans.submit(SCANS / 2).await;
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
    // Nobody's budget was used: nothing is set aside, no endpoint stopped.
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}
