//! What becomes of a delivery: acked for good, or back to the queue, once and by its own receipt.

use std::sync::Arc;

use knarr_model::ports::transport::{Receipt, Settlement};
use knarr_model::topology::ReceiveEndpoint;

use super::Broker;
use super::parts::{
    ack, all, consume, endpoint, event, expect_quiet, numbers, publish, sorted, take,
};

fn few(broker: &Broker, name: &str, prefetch: u16) -> ReceiveEndpoint {
    ReceiveEndpoint { prefetch, ..endpoint(broker, name, &["Ping"]) }
}

async fn send(broker: &Broker, range: std::ops::Range<usize>) {
    let messages: Vec<_> = range.map(|n| event("Ping", n)).collect();
    publish(broker, &messages).await;
}

/// The broker forgets it, also when the consumer goes.
pub async fn an_acked_delivery_is_gone(broker: Arc<Broker>) {
    let endpoint = few(&broker, "acked", 10);
    let mut consumer = consume(&broker, &endpoint).await;
    send(&broker, 0..3).await;
    let taken = take(&mut *consumer, 3).await;
    ack(&*consumer, &taken).await;
    consumer.stop().await;
    let mut next = consume(&broker, &endpoint).await;
    expect_quiet(&mut *next).await;
}

/// It comes again, marked as a redelivery, and nothing else of it differs.
pub async fn a_returned_delivery_comes_again(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &few(&broker, "returned", 10)).await;
    send(&broker, 0..2).await;
    let first = take(&mut *consumer, 2).await;
    ack(&*consumer, &first[..1]).await;
    let settler = consumer.settler();
    assert_eq!(settler.settle(&all(&first[1..], Settlement::Return)).await, 1);
    let again = take(&mut *consumer, 1).await;
    assert_eq!(numbers(&again), [1]);
    assert!(again[0].delivery_count >= 1, "{}", again[0].delivery_count);
    assert_eq!((&again[0].body, again[0].digest), (&first[1].body, first[1].digest));
    assert_ne!(again[0].receipt, first[1].receipt);
    ack(&*consumer, &again).await;
    expect_quiet(&mut *consumer).await;
}

/// Taken, buffered, half settled: after the stop nothing lies between two chairs.
pub async fn pe_023_a_stop_returns_everything_in_hand_and_in_the_buffer(broker: Arc<Broker>) {
    let endpoint = few(&broker, "stopping", 25);
    let mut consumer = consume(&broker, &endpoint).await;
    send(&broker, 0..40).await;
    let taken = take(&mut *consumer, 5).await;
    ack(&*consumer, &taken[..2]).await;
    consumer.stop().await;
    let mut next = consume(&broker, &ReceiveEndpoint { prefetch: 100, ..endpoint }).await;
    let rest = take(&mut *next, 38).await;
    assert_eq!(sorted(&rest), (2..40).collect::<Vec<_>>());
    // One stop adds at most one to the broker's count.
    assert!(rest.iter().all(|it| it.delivery_count <= 1));
    ack(&*next, &rest).await;
    expect_quiet(&mut *next).await;
}

