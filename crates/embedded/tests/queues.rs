//! The transport in the file: topology, order, leases, and what a crash or a restart leaves.

mod support;

use std::time::Duration;

use knarr_model::Headers;
use knarr_model::headers::HeaderValue;
use knarr_model::ports::transport::{Delivery, Published, Settlement};
use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::quarantine::Class;
use knarr_model::topology::Declare;
use knarr_model::work::Addressing;

use support::{endpoint, nothing, now, numbers, open, outgoing, published, take};

const PLACED: &str = "Shop:OrderPlaced";
const SUBMIT: &str = "Shop:SubmitOrder";

fn confirmed(count: usize) -> Vec<Published> {
    vec![Published::Confirmed; count]
}

#[tokio::test]
async fn messages_come_once_in_order_to_every_bound_queue() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, transport) = open(&folder.path().join("knarr.db")).await;
    let mut shop = transport.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    transport.declare(&endpoint("audit", &[PLACED, SUBMIT])).await.expect("declared");
    let sent: Vec<_> = (0..500).map(|n| published(PLACED, n)).collect();
    for part in sent.chunks(70) {
        assert_eq!(transport.publish(part).await, confirmed(part.len()));
    }
    let mut seen = Vec::new();
    while seen.len() < 500 {
        let some = take(&mut *shop, 1).await;
        let some: Vec<_> = some.into_iter().chain(shop.next(60).await.expect("more")).collect();
        assert!(some.iter().all(|delivery| delivery.delivery_count == 0));
        let acks: Vec<_> = some.iter().map(|d| (d.receipt, Settlement::Ack)).collect();
        assert_eq!(shop.settle(&acks).await, acks.len());
        seen.extend(some);
    }
    assert_eq!(numbers(&seen), (0..500).collect::<Vec<_>>());
    let ids: Vec<_> = sent.iter().map(|message| message.id).collect();
    assert_eq!(seen.iter().map(|delivery| delivery.message_id).collect::<Vec<_>>(), ids);
    let envelope = seen[7].content.as_ref().expect("it can be read");
    assert_eq!(envelope.message_types, [format!("urn:message:{PLACED}")]);
    assert_eq!(transport.depth("audit").await.expect("depth").ready, 500);
    assert_eq!(transport.depth("shop").await.expect("depth").ready, 0);
}

#[tokio::test]
async fn what_no_queue_takes_is_returned_if_it_must_arrive_and_dropped_if_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, transport) = open(&folder.path().join("knarr.db")).await;
    transport.declare(&endpoint("shop", &[SUBMIT])).await.expect("declared");
    let mut direct = outgoing("", Addressing::Answer, 3);
    direct.routing_key = "amq.rabbitmq.reply-to.g1".to_owned();
    let mut late = published(SUBMIT, 4);
    late.expires_at = Some(now() - chrono::TimeDelta::seconds(1));
    let mut large = published(SUBMIT, 5);
    large.routing_key = "k".repeat(256);
    let sent = [
        published("Shop:Nobody", 1),
        outgoing("bus-host-xyz", Addressing::Answer, 2),
        direct,
        outgoing("Shop:Nobody", Addressing::Exchange, 3),
        late,
        large,
        outgoing("shop", Addressing::Answer, 6),
    ];
    let answers = transport.publish(&sent).await;
    assert_eq!(answers[0], Published::Confirmed);
    for returned in &answers[1..4] {
        assert!(matches!(returned, Published::Returned(_)), "{returned:?}");
    }
    assert_eq!(answers[4], Published::Confirmed);
    assert!(matches!(answers[5], Published::Impossible(_)), "{:?}", answers[5]);
    assert_eq!(answers[6], Published::Confirmed);
    let mut shop = transport.consume(&endpoint("shop", &[SUBMIT])).await.expect("consumes");
    assert_eq!(numbers(&take(&mut *shop, 1).await), [6], "the expired one never left");
    nothing(&mut *shop).await;
}

