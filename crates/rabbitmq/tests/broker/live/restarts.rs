//! Nothing confirmed is lost and nothing acked comes again, however the broker goes down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use knarr_model::ports::transport::{Published, Receipt, Settlement};
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::{QueueKind, ReceiveEndpoint};
use knarr_model::work::Outgoing;
use knarr_rabbitmq::{Settings, Transport};
use knarr_testkit::services::rabbitmq::Private;

use crate::parts::{
    PATIENCE, confirmed, endpoint, expect_quiet, healthy, numbers, open, ping, taken, unhealthy,
};

fn settings(broker: &Private) -> Settings {
    let mut settings = Settings::new(broker.url());
    settings.deadline = Duration::from_secs(5);
    settings.heartbeat = Duration::from_secs(2);
    settings.connect_timeout = Duration::from_secs(2);
    settings
}

/// Publishes one after another, each until it is confirmed, as the relay does.
async fn publish_until(transport: Arc<Transport>, enough: Arc<AtomicBool>) -> (usize, usize) {
    let (mut n, mut again) = (0, 0);
    while !enough.load(Ordering::Relaxed) {
        let mut waiting: Vec<Outgoing> = (n..n + 5).map(ping).collect();
        n += 5;
        while !waiting.is_empty() {
            let published = transport.publish(&waiting).await;
            let mut published = published.iter();
            waiting.retain(|_| match published.next() {
                Some(Published::Confirmed) => false,
                Some(Published::Unknown(_)) => true,
                other => panic!("{other:?}"),
            });
            if !waiting.is_empty() {
                again += 1;
                crate::parts::pause(Duration::from_millis(50)).await;
            }
        }
    }
    (n, again)
}

/// What a consumer saw of each message.
#[derive(Default)]
struct Seen {
    times: BTreeMap<usize, usize>,
    generations: BTreeSet<u64>,
    most_in_hand: usize,
}

/// Takes and acks, a little late, until every message below `total` has come.
async fn consume_all(
    transport: Arc<Transport>,
    endpoint: ReceiveEndpoint,
    total: tokio::sync::watch::Receiver<Option<usize>>,
) -> Seen {
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    let mut seen = Seen::default();
    let mut late: Vec<Receipt> = Vec::new();
    loop {
        let all_here = |seen: &Seen| total.borrow().is_some_and(|total| seen.times.len() >= total);
        if late.is_empty() && all_here(&seen) {
            consumer.stop().await;
            return seen;
        }
        match tokio::time::timeout(Duration::from_millis(300), consumer.next(20)).await {
            Ok(next) => {
                let next = next.expect("deliveries");
                for n in numbers(&next) {
                    *seen.times.entry(n).or_default() += 1;
                }
                seen.generations.extend(next.iter().map(|it| it.receipt.generation));
                late.extend(next.iter().map(|it| it.receipt));
                let newest = late.iter().map(|it| it.generation).max();
                let in_hand = late.iter().filter(|it| Some(it.generation) == newest).count();
                seen.most_in_hand = seen.most_in_hand.max(in_hand);
                if late.len() < 40 {
                    continue;
                }
            }
            Err(_) => assert!(total.borrow().is_none() || !late.is_empty() || !all_here(&seen)),
        }
        let acks: Vec<_> = late.drain(..).map(|it| (it, Settlement::Ack)).collect();
        // Stale ones are passed over: their messages come again.
        assert!(consumer.settle(&acks).await <= acks.len());
    }
}

enum Outage {
    Stop,
    Kill,
}

