//! What the cases are written with: endpoints, messages, and patience.

use std::time::Duration;

use bytes::Bytes;
use knarr_model::ids::Name;
use knarr_model::message::TypeName;
use knarr_model::ports::transport::{Consumer, Delivery, Published, Receipt, Settlement};
use knarr_model::topology::{Declare, ReceiveEndpoint, Subscription, WithoutId};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Headers, MessageId};
use uuid::Uuid;

use super::Broker;

/// Longer than anything here may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// After which nothing is expected to come any more.
pub(super) const QUIET: Duration = Duration::from_millis(400);

/// An endpoint that takes messages of these types of the namespace `Test`.
pub(super) fn endpoint(broker: &Broker, name: &str, types: &[&str]) -> ReceiveEndpoint {
    let subscriptions = types.iter().map(|it| Subscription::to(&type_name(it))).collect();
    ReceiveEndpoint {
        name: Name::from(name),
        subscriptions,
        queue: broker.queue,
        declare: Declare::Create,
        prefetch: 200,
        max_body: 8 << 20,
        without_id: WithoutId::Digest,
        ordered: false,
    }
}

fn type_name(name: &str) -> TypeName {
    TypeName::new("Test", name)
}

/// The exchange of a type of the namespace `Test`.
pub(super) fn exchange(name: &str) -> String {
    type_name(name).exchange()
}

/// The `n`-th message of a case; its id says so.
pub(super) fn id(n: usize) -> MessageId {
    MessageId(Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + n as u128))
}

/// An envelope as MassTransit writes it, padded to at least `size` bytes.
pub(super) fn body(name: &str, n: usize, size: usize) -> Bytes {
    let urn = type_name(name).urn();
    let head = format!(
        r#"{{"messageId":"{}","messageType":["{urn}"],"message":{{"n":{n},"text":""#,
        id(n)
    );
    let tail = r#""}}"#;
    let padding = "x".repeat(size.saturating_sub(head.len() + tail.len()));
    Bytes::from(format!("{head}{padding}{tail}"))
}

/// A message to be published to its type's exchange.
pub(super) fn event(name: &str, n: usize) -> Outgoing {
    Outgoing {
        id: id(n),
        sequence: None,
        exchange: exchange(name),
        routing_key: String::new(),
        addressing: Addressing::Publish { bases: Vec::new() },
        content_type: "application/vnd.masstransit+json".to_owned(),
        correlation_id: None,
        headers: Headers::new(),
        expires_at: None,
        priority: None,
        body: body(name, n, 0),
    }
}

/// A message to be sent to an endpoint.
pub(super) fn command(queue: &str, name: &str, n: usize) -> Outgoing {
    Outgoing { exchange: queue.to_owned(), addressing: Addressing::Queue, ..event(name, n) }
}

/// Publishes and expects every message to be confirmed.
pub(super) async fn publish(broker: &Broker, messages: &[Outgoing]) {
    let published = broker.transport.publish(messages).await;
    assert_eq!(published, vec![Published::Confirmed; messages.len()]);
}

/// Begins to consume.
pub(super) async fn consume(broker: &Broker, endpoint: &ReceiveEndpoint) -> Box<dyn Consumer> {
    broker.transport.consume(endpoint).await.expect("a consumer")
}

/// Waits for `count` deliveries, without settling any.
pub(super) async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(PATIENCE, consumer.next(count - taken.len())).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} deliveries came", taken.len()));
        taken.extend(next.expect("deliveries"));
    }
    assert_eq!(taken.len(), count, "more than asked for");
    taken
}

/// Expects that nothing more comes.
pub(super) async fn expect_quiet(consumer: &mut dyn Consumer) {
    if let Ok(came) = tokio::time::timeout(QUIET, consumer.next(1)).await {
        panic!("nothing was to come, but: {:?}", came.map(|it| numbers(&it)));
    }
}

/// The numbers of messages made by [`event`] or [`command`].
pub(super) fn numbers(deliveries: &[Delivery]) -> Vec<usize> {
    let number = |it: &Delivery| (it.message_id.0.as_u128() & 0xffff_ffff) as usize;
    deliveries.iter().map(number).collect()
}

/// The same, sorted.
pub(super) fn sorted(deliveries: &[Delivery]) -> Vec<usize> {
    let mut numbers = numbers(deliveries);
    numbers.sort_unstable();
    numbers
}

/// Receipts of deliveries with the same settlement for all.
pub(super) fn all(deliveries: &[Delivery], how: Settlement) -> Vec<(Receipt, Settlement)> {
    deliveries.iter().map(|it| (it.receipt, how)).collect()
}

/// Acks the deliveries and expects each to be handed to the broker.
pub(super) async fn ack(consumer: &dyn Consumer, deliveries: &[Delivery]) {
    let settled = consumer.settle(&all(deliveries, Settlement::Ack)).await;
    assert_eq!(settled, deliveries.len());
}