#[tokio::test]
async fn queues_bindings_and_messages_outlive_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.db");
    let (store, transport) = open(&path).await;
    transport.declare(&endpoint("audit", &["Shop:Event"])).await.expect("declared");
    transport.declare(&endpoint("later", &[])).await.expect("declared");
    let derived = Addressing::Publish { bases: vec!["Shop:Event".to_owned()] };
    assert_eq!(transport.publish(&[outgoing(PLACED, derived, 1)]).await, confirmed(1));
    assert_eq!(transport.publish(&[outgoing("later", Addressing::Queue, 2)]).await, confirmed(1));
    store.close().await;
    let (_store, transport) = open(&path).await;
    let mut audit = transport.consume(&endpoint("audit", &[])).await.expect("consumes");
    assert_eq!(numbers(&take(&mut *audit, 1).await), [1]);
    let mut later = endpoint("later", &[]);
    later.declare = Declare::Passive;
    let mut later = transport.consume(&later).await.expect("the queue is there");
    assert_eq!(numbers(&take(&mut *later, 1).await), [2]);
    let mut absent = endpoint("absent", &[]);
    absent.declare = Declare::Passive;
    assert!(transport.declare(&absent).await.is_err_and(|error| !error.is_transient()));
    assert_eq!(transport.publish(&[published(PLACED, 3)]).await, confirmed(1));
    assert_eq!(numbers(&take(&mut *audit, 1).await), [3], "the base binding is known again");
}

#[tokio::test]
async fn what_is_returned_comes_again_in_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, transport) = open(&folder.path().join("knarr.db")).await;
    let mut shop = transport.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    let sent: Vec<_> = (0..6).map(|n| published(PLACED, n)).collect();
    transport.publish(&sent).await;
    let first = take(&mut *shop, 6).await;
    nothing(&mut *shop).await;
    let settle: Vec<_> = first
        .iter()
        .zip(0..)
        .map(|(d, n)| (d.receipt, if n % 2 == 0 { Settlement::Ack } else { Settlement::Return }))
        .collect();
    assert_eq!(shop.settle(&settle).await, 6);
    assert_eq!(shop.settle(&settle).await, 0, "a receipt counts once");
    transport.publish(&[published(PLACED, 6)]).await;
    let again = take(&mut *shop, 4).await;
    let counts: Vec<_> = again.iter().map(|delivery| delivery.delivery_count).collect();
    assert_eq!((numbers(&again), counts), (vec![1, 3, 5, 6], vec![1, 1, 1, 0]));

    // A consumer that stops gives back what it has; its receipts are stale from then on.
    let settler = shop.settler();
    shop.stop().await;
    assert_eq!(settler.settle(&[(again[0].receipt, Settlement::Ack)]).await, 0);
    let mut next = transport.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    let third = take(&mut *next, 4).await;
    assert_eq!(numbers(&third), [1, 3, 5, 6]);
    assert_ne!(third[0].receipt.generation, again[0].receipt.generation);
    assert_eq!(next.settle(&[(again[0].receipt, Settlement::Ack)]).await, 0);
}

#[tokio::test]
async fn the_prefetch_bounds_what_is_in_hand_and_two_consumers_share_a_queue() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, transport) = open(&folder.path().join("knarr.db")).await;
    let mut few = endpoint("shop", &[PLACED]);
    few.prefetch = 3;
    let mut one = transport.consume(&few).await.expect("consumes");
    let mut two = transport.consume(&few).await.expect("consumes");
    let sent: Vec<_> = (0..10).map(|n| published(PLACED, n)).collect();
    transport.publish(&sent).await;
    let of_one = one.next(100).await.expect("some");
    let of_two = two.next(100).await.expect("some");
    assert_eq!((numbers(&of_one), numbers(&of_two)), (vec![0, 1, 2], vec![3, 4, 5]));
    nothing(&mut *one).await;
    assert_eq!(transport.depth("shop").await.expect("depth").consumers, 2);
    assert_eq!(transport.depth("shop").await.expect("depth").ready, 4);
    one.settler().settle(&[(of_one[1].receipt, Settlement::Ack)]).await;
    assert_eq!(numbers(&take(&mut *one, 1).await), [6]);
}

