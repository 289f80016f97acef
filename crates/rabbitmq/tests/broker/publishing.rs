//! Who is to blame when the broker closes a channel, and what becomes of everybody else.

use std::time::Duration;

use futures_util::future;
use knarr_model::HeaderValue;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_model::work::{Addressing, Outgoing};
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};

use crate::parts::{Plain, confirmed, endpoint, numbers, open, ping, taken, to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_027_mt_273_returns_among_many_calls_at_once_are_never_mixed_up() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    transport.declare(&endpoint("here", QueueKind::Classic)).await.expect("declared");
    let is_lost = |n: usize| n % 7 == 3 || n % 11 == 5;
    let messages: Vec<_> = (0..2_000)
        .map(|n| match n {
            _ if is_lost(n) => to("nowhere", Addressing::Queue, n),
            _ if n % 3 == 0 => ping(n),
            _ => to("here", Addressing::Queue, n),
        })
        .collect();
    let calls = messages.chunks(50).map(|call| transport.publish(call));
    let published = future::join_all(calls).await.concat();
    for (n, published) in published.iter().enumerate() {
        match is_lost(n) {
            true => assert!(matches!(published, Published::Returned(_)), "{n}: {published:?}"),
            false => assert_eq!(*published, Published::Confirmed, "{n}"),
        }
    }
    let lost = (0..2_000).filter(|n| is_lost(*n)).count() as u64;
    assert_eq!(transport.depth("here").await.expect("a depth").ready, 2_000 - lost);
}

#[tokio::test]
async fn a_missing_exchange_holds_up_only_its_own_and_is_made_again() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let mut consumer = transport.consume(&endpoint("here", QueueKind::Quorum)).await.expect("one");
    let elsewhere = |n| to("Test:Elsewhere", Addressing::Publish { bases: Vec::new() }, n);
    assert_eq!(transport.publish(&[elsewhere(0), ping(0)]).await, confirmed(2));
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let gone = channel.exchange_delete("Test:Elsewhere".into(), ExchangeDeleteOptions::default());
    gone.await.expect("deleted");
    let messages = [ping(1), elsewhere(2), ping(3), elsewhere(4), ping(5)];
    let published = transport.publish(&messages).await;
    for (n, published) in published.iter().enumerate() {
        match n {
            1 | 3 => {
                let Published::Unknown(why) = published else { panic!("{n}: {published:?}") };
                assert!(why.contains("404") && why.contains("Test:Elsewhere"), "{why}");
            }
            _ => assert_eq!(*published, Published::Confirmed, "{n}"),
        }
    }
    assert_eq!(transport.publish(&messages).await, confirmed(5));
    // Copies may have come of what was not confirmed before the channel was closed.
    let came = numbers(&taken(&mut *consumer, 7).await);
    assert!([0, 1, 3, 5].iter().all(|n| came.contains(n)), "{came:?}");
}

#[tokio::test]
async fn a_culprit_that_the_broker_does_not_name_is_found_by_halving() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let mut consumer = transport.consume(&endpoint("here", QueueKind::Quorum)).await.expect("one");
    let mut messages: Vec<_> = (0..20).map(ping).collect();
    for at in [4, 5, 17] {
        // The broker wants a list here, and closes the channel over anything else.
        messages[at].headers.set("CC", HeaderValue::I32(1));
    }
    let published = transport.publish(&messages).await;
    for (n, published) in published.iter().enumerate() {
        match n {
            4 | 5 | 17 => {
                let Published::Impossible(why) = published else { panic!("{n}: {published:?}") };
                assert!(why.contains("CC"), "{why}");
            }
            _ => assert_eq!(*published, Published::Confirmed, "{n}"),
        }
    }
    // Copies may have come of what was not confirmed before the channel was closed.
    let mut came = std::collections::BTreeSet::new();
    while came.len() < 17 {
        came.extend(numbers(&taken(&mut *consumer, 1).await));
    }
    assert!([4, 5, 17].iter().all(|n| !came.contains(n)));
}