/// Ten stops in a row, each in the middle.
pub async fn pe_023_stopping_again_and_again_loses_nothing(broker: Arc<Broker>) {
    let endpoint = few(&broker, "again", 7);
    broker.transport.declare(&endpoint).await.expect("declared");
    send(&broker, 0..30).await;
    let mut seen = Vec::new();
    for round in 0..10 {
        let mut consumer = consume(&broker, &endpoint).await;
        let taken = take(&mut *consumer, 3).await;
        let (done, back) = taken.split_at(round % 3);
        ack(&*consumer, done).await;
        seen.extend(numbers(done));
        if round % 2 == 0 {
            assert_eq!(consumer.settle(&all(back, Settlement::Return)).await, back.len());
        }
        consumer.stop().await;
    }
    let mut last = consume(&broker, &endpoint).await;
    while seen.len() < 30 {
        let taken = take(&mut *last, 1).await;
        ack(&*last, &taken).await;
        seen.extend(numbers(&taken));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    expect_quiet(&mut *last).await;
}

/// What the old consumer had comes first to the new one, in order.
pub async fn pe_018_stop_and_start_at_once_keep_order(broker: Arc<Broker>) {
    let endpoint = few(&broker, "order", 6);
    let mut consumer = consume(&broker, &endpoint).await;
    send(&broker, 0..6).await;
    let first = take(&mut *consumer, 6).await;
    ack(&*consumer, &first[..1]).await;
    consumer.stop().await;
    let mut next = consume(&broker, &endpoint).await;
    assert_eq!(numbers(&take(&mut *next, 5).await), (1..6).collect::<Vec<_>>());
}

/// A late commit acks by the receipt it has; the redelivery is another one's.
pub async fn pe_030_a_receipt_of_a_stopped_consumer_settles_nothing(broker: Arc<Broker>) {
    let endpoint = few(&broker, "stale", 10);
    let mut consumer = consume(&broker, &endpoint).await;
    send(&broker, 0..2).await;
    let old = take(&mut *consumer, 2).await;
    let settler = consumer.settler();
    consumer.stop().await;
    let mut next = consume(&broker, &endpoint).await;
    let new = take(&mut *next, 2).await;
    assert_eq!(settler.settle(&all(&old, Settlement::Ack)).await, 0);
    // A receipt that no delivery of this consumer had is passed over among good ones.
    let strange = Receipt { generation: new[0].receipt.generation + 1_000, tag: 1 };
    let mut receipts = all(&new[..1], Settlement::Ack);
    receipts.insert(0, (strange, Settlement::Ack));
    assert_eq!(next.settle(&receipts).await, 1);
    next.stop().await;
    let mut last = consume(&broker, &endpoint).await;
    assert_eq!(numbers(&take(&mut *last, 1).await), numbers(&new[1..]));
    expect_quiet(&mut *last).await;
}

/// A second settlement of the same receipt does nothing, and harms nothing.
pub async fn a_receipt_settles_once(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &few(&broker, "once", 10)).await;
    send(&broker, 0..3).await;
    let taken = take(&mut *consumer, 3).await;
    let first = all(&taken[..1], Settlement::Ack);
    assert_eq!(consumer.settle(&first).await, 1);
    assert_eq!(consumer.settle(&first).await, 0);
    assert_eq!(consumer.settle(&all(&taken[..1], Settlement::Return)).await, 0);
    let doubled = [all(&taken[1..], Settlement::Ack), all(&taken[1..], Settlement::Ack)].concat();
    assert_eq!(consumer.settle(&doubled).await, 2);
    // The channel still lives.
    send(&broker, 3..5).await;
    let more = take(&mut *consumer, 2).await;
    assert_eq!(numbers(&more), [3, 4]);
    ack(&*consumer, &more).await;
    expect_quiet(&mut *consumer).await;
}

/// A task that is aborted has no time for a stop.
pub async fn a_consumer_dropped_without_a_stop_gives_everything_back(broker: Arc<Broker>) {
    let endpoint = few(&broker, "dropped", 10);
    let mut consumer = consume(&broker, &endpoint).await;
    send(&broker, 0..6).await;
    take(&mut *consumer, 4).await;
    drop(consumer);
    let mut next = consume(&broker, &endpoint).await;
    assert_eq!(sorted(&take(&mut *next, 6).await), (0..6).collect::<Vec<_>>());
}

/// The later one commits first: the earlier one is not acked along with it.
pub async fn pe_031_acks_settle_one_by_one(broker: Arc<Broker>) {
    let endpoint = few(&broker, "singly", 10);
    let mut consumer = consume(&broker, &endpoint).await;
    send(&broker, 0..4).await;
    let taken = take(&mut *consumer, 4).await;
    ack(&*consumer, &taken[2..3]).await;
    consumer.stop().await;
    let mut next = consume(&broker, &endpoint).await;
    assert_eq!(sorted(&take(&mut *next, 3).await), [0, 1, 3]);
    expect_quiet(&mut *next).await;
}
