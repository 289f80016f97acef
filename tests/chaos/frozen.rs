//! Processes that stand still for a while (SIGSTOP) and go on as if nothing had been.

use std::time::Duration;

use crate::feed::Feed;
use crate::history;
use crate::lives::{given, short, stops_in_time};
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, until};

/// The broker gives up every client that it has.
const CLOSE: &str = "[rabbit_networking:close_connection(P, \"go\") || \
                     P <- rabbit_networking:connections()], ok";

/// What the frozen one held is the other one's by the time it thaws: deliveries, since the broker
/// has closed its connections, and claims, since its lease has ended. `KNARR_TEST_FREEZE` says for
/// how many seconds it is frozen.
#[tokio::test(flavor = "multi_thread")]
async fn row_058_live_who_was_frozen_acks_and_records_nothing_of_its_old_life() {
    let lasts = Duration::from_secs(given("KNARR_TEST_FREEZE", 5));
    let (world, broker, _server) = World::mortal(Duration::from_millis(500)).await;
    let set = short(&[("KNARR_PREFETCH", "50")]);
    let mut frozen = Serving::ready(&world, &set).await;
    let mut other = Serving::ready(&world, &set).await;
    let mut feed = Feed::of(&world, &["slow", "unknown"]).await;
    feed.submit(80).await;
    until("both are at work", async || {
        let (one, other) = (frozen.counters().await, other.counters().await);
        if one["attempts"] > 20 && other["attempts"] > 20 {
            return Ok(());
        }
        Err(format!("{} and {} attempts", one["attempts"], other["attempts"]))
    })
    .await;
    frozen.program.signal("STOP").await;
    // The broker hands it more, which it will not see.
    feed.submit(40).await;
    broker.eval(CLOSE).await.expect("closed");
    feed.reopen(&world).await;
    other.wait_until_ready().await;
    tokio::time::sleep(lasts).await;
    let mut stored = Stored::open(&world).await;
    until("its lease has ended", async || {
        match stored.count("SELECT count(*) FROM knarr.node WHERE lease_until > now()").await {
            1 => Ok(()),
            some => Err(format!("{some} nodes live")),
        }
    })
    .await;
    frozen.program.signal("CONT").await;
    until("it knows that it was given up", async || {
        let counters = frozen.counters().await;
        if counters["lost_leases"] > 0 { Ok(()) } else { Err(format!("{counters:?}")) }
    })
    .await;
    frozen.wait_until_ready().await;
    let before = frozen.counters().await["applied"];
    until("it works again", async || {
        feed.submit(10).await;
        let counters = frozen.counters().await;
        if counters["applied"] > before { Ok(()) } else { Err(format!("{counters:?}")) }
    })
    .await;
    history::check(&world, &feed).await;
    assert_eq!(other.counters().await["lost_leases"], 0, "the other one was never given up");
    stops_in_time(frozen).await;
    stops_in_time(other).await;
}

/// A broker that hangs: publishes have no answer, nothing is taken for sent, nothing hangs with it.
/// `KNARR_TEST_HANG` says for how many seconds.
#[tokio::test(flavor = "multi_thread")]
async fn row_021_live_a_broker_that_hangs_costs_time_only() {
    let lasts = Duration::from_secs(given("KNARR_TEST_HANG", 13));
    let (world, broker, _server) = World::mortal(Duration::from_millis(500)).await;
    let mut serving = Serving::ready(&world, &short(&[])).await;
    let mut feed = Feed::open(&world).await;
    feed.submit(60).await;
    let mut stored = Stored::open(&world).await;
    until("work is under way", async || match stored.in_flight().await {
        some if some > 30 => Ok(()),
        some => Err(format!("{some}")),
    })
    .await;
    broker.freeze();
    tokio::time::sleep(lasts).await;
    // Calls and timers went on, and what they led to waits.
    let waiting = stored.count("SELECT count(*) FROM knarr.outbox").await;
    assert!(waiting > 0, "nothing waits for the broker");
    let counters = serving.counters().await;
    assert!(counters["republished"] > 0, "no publish was without an answer: {counters:?}");
    broker.thaw();
    serving.wait_until_ready().await;
    feed.reopen(&world).await;
    feed.submit(20).await;
    history::check(&world, &feed).await;
    stops_in_time(serving).await;
}

/// A store that hangs and goes on: nobody's attempt is used up by it, nothing is decided twice.
#[tokio::test(flavor = "multi_thread")]
async fn row_055_live_a_store_that_stands_still_is_waited_for() {
    let world = World::new().await;
    let proxy = knarr_testkit::proxy::Proxy::before(&world.store).await.expect("a proxy");
    let mut serving = Serving::ready(&world, &short(&[("KNARR_STORE", proxy.url())])).await;
    let mut feed = Feed::open(&world).await;
    feed.submit(40).await;
    proxy.both(knarr_testkit::proxy::Way::Hold);
    feed.submit(20).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    proxy.both(knarr_testkit::proxy::Way::Flow);
    serving.wait_until_ready().await;
    history::check(&world, &feed).await;
    stops_in_time(serving).await;
}
