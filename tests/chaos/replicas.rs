//! Several servers on one queue, and how they are replaced one after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::feed::Feed;
use crate::history;
use crate::lives::{GRACE, given, short, stops_in_time};
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, until};

/// Scans that are under way at least whenever a server is asked to stop.
const IN_FLIGHT: i64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn mt_287_live_three_replicas_share_a_queue() {
    let world = World::new().await;
    let mut feed = Feed::open(&world).await;
    let mut three = [(); 3].map(|()| Serving::start(&world, &short(&[])));
    for serving in &mut three {
        serving.wait_until_ready().await;
    }
    // Until each has had its part: one that is slow to begin may find nothing left.
    loop {
        feed.submit(60).await;
        let mut idle = 0;
        for serving in &three {
            let counters = serving.counters().await;
            let parts = ["received", "applied", "attempts", "published"];
            idle += usize::from(parts.iter().any(|name| counters[*name] == 0));
        }
        if idle == 0 {
            break;
        }
        assert!(feed.scans.len() < 3_000, "{idle} of three have no part in it");
    }
    let summary = history::check(&world, &feed).await;
    assert_eq!(summary.copies, 0, "nothing failed, so nothing is said twice");
    let mut published = 0;
    for serving in three {
        let counters = serving.counters().await;
        assert_eq!(counters["lost_leases"], 0, "{counters:?}");
        published += counters["published"];
        stops_in_time(serving).await;
    }
    assert_eq!(published, feed.scans.len() as u64, "each verdict was sent by one of them, once");
}

/// Deploys in a row under load: each server leaves in order and in time, and leaves nothing undone,
/// nothing done twice, and nothing that counts against a message. `KNARR_TEST_RESTARTS` says how
/// many.
#[tokio::test(flavor = "multi_thread")]
async fn row_017_live_rolling_restarts_under_load_do_nothing_twice() {
    let restarts: u32 = given("KNARR_TEST_RESTARTS", 5);
    let world = World::with_latency(Duration::from_millis(300)).await;
    let set = short(&[("VIRUSTOTAL_POLL_INTERVAL", "2s")]);
    let mut feed = Feed::of(&world, &["slow", "unknown"]).await;
    let mut stored = Stored::open(&world).await;
    let mut old = Serving::ready(&world, &set).await;
    let mut young = Serving::ready(&world, &set).await;
    for restart in 1..=restarts {
        let in_flight = until("enough is under way", async || {
            feed.submit(40).await;
            match stored.in_flight().await {
                many if many >= IN_FLIGHT => Ok(many),
                many => Err(format!("{many}")),
            }
        })
        .await;
        let next = Serving::start(&world, &set);
        let began = Instant::now();
        stops_in_time(old).await;
        println!("stop {restart}: {in_flight} in flight, {:?} of {GRACE:?}", began.elapsed());
        (old, young) = (young, next);
        young.wait_until_ready().await;
    }
    let summary = history::check(&world, &feed).await;
    assert_eq!(summary.copies, 0, "a stop in order sends nothing twice");
    for serving in [old, young] {
        let counters = serving.counters().await;
        assert_eq!(counters["lost_leases"], 0, "{counters:?}");
        stops_in_time(serving).await;
    }
    let left = stored.count("SELECT count(*) FROM knarr.node").await;
    assert_eq!(left, 0, "who stops in order leaves no lease behind that others wait for");
    once_asked(&world);
}

/// An effect outside happened once as well: no URL was submitted to the service twice.
fn once_asked(world: &World) {
    let mut submitted: BTreeMap<String, usize> = BTreeMap::new();
    for request in world.sandbox.requests() {
        if request.method == "POST" && request.path.starts_with("/api/v3/urls") {
            *submitted.entry(request.about.expect("it names its URL")).or_default() += 1;
        }
    }
    assert!(!submitted.is_empty(), "nothing was ever submitted");
    submitted.retain(|_, times| *times > 1);
    assert!(submitted.is_empty(), "submitted twice: {submitted:?}");
}
