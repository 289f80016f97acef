//! What comes in: how much at once, from whom, how large, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Outgoing;
use knarr_model::{Class, Digest};

use super::Broker;
use super::parts::{
    PATIENCE, ack, body, consume, endpoint, event, expect_quiet, numbers, publish, sorted, take,
};

/// A queue holds messages while nobody is there, and again after somebody was.
pub async fn pe_010_messages_wait_until_somebody_consumes(broker: Arc<Broker>) {
    let endpoint = endpoint(&broker, "waiting", &["Ping"]);
    broker.transport.declare(&endpoint).await.expect("declared");
    for round in 0..3 {
        publish(&broker, &[event("Ping", round * 2), event("Ping", round * 2 + 1)]).await;
        let mut consumer = consume(&broker, &endpoint).await;
        let taken = take(&mut *consumer, 2).await;
        assert_eq!(numbers(&taken), [round * 2, round * 2 + 1]);
        ack(&*consumer, &taken).await;
        consumer.stop().await;
    }
}

/// One delivery ends the wait; no call waits for more.
pub async fn a_call_takes_what_is_ready_up_to_its_maximum(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "ready", &["Ping"])).await;
    publish(&broker, &[event("Ping", 0)]).await;
    let one = tokio::time::timeout(PATIENCE, consumer.next(100)).await.expect("no linger");
    assert_eq!(numbers(&one.expect("a delivery")), [0]);
    let messages: Vec<_> = (1..=20).map(|n| event("Ping", n)).collect();
    publish(&broker, &messages).await;
    let mut taken = Vec::new();
    while taken.len() < 20 {
        let next = consumer.next(3).await.expect("deliveries");
        assert!((1..=3).contains(&next.len()), "{} deliveries", next.len());
        taken.extend(next);
    }
    assert_eq!(numbers(&taken), (1..=20).collect::<Vec<_>>());
}

/// What is not settled counts, and settling makes room.
pub async fn the_prefetch_bounds_what_is_in_hand(broker: Arc<Broker>) {
    let endpoint = ReceiveEndpoint { prefetch: 5, ..endpoint(&broker, "bounded", &["Ping"]) };
    let mut consumer = consume(&broker, &endpoint).await;
    let messages: Vec<_> = (0..12).map(|n| event("Ping", n)).collect();
    publish(&broker, &messages).await;
    let first = take(&mut *consumer, 5).await;
    expect_quiet(&mut *consumer).await;
    ack(&*consumer, &first[..2]).await;
    let second = take(&mut *consumer, 2).await;
    expect_quiet(&mut *consumer).await;
    ack(&*consumer, &first[2..]).await;
    ack(&*consumer, &second).await;
    let third = take(&mut *consumer, 5).await;
    assert_eq!(numbers(&[first, second, third].concat()), (0..12).collect::<Vec<_>>());
}

/// Lanes wait for several things at once, so calls are dropped all the time.
pub async fn a_dropped_call_loses_nothing(broker: Arc<Broker>) {
    let endpoint = ReceiveEndpoint { prefetch: 500, ..endpoint(&broker, "dropped", &["Ping"]) };
    let mut consumer = consume(&broker, &endpoint).await;
    let sender = broker.clone();
    let sending = tokio::spawn(async move {
        let messages: Vec<_> = (0..300).map(|n| event("Ping", n)).collect();
        for call in messages.chunks(3) {
            publish(&sender, call).await;
        }
    });
    let mut taken = Vec::new();
    let mut dropped = 0;
    while taken.len() < 300 {
        let patience = Duration::from_micros(if dropped % 2 == 0 { 0 } else { 300 });
        match tokio::time::timeout(patience, consumer.next(7)).await {
            Ok(next) => taken.extend(next.expect("deliveries")),
            Err(_) => dropped += 1,
        }
        assert!(dropped < 1_000_000, "{} came", taken.len());
        tokio::task::yield_now().await;
    }
    sending.await.expect("sent");
    assert!(dropped > 0);
    assert_eq!(numbers(&taken), (0..300).collect::<Vec<_>>());
}

/// Two processes on one queue: each message goes to one of them.
pub async fn two_consumers_share_a_queue(broker: Arc<Broker>) {
    let endpoint = ReceiveEndpoint { prefetch: 20, ..endpoint(&broker, "shared", &["Ping"]) };
    let mut one = consume(&broker, &endpoint).await;
    let mut two = broker.other.consume(&endpoint).await.expect("a second consumer");
    let messages: Vec<_> = (0..40).map(|n| event("Ping", n)).collect();
    publish(&broker, &messages).await;
    let (mut taken, mut by_two) = (Vec::new(), 0);
    let mut ours = true;
    while taken.len() < 40 {
        // Each has its turn; one that is empty-handed does not hold the other up.
        let consumer = if ours { &mut one } else { &mut two };
        if let Ok(next) = tokio::time::timeout(Duration::from_millis(100), consumer.next(5)).await {
            let next = next.expect("deliveries");
            ack(&**consumer, &next).await;
            by_two += if ours { 0 } else { next.len() };
            taken.extend(next);
        }
        ours = !ours;
    }
    assert_eq!(sorted(&taken), (0..40).collect::<Vec<_>>());
    assert!((1..40).contains(&by_two), "{by_two} went to the second");
    expect_quiet(&mut *one).await;
    expect_quiet(&mut *two).await;
}

