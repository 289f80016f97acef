//! A broker short of memory or disk, a full queue, and bodies larger than we can hold.

use std::collections::BTreeSet;
use std::time::Duration;

use knarr_model::ports::transport::{Published, Settlement};
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::{QueueKind, ReceiveEndpoint};
use knarr_model::work::{Addressing, Outgoing};
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq::{self, Private};
use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::parts::{
    Plain, confirmed, endpoint, healthy, numbers, open, ping, taken, to, unhealthy,
};

/// While an alarm is up the broker takes nothing from us, and gives and takes acks as ever.
async fn blocked(alarm: &str, over: &str, word: &str) {
    let broker = Private::launch().await;
    let mut settings = Settings::new(broker.url());
    settings.deadline = Duration::from_secs(3);
    let transport = open(settings);
    let endpoint = ReceiveEndpoint { prefetch: 5, ..endpoint("blocked", QueueKind::Classic) };
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    let messages: Vec<_> = (0..30).map(ping).collect();
    assert_eq!(transport.publish(&messages).await, confirmed(30));
    broker.eval(alarm).await.expect("set");
    // The alarm is up a moment later, and the broker tells a connection only when that publishes.
    let unknown = loop {
        let answers = transport.publish(&[ping(30)]).await;
        if answers != confirmed(1) {
            break answers;
        }
    };
    assert!(matches!(unknown[0], Published::Unknown(_)), "{unknown:?}");
    unhealthy(&transport, "takes no messages").await;
    let next = [ping(31)];
    let refused = tokio::time::timeout(Duration::from_secs(1), transport.publish(&next));
    let refused = refused.await.expect("told at once");
    assert!(matches!(&refused[0], Published::Unknown(why) if why.contains(word)), "{refused:?}");
    // Consuming goes on meanwhile, acks included, for it has a connection of its own.
    assert_eq!(numbers(&taken(&mut *consumer, 30).await), (0..30).collect::<Vec<_>>());
    broker.eval(over).await.expect("set");
    healthy(&transport).await;
    assert_eq!(transport.publish(&[ping(31)]).await, confirmed(1));
    let mut came = numbers(&taken(&mut *consumer, 1).await);
    while came == [30] {
        came = numbers(&taken(&mut *consumer, 1).await);
    }
    assert_eq!(came, [31]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_022_a_broker_short_of_memory_takes_nothing_but_gives_and_takes_acks() {
    let watermark =
        |value: &str| format!("vm_memory_monitor:set_vm_memory_high_watermark({value})");
    blocked(&watermark("0.0001"), &watermark("0.6"), "memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_023_a_broker_short_of_disk_takes_nothing_but_gives_and_takes_acks() {
    let limit = |bytes: u64| format!("rabbit_disk_monitor:set_disk_free_limit({bytes})");
    blocked(&limit(1 << 60), &limit(50_000_000), "disk").await;
}

#[tokio::test]
async fn row_030_what_a_full_queue_refuses_is_not_taken_and_goes_when_there_is_room() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(10));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("full".into(), options, arguments).await.expect("a queue");
    let transport = open(Settings::new(vhost.url()));
    let messages: Vec<_> = (0..25).map(|n| to("full", Addressing::Queue, n)).collect();
    let mut left: BTreeSet<usize> = (0..25).collect();
    let mut came = BTreeSet::new();
    for round in 0..4 {
        let waiting: Vec<_> = left.iter().map(|n| messages[*n].clone()).collect();
        let published = transport.publish(&waiting).await;
        for (n, published) in left.clone().into_iter().zip(&published) {
            match published {
                Published::Confirmed => assert!(left.remove(&n)),
                Published::Unknown(why) => assert!(why.contains("nack"), "{why}"),
                other => panic!("{n}: {other:?}"),
            }
        }
        // Refused once a call: when to try again is for who calls to say.
        let ready = transport.depth("full").await.expect("a depth").ready;
        assert_eq!(ready as usize, 25 - left.len() - came.len(), "round {round}");
        assert!(ready <= 12, "the queue holds {ready}");
        let get = BasicGetOptions { no_ack: true };
        while let Some(got) = channel.basic_get("full".into(), get).await.expect("taken") {
            let id = got.delivery.properties.message_id().clone().expect("an id").to_string();
            came.insert(id);
        }
    }
    assert_eq!((left.len(), came.len()), (0, 25), "each was taken in the end, once");
    assert_eq!(transport.health(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_lower_the_prefetch_and_all_of_them_come() {
    let broker = Private::launch().await;
    let mut settings = Settings::new(broker.url());
    settings.prefetch_bytes = 2 << 20;
    let transport = open(settings);
    let endpoint = ReceiveEndpoint {
        prefetch: 500,
        max_body: 512 << 10,
        ..endpoint("heavy", QueueKind::Classic)
    };
    let size = |n: usize| if (100..140).contains(&n) { 400 << 10 } else { 10 };
    let heavy = |n: usize| {
        let message = ping(n);
        let mut body = message.body.to_vec();
        body.extend(std::iter::repeat_n(b' ', size(n)));
        Outgoing { body: body.into(), ..message }
    };
    transport.declare(&endpoint).await.expect("declared");
    let messages: Vec<_> = (0..200).map(heavy).collect();
    for call in messages.chunks(20) {
        assert_eq!(transport.publish(call).await, confirmed(20));
    }
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    let mut seen = std::collections::BTreeSet::new();
    let mut in_hand: Vec<knarr_model::ports::Delivery> = Vec::new();
    let mut most = 0;
    while seen.len() < 200 {
        // A slow engine: it settles only when nothing more comes for a while.
        match tokio::time::timeout(Duration::from_millis(300), consumer.next(50)).await {
            Ok(next) => {
                let next = next.expect("deliveries");
                seen.extend(numbers(&next));
                in_hand.extend(next);
                most = most.max(in_hand.iter().map(|it| it.size).sum::<usize>());
            }
            Err(_) => {
                let acks: Vec<_> =
                    in_hand.drain(..).map(|it| (it.receipt, Settlement::Ack)).collect();
                assert!(!acks.is_empty(), "{} came, and then nothing", seen.len());
                assert_eq!(consumer.settle(&acks).await, acks.len());
            }
        }
    }
    // Twice the budget, and the one body that went over it.
    assert!(most <= (4 << 20) + (512 << 10), "{most} bytes in hand");
    healthy(&transport).await;
}
