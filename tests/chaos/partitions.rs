//! Connections that lose bytes, stand still, crawl or break, between a server and its broker or store.

use std::time::Duration;

use knarr_testkit::proxy::{Proxy, Way};

use crate::feed::{Feed, TAP};
use crate::history;
use crate::lives::{given, short, stops_in_time};
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, until};

/// Both ways out of a server, each with a proxy in it.
struct Links {
    broker: Proxy,
    store: Proxy,
}

impl Links {
    async fn new(world: &World) -> Links {
        let (broker, store) =
            tokio::join!(Proxy::before(&world.broker), Proxy::before(&world.store));
        Links { broker: broker.expect("a proxy"), store: store.expect("a proxy") }
    }

    /// Settings for a server that uses them.
    fn set<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let ours = [("KNARR_BROKER", self.broker.url()), ("KNARR_STORE", self.store.url())];
        short(&[&ours, more].concat())
    }
}

/// Feeds for a while.
async fn feed_for(feed: &mut Feed, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        feed.submit(5).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Each direction of each link swallows everything for a while: commits without an answer, answers
/// without a question, deliveries that never come and acks that never arrive.
/// `KNARR_TEST_PARTITION` says for how many seconds.
#[tokio::test(flavor = "multi_thread")]
async fn row_005_row_055_live_a_partition_of_either_link_in_either_direction_heals() {
    let lasts = Duration::from_secs(given("KNARR_TEST_PARTITION", 3));
    let world = World::new().await;
    let links = Links::new(&world).await;
    let mut serving = Serving::ready(&world, &links.set(&[])).await;
    let mut feed = Feed::open(&world).await;
    for (what, proxy) in [("the broker", &links.broker), ("the store", &links.store)] {
        for (direction, up) in [("towards", true), ("from", false)] {
            let way = |way| if up { proxy.up(way) } else { proxy.down(way) };
            feed_for(&mut feed, Duration::from_millis(500)).await;
            way(Way::Lose);
            feed_for(&mut feed, lasts).await;
            way(Way::Flow);
            serving.wait_until_ready().await;
            println!("{direction} {what}: healed");
        }
    }
    // Row 5: until an answer was lost that was a commit's.
    until("a commit is ambiguous", async || {
        feed.submit(30).await;
        links.store.down(Way::Lose);
        feed_for(&mut feed, Duration::from_millis(300)).await;
        links.store.down(Way::Flow);
        match serving.counters().await["unknown_commits"] {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    serving.wait_until_ready().await;
    history::check(&world, &feed).await;
    stops_in_time(serving).await;
}

/// The broker has the messages, and the process that published them dies without knowing.
#[tokio::test(flavor = "multi_thread")]
async fn row_007_live_published_and_never_confirmed_goes_again_under_the_same_id() {
    let world = World::with_latency(Duration::from_millis(500)).await;
    let links = Links::new(&world).await;
    let serving = Serving::ready(&world, &links.set(&[])).await;
    let mut feed = Feed::of(&world, &["clean"]).await;
    // Where verdicts go is declared with the first one.
    feed.submit(1).await;
    until("the first verdict is told", async || match feed.wire.ready(TAP).await {
        1 => Ok(()),
        some => Err(format!("{some}")),
    })
    .await;
    feed.submit(20).await;
    let mut stored = Stored::open(&world).await;
    until("the others have begun", async || match stored.in_flight().await {
        20 => Ok(()),
        some => Err(format!("{some}")),
    })
    .await;
    // What the broker says is lost from here on: its confirms as well.
    links.broker.down(Way::Lose);
    until("the broker has some more", async || match feed.wire.ready(TAP).await {
        some if some >= 6 => Ok(()),
        some => Err(format!("{some}")),
    })
    .await;
    serving.kill9().await;
    let next = Serving::ready(&world, &short(&[])).await;
    let summary = history::check(&world, &feed).await;
    assert!(summary.copies >= 5, "{} copies of what was never confirmed", summary.copies);
    stops_in_time(next).await;
}

/// Connections that are reset again and again, that arrive byte by byte, or late.
#[tokio::test(flavor = "multi_thread")]
async fn row_056_live_resets_single_bytes_and_jitter_cost_time_only() {
    let world = World::new().await;
    let links = Links::new(&world).await;
    let mut serving = Serving::ready(&world, &links.set(&[])).await;
    let mut feed = Feed::open(&world).await;
    let both = [&links.broker, &links.store];
    for storm in 0..20 {
        feed_for(&mut feed, Duration::from_millis(250)).await;
        both[storm % 2].reset();
        if storm % 5 == 4 {
            both.iter().for_each(|proxy| proxy.reset());
        }
    }
    serving.wait_until_ready().await;
    println!("{} resets: {} scans", 20, feed.scans.len());
    both.iter().for_each(|proxy| proxy.both(Way::OneByOne));
    feed_for(&mut feed, Duration::from_secs(3)).await;
    let jitter = Way::Late(Duration::ZERO, Duration::from_millis(given("KNARR_TEST_JITTER", 150)));
    both.iter().for_each(|proxy| proxy.both(jitter));
    feed_for(&mut feed, Duration::from_secs(3)).await;
    both.iter().for_each(|proxy| proxy.both(Way::Flow));
    serving.wait_until_ready().await;
    history::check(&world, &feed).await;
    stops_in_time(serving).await;
}

/// A server that cannot reach the store while another one can: its lease ends, the other one takes
/// over, and what the first one still has to say comes too late.
#[tokio::test(flavor = "multi_thread")]
async fn row_057_live_who_was_cut_off_from_the_store_comes_back_too_late() {
    let world = World::with_latency(Duration::from_millis(800)).await;
    let links = Links::new(&world).await;
    let mut cut = Serving::ready(&world, &links.set(&[])).await;
    let whole = Serving::ready(&world, &short(&[])).await;
    let mut feed = Feed::of(&world, &["slow", "unknown"]).await;
    feed.submit(60).await;
    until("both are at work", async || {
        let (cut, whole) = (cut.counters().await, whole.counters().await);
        if cut["attempts"] > 10 && whole["attempts"] > 10 {
            return Ok(());
        }
        Err(format!("{} and {} attempts", cut["attempts"], whole["attempts"]))
    })
    .await;
    links.store.both(Way::Hold);
    let mut stored = Stored::open(&world).await;
    until("its lease has ended, and its claims are others'", async || {
        feed.submit(2).await;
        let nodes = stored.count("SELECT count(*) FROM knarr.node WHERE lease_until > now()").await;
        let dead = "SELECT count(*) FROM knarr.activity WHERE node IS NOT NULL AND node NOT IN \
                    (SELECT id FROM knarr.node WHERE lease_until > now())";
        match (nodes, stored.count(dead).await) {
            (1, 0) => Ok(()),
            (nodes, held) => Err(format!("{nodes} nodes live, {held} calls are held by the dead")),
        }
    })
    .await;
    links.store.both(Way::Flow);
    until("it knows that it was given up", async || {
        let counters = cut.counters().await;
        if counters["lost_leases"] > 0 { Ok(()) } else { Err(format!("{counters:?}")) }
    })
    .await;
    cut.wait_until_ready().await;
    feed.submit(20).await;
    history::check(&world, &feed).await;
    assert_eq!(whole.counters().await["lost_leases"], 0, "the other one was never given up");
    stops_in_time(cut).await;
    stops_in_time(whole).await;
}