#[tokio::test]
async fn neighbours_of_a_closed_channel_in_other_calls_go_on() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    transport.declare(&endpoint("here", QueueKind::Quorum)).await.expect("declared");
    let mut bad = ping(10_000);
    bad.headers.set("CC", HeaderValue::I32(1));
    let good: Vec<_> = (0..500).map(|n| to("here", Addressing::Queue, n)).collect();
    let mut calls: Vec<&[Outgoing]> = good.chunks(25).collect();
    calls.insert(7, std::slice::from_ref(&bad));
    calls.insert(14, std::slice::from_ref(&bad));
    let published = future::join_all(calls.iter().map(|call| transport.publish(call))).await;
    for (call, published) in calls.iter().zip(published) {
        match call.len() {
            1 => assert!(matches!(published[0], Published::Impossible(_)), "{published:?}"),
            _ => assert_eq!(published, confirmed(25)),
        }
    }
}

#[tokio::test]
async fn a_queue_that_appears_later_is_reached_by_the_same_address() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let message = to("later", Addressing::Queue, 1);
    let published = transport.publish(std::slice::from_ref(&message)).await;
    assert!(matches!(published[0], Published::Returned(_)), "{published:?}");
    // Made by somebody else, without the binding that a send needs.
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let options = lapin::options::QueueDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.queue_declare("later".into(), options, Default::default());
    declared.await.expect("a queue");
    crate::parts::pause(Duration::from_millis(1_100)).await;
    assert_eq!(transport.publish(std::slice::from_ref(&message)).await, confirmed(1));
    let gone = channel.queue_delete("later".into(), QueueDeleteOptions::default()).await;
    assert_eq!(gone.expect("deleted"), 1);
}

#[tokio::test]
async fn headers_wider_than_a_frame_are_impossible_and_cost_no_connection() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let mut wide = ping(1);
    wide.headers.set("wide", "w".repeat(200_000).as_str());
    let published = transport.publish(&[ping(0), wide, ping(2)]).await;
    assert!(matches!(published[1], Published::Impossible(_)), "{published:?}");
    assert_eq!([&published[0], &published[2]], [&Published::Confirmed; 2]);
    let mut fits = ping(3);
    fits.headers.set("wide", "w".repeat(120_000).as_str());
    assert_eq!(transport.publish(&[fits]).await, confirmed(1));
}

#[tokio::test]
async fn pe_037_closing_waits_for_outstanding_confirms() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    transport.declare(&endpoint("here", QueueKind::Quorum)).await.expect("declared");
    assert_eq!(transport.publish(&[ping(0)]).await, confirmed(1));
    let messages: Vec<_> = (1..200).map(ping).collect();
    let (published, ()) = tokio::join!(transport.publish(&messages), transport.close());
    assert_eq!(published, confirmed(199));
    let late = transport.publish(&[ping(200)]).await;
    assert!(matches!(late[0], Published::Unknown(_)), "{late:?}");
    assert!(transport.health().is_err());
}

#[tokio::test]
async fn pe_045_the_first_host_that_answers_is_taken() {
    let vhost = rabbitmq::vhost().await;
    let url = vhost.url().replacen('@', "@127.0.0.1:9,", 1);
    let transport = open(Settings::new(url));
    assert_eq!(transport.publish(&[ping(1)]).await, confirmed(1));
    assert_eq!(transport.health(), Ok(()));
}

#[tokio::test]
async fn pe_035_a_broker_that_refuses_us_is_named_with_its_reason() {
    let vhost = rabbitmq::vhost().await;
    let url = vhost.url().replacen("guest:guest", "guest:wrong", 1);
    let mut settings = Settings::new(url);
    settings.deadline = Duration::from_secs(2);
    let transport = open(settings);
    let published = transport.publish(&[ping(1)]).await;
    assert!(matches!(published[0], Published::Unknown(_)), "{published:?}");
    let why = transport.health().expect_err("refused");
    assert!(why.contains("ACCESS_REFUSED") && !why.contains("wrong"), "{why}");
    // An endpoint waits; it is no reason to fail.
    let consumer = transport.consume(&endpoint("waiting", QueueKind::Quorum)).await;
    consumer.expect("it waits").stop().await;
}