#[tokio::test]
async fn a_waiting_consumer_hears_of_a_message_at_once_and_may_stop_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, transport) = open(&folder.path().join("knarr.db")).await;
    let mut shop = transport.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    for n in 0..20 {
        // Waiting is given up at any moment, and nothing is lost by it.
        let given_up = tokio::time::timeout(Duration::from_micros(n * 50), shop.next(5)).await;
        assert!(given_up.is_err(), "nothing was published yet");
        assert_eq!(transport.publish(&[published(PLACED, n)]).await, confirmed(1));
        let next = tokio::time::timeout(Duration::from_millis(800), shop.next(5)).await;
        let got = next.expect("sooner than the floor").expect("readable");
        assert_eq!(numbers(&got), [n]);
        shop.settle(&[(got[0].receipt, Settlement::Ack)]).await;
    }
}

#[tokio::test]
async fn what_was_in_hand_at_a_crash_comes_again_counted_and_the_rest_uncounted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.db");
    let (store, transport) = open(&path).await;
    transport.declare(&endpoint("shop", &[PLACED])).await.expect("declared");
    let sent: Vec<_> = (0..5).map(|n| published(PLACED, n)).collect();
    transport.publish(&sent).await;
    let mut shop = transport.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    let taken = shop.next(3).await.expect("some");
    assert_eq!(numbers(&taken), [0, 1, 2]);
    shop.settle(&[(taken[0].receipt, Settlement::Ack)]).await;
    // The acknowledgement rides on the next write.
    transport.declare(&endpoint("other", &[])).await.expect("declared");
    // A copy of the file is what a crash at this moment leaves.
    let crashed = folder.path().join("crashed.db");
    for end in ["", "-wal"] {
        let from = format!("{}{end}", path.display());
        std::fs::copy(from, format!("{}{end}", crashed.display())).expect("copied");
    }
    let (other, after) = open(&crashed).await;
    let mut shop_after = after.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    let again = take(&mut *shop_after, 4).await;
    let counts: Vec<_> = again.iter().map(|delivery| delivery.delivery_count).collect();
    assert_eq!((numbers(&again), counts), (vec![1, 2, 3, 4], vec![1, 1, 0, 0]));
    other.close().await;

    // A clean end is no crash: nothing is counted.
    transport.close().await;
    assert!(shop.next(1).await.is_err() && transport.health().is_err());
    store.close().await;
    let (store, transport) = open(&path).await;
    let mut shop = transport.consume(&endpoint("shop", &[PLACED])).await.expect("consumes");
    let again = take(&mut *shop, 4).await;
    assert!(again.iter().all(|delivery| delivery.delivery_count == 0));
    assert_eq!(numbers(&again), [1, 2, 3, 4]);
    store.close().await;
}

#[tokio::test]
async fn bodies_headers_and_properties_come_back_byte_exact() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_store, transport) = open(&folder.path().join("knarr.db")).await;
    let mut taker = endpoint("shop", &[PLACED]);
    taker.max_body = 100_000;
    let mut shop = transport.consume(&taker).await.expect("consumes");
    let mut headers = Headers::new();
    headers.set("text", "a\u{0}b 🐟");
    headers.set("bytes", HeaderValue::Bytes(vec![0, 255, 1]));
    headers.set("number", HeaderValue::I64(i64::MIN));
    let mut binary = published(PLACED, 0);
    binary.body = (0..=255u8).cycle().take(5_000).collect::<Vec<_>>().into();
    binary.headers = headers.clone();
    binary.routing_key = "k\u{0}y".to_owned();
    let mut large = published(PLACED, 0);
    large.body = vec![b' '; 200_000].into();
    let mut empty = published(PLACED, 0);
    empty.body = bytes::Bytes::new();
    let answers = transport.publish(&[binary.clone(), large, empty]).await;
    assert_eq!(answers, confirmed(3));
    let taken = take(&mut *shop, 3).await;
    assert_eq!((&taken[0].body, &taken[0].headers), (&binary.body, &headers));
    assert_eq!(taken[0].routing_key, binary.routing_key);
    assert_eq!(taken[0].message_id, binary.id);
    let class = |at: usize| {
        let delivery: &Delivery = &taken[at];
        delivery.content.as_ref().err().map(|undecodable| undecodable.class)
    };
    assert_eq!(class(0), Some(Class::Undecodable));
    assert_eq!(class(1), Some(Class::TooLarge));
    assert_eq!((taken[1].body.len(), taken[1].size), (64 << 10, 200_000));
    assert_eq!(class(2), Some(Class::Undecodable));
    assert!(taken[2].body.is_empty());
}