/// Many frames make one body.
pub async fn a_large_body_comes_whole(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "large", &["Ping"])).await;
    let messages: Vec<_> = [1 << 20, (5 << 20) + 17, 1]
        .into_iter()
        .enumerate()
        .map(|(n, size)| Outgoing { body: body("Ping", n, size), ..event("Ping", n) })
        .collect();
    publish(&broker, &messages).await;
    for (delivery, message) in take(&mut *consumer, 3).await.iter().zip(&messages) {
        assert_eq!(delivery.body.len(), message.body.len());
        assert!(delivery.body == message.body && delivery.content.is_ok());
    }
}

/// Enough is kept to set it aside and to know it again; its neighbours are as always.
pub async fn a_body_above_the_limit_comes_as_its_head_size_and_digest(broker: Arc<Broker>) {
    let endpoint = ReceiveEndpoint { max_body: 100_000, ..endpoint(&broker, "limit", &["Ping"]) };
    let mut consumer = consume(&broker, &endpoint).await;
    let messages: Vec<_> = [100_000, 100_001, 100]
        .into_iter()
        .enumerate()
        .map(|(n, size)| Outgoing { body: body("Ping", n, size), ..event("Ping", n) })
        .collect();
    publish(&broker, &messages).await;
    let taken = take(&mut *consumer, 3).await;
    assert_eq!(numbers(&taken), [0, 1, 2]);
    assert!(taken[0].content.is_ok() && taken[2].content.is_ok());
    let large = &taken[1];
    let why = large.content.as_ref().expect_err("too large");
    assert_eq!(why.class, Class::TooLarge);
    assert_eq!((large.size, large.body.len()), (100_001, 65_536));
    assert_eq!(large.body, messages[1].body.slice(..65_536));
    assert_eq!(large.digest, Digest::of_bytes(&messages[1].body));
}

/// Poison is delivered like everything else, with what is needed to set it aside once.
pub async fn an_unreadable_body_comes_with_an_identity(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "poison", &["Ping"])).await;
    let poison = Bytes::from_static(b"{\"messageId\": \xff\xfe no json");
    let message = Outgoing { body: poison.clone(), ..event("Ping", 7) };
    publish(&broker, &[message.clone(), event("Ping", 8)]).await;
    let taken = take(&mut *consumer, 2).await;
    let why = taken[0].content.as_ref().expect_err("not readable");
    assert_eq!(why.class, Class::Undecodable);
    assert_eq!((&taken[0].body, taken[0].message_id), (&poison, message.id));
    assert_eq!(taken[0].digest, Digest::of_bytes(&poison));
    assert!(taken[1].content.is_ok());
}

/// Internal deliveries are rows; nobody can forge them from outside.
pub async fn a_reserved_type_is_not_readable(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "reserved", &["Ping"])).await;
    let forged = r#"{"messageId":"10000000-0000-4000-8000-000000000001",
        "messageType":["urn:message:Knarr.Internal:Timer"],"message":{}}"#;
    let message = Outgoing { body: Bytes::from_static(forged.as_bytes()), ..event("Ping", 1) };
    publish(&broker, &[message]).await;
    let taken = take(&mut *consumer, 1).await;
    assert_eq!(taken[0].content.as_ref().expect_err("refused").class, Class::UnknownType);
}

/// Every start declares; so do two processes.
pub async fn declaring_twice_changes_nothing(broker: Arc<Broker>) {
    let endpoint = endpoint(&broker, "twice", &["Ping", "Pong"]);
    broker.transport.declare(&endpoint).await.expect("declared");
    publish(&broker, &[event("Ping", 1)]).await;
    broker.other.declare(&endpoint).await.expect("declared again");
    broker.transport.declare(&endpoint).await.expect("and again");
    let mut consumer = consume(&broker, &endpoint).await;
    publish(&broker, &[event("Pong", 2)]).await;
    assert_eq!(numbers(&take(&mut *consumer, 2).await), [1, 2]);
    expect_quiet(&mut *consumer).await;
}

/// What people see of a queue.
pub async fn depth_counts_what_waits_and_who_consumes(broker: Arc<Broker>) {
    let endpoint = ReceiveEndpoint { prefetch: 2, ..endpoint(&broker, "depth", &["Ping"]) };
    broker.transport.depth("depth").await.expect_err("not declared yet");
    broker.transport.declare(&endpoint).await.expect("declared");
    let messages: Vec<_> = (0..5).map(|n| event("Ping", n)).collect();
    publish(&broker, &messages).await;
    let waits = |ready: u64, consumers: u32| {
        let broker = broker.clone();
        async move {
            // Counts of a replicated queue lag behind what happened.
            let mut depth = Default::default();
            for _ in 0..100 {
                depth = broker.transport.depth("depth").await.expect("a depth");
                if (depth.ready, depth.consumers) == (ready, consumers) {
                    return;
                }
                let _pause =
                    tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>())
                        .await;
            }
            panic!("{ready} ready and {consumers} consumers expected: {depth:?}");
        }
    };
    waits(5, 0).await;
    let mut consumer = consume(&broker, &endpoint).await;
    take(&mut *consumer, 2).await;
    waits(3, 1).await;
    consumer.stop().await;
    waits(5, 0).await;
}