async fn ride(outage: Outage, kind: QueueKind, times: usize) {
    let mut broker = Private::launch().await;
    let transport = open(settings(&broker));
    let endpoint = endpoint("ride", kind);
    transport.declare(&endpoint).await.expect("declared");
    broker.remember_queues().await;
    let enough = Arc::new(AtomicBool::new(false));
    let (tell, total) = tokio::sync::watch::channel(None);
    let publishing = tokio::spawn(publish_until(transport.clone(), enough.clone()));
    let consuming = tokio::spawn(consume_all(transport.clone(), endpoint, total));
    for _ in 0..times {
        crate::parts::pause(Duration::from_millis(700)).await;
        match outage {
            Outage::Stop => broker.stop().await,
            Outage::Kill => broker.kill9().await,
        }
        unhealthy(&transport, "").await;
        broker.start().await;
        tokio::time::timeout(Duration::from_secs(15), healthy(&transport))
            .await
            .expect("back soon after the broker");
    }
    crate::parts::pause(Duration::from_millis(500)).await;
    enough.store(true, Ordering::Relaxed);
    let (published, again) = tokio::time::timeout(PATIENCE, publishing)
        .await
        .expect("publishing does not hang")
        .expect("published");
    tell.send_replace(Some(published));
    let seen = tokio::time::timeout(PATIENCE, consuming)
        .await
        .unwrap_or_else(|_| panic!("something confirmed is missing among {published}"))
        .expect("consumed");
    assert_eq!(seen.times.len(), published, "every confirmed message came");
    assert!(seen.generations.len() > times, "{:?}", seen.generations);
    assert!(seen.most_in_hand <= 50, "{} in hand", seen.most_in_hand);
    let left = transport.depth("ride").await.expect("a depth");
    assert_eq!((left.ready, left.consumers), (0, 0), "{published} published, {again} retries");
    transport.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_019_pe_027_mt_307_stops_and_starts_of_the_broker_lose_nothing() {
    ride(Outage::Stop, QueueKind::Quorum, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_020_kills_of_the_broker_lose_nothing_confirmed() {
    ride(Outage::Kill, QueueKind::Quorum, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_020_kills_of_the_broker_lose_nothing_confirmed_by_classic_queues() {
    ride(Outage::Kill, QueueKind::Classic, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_029_pe_030_after_a_restart_the_prefetch_holds_and_old_receipts_are_void() {
    let mut broker = Private::launch().await;
    let transport = open(settings(&broker));
    let endpoint = ReceiveEndpoint { prefetch: 4, ..endpoint("prefetch", QueueKind::Quorum) };
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    broker.remember_queues().await;
    let messages: Vec<_> = (0..12).map(ping).collect();
    assert_eq!(transport.publish(&messages).await, confirmed(12));
    let mut old = Vec::new();
    while old.len() < 4 {
        old.extend(consumer.next(4).await.expect("deliveries"));
    }
    broker.kill9().await;
    broker.start().await;
    let mut new = Vec::new();
    while new.len() < 4 {
        new.extend(consumer.next(10).await.expect("deliveries of the new connection"));
    }
    expect_quiet(&mut *consumer).await;
    assert_eq!(new.len(), 4, "the prefetch was set again");
    let all = |some: &[knarr_model::ports::Delivery]| -> Vec<_> {
        some.iter().map(|it| (it.receipt, Settlement::Ack)).collect()
    };
    assert_eq!(consumer.settle(&all(&old)).await, 0, "receipts of the old connection");
    assert_eq!(consumer.settle(&all(&new)).await, 4);
    let rest = taken(&mut *consumer, 8).await;
    let mut seen: Vec<_> = numbers(&new).into_iter().chain(numbers(&rest)).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_021_a_broker_that_hangs_is_given_up_in_time_and_taken_up_again() {
    let broker = Private::launch().await;
    let mut settings = settings(&broker);
    settings.deadline = Duration::from_secs(2);
    let transport = open(settings);
    let endpoint = endpoint("hangs", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    assert_eq!(transport.publish(&[ping(0)]).await, confirmed(1));
    let held = consumer.next(1).await.expect("a delivery");
    broker.freeze();
    let hung = tokio::time::timeout(Duration::from_secs(4), transport.publish(&[ping(1)])).await;
    let hung = hung.expect("the deadline holds");
    assert!(matches!(hung[0], Published::Unknown(_)), "{hung:?}");
    unhealthy(&transport, "").await;
    // A stop does not hang either.
    let other = transport.consume(&ReceiveEndpoint { name: "other".into(), ..endpoint }).await;
    let stopped = other.expect("it waits").stop();
    tokio::time::timeout(Duration::from_secs(10), stopped).await.expect("stopped");
    crate::parts::pause(Duration::from_secs(8)).await;
    broker.thaw();
    healthy(&transport).await;
    // Unknown meant unknown: it may have come, and it may come again.
    assert_eq!(transport.publish(&[ping(1), ping(2)]).await, confirmed(2));
    let mut seen = BTreeSet::new();
    while seen.len() < 3 {
        seen.extend(numbers(&taken(&mut *consumer, 1).await));
    }
    let stale = [(held[0].receipt, Settlement::Ack)];
    assert_eq!(consumer.settle(&stale).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_033_mt_305_a_broker_that_is_away_at_the_start_is_waited_for_and_can_be_left() {
    let mut broker = Private::launch().await;
    broker.stop().await;
    let transport = open(settings(&broker));
    let endpoint = endpoint("late", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("it waits");
    transport.declare(&endpoint).await.expect_err("nobody there");
    let published = transport.publish(&[ping(0)]).await;
    assert!(matches!(published[0], Published::Unknown(_)), "not for ever: {published:?}");
    assert!(transport.depth("late").await.is_err_and(|e| e.is_transient()));
    let left = open(settings(&broker));
    tokio::time::timeout(Duration::from_secs(3), left.close()).await.expect("it closes at once");
    broker.start().await;
    healthy(&transport).await;
    assert_eq!(transport.publish(&[ping(1)]).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [1]);
    let connections = broker.eval("length(rabbit_networking:connections())").await;
    assert_eq!(connections.as_deref(), Ok("2"), "the transport that was closed made none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pe_027_pe_034_connections_closed_by_the_broker_are_made_again_and_stay() {
    let broker = Private::launch().await;
    let transport = open(settings(&broker));
    let endpoint = endpoint("closed", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    for round in 0..5 {
        let close = "[rabbit_networking:close_connection(P, \"go\") || \
                     P <- rabbit_networking:connections()], ok";
        broker.eval(close).await.expect("closed");
        let mut published = transport.publish(&[ping(round)]).await;
        while published != confirmed(1) {
            assert!(matches!(published[0], Published::Unknown(_)), "{published:?}");
            published = transport.publish(&[ping(round)]).await;
        }
        let came = taken(&mut *consumer, 1).await;
        assert!(numbers(&came)[0] <= round);
    }
    healthy(&transport).await;
    // What was still to come of the old ones closes none of the new.
    let pids = "lists:sort(rabbit_networking:connections())";
    let before = broker.eval(pids).await.expect("connections");
    crate::parts::pause(Duration::from_secs(1)).await;
    assert_eq!(broker.eval(pids).await.expect("connections"), before);
    assert_eq!(transport.health(), Ok(()));
}
