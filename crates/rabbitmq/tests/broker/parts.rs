//! What the tests are written with: endpoints, messages, and a plain client beside ours.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_model::ids::Name;
use knarr_model::ports::transport::{Consumer, Delivery, Published, Settlement};
use knarr_model::ports::{Clock as _, Transport as _};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, Subscription, WithoutId};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Headers, MessageId};
use knarr_rabbitmq::{Settings, Transport};
use knarr_testkit::clock::TokioClock;
use lapin::{Channel, Connection, ConnectionProperties};
use uuid::Uuid;

/// Longer than anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn open(settings: Settings) -> Arc<Transport> {
    Arc::new(Transport::open(settings, Arc::new(TokioClock::real())).expect("a URL"))
}

pub(crate) async fn pause(duration: Duration) {
    TokioClock::real().sleep(duration).await;
}

/// An endpoint that takes `Test:Ping`.
pub(crate) fn endpoint(name: &str, queue: QueueKind) -> ReceiveEndpoint {
    ReceiveEndpoint {
        name: Name::from(name),
        subscriptions: vec![subscription("Test:Ping")],
        queue,
        declare: Declare::Create,
        prefetch: 50,
        max_body: 8 << 20,
        without_id: WithoutId::Digest,
        ordered: false,
    }
}

pub(crate) fn subscription(exchange: &str) -> Subscription {
    Subscription { urn: format!("urn:message:{exchange}"), exchange: exchange.to_owned() }
}

pub(crate) fn id(n: usize) -> MessageId {
    MessageId(Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + n as u128))
}

/// The numbers of messages whose ids [`id`] made.
pub(crate) fn numbers(deliveries: &[Delivery]) -> Vec<usize> {
    deliveries.iter().map(|it| (it.message_id.0.as_u128() & 0xffff_ffff) as usize).collect()
}

/// A message to `Test:Ping`.
pub(crate) fn ping(n: usize) -> Outgoing {
    let text = format!(
        r#"{{"messageId":"{}","messageType":["urn:message:Test:Ping"],"message":{{"n":{n}}}}}"#,
        id(n)
    );
    Outgoing {
        id: id(n),
        sequence: None,
        exchange: "Test:Ping".to_owned(),
        routing_key: String::new(),
        addressing: Addressing::Publish { bases: Vec::new() },
        content_type: "application/vnd.masstransit+json".to_owned(),
        correlation_id: None,
        headers: Headers::new(),
        expires_at: None,
        priority: None,
        body: Bytes::from(text),
    }
}

/// The same, addressed to an exchange.
pub(crate) fn to(exchange: &str, addressing: Addressing, n: usize) -> Outgoing {
    Outgoing { exchange: exchange.to_owned(), addressing, ..ping(n) }
}

pub(crate) fn confirmed(count: usize) -> Vec<Published> {
    vec![Published::Confirmed; count]
}

/// Waits for `count` deliveries and acks them.
pub(crate) async fn taken(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut taken: Vec<Delivery> = Vec::new();
    while taken.len() < count {
        let next = tokio::time::timeout(PATIENCE, consumer.next(count - taken.len())).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} deliveries came", taken.len()));
        let next = next.expect("deliveries");
        let acks: Vec<_> = next.iter().map(|it| (it.receipt, Settlement::Ack)).collect();
        assert_eq!(consumer.settle(&acks).await, acks.len());
        taken.extend(next);
    }
    taken
}

pub(crate) async fn expect_quiet(consumer: &mut dyn Consumer) {
    let next = tokio::time::timeout(Duration::from_millis(400), consumer.next(1)).await;
    assert!(next.is_err(), "nothing was to come, but: {next:?}");
}

/// Waits until the transport says that all is well.
pub(crate) async fn healthy(transport: &Transport) {
    let mut last = Ok(());
    for _ in 0..600 {
        last = transport.health();
        if last.is_ok() {
            return;
        }
        pause(Duration::from_millis(100)).await;
    }
    panic!("not healthy within a minute: {last:?}");
}

/// Waits until the transport says what is wrong, in words that contain `part`.
pub(crate) async fn unhealthy(transport: &Transport, part: &str) {
    let mut last = Ok(());
    for _ in 0..600 {
        last = transport.health();
        if last.as_ref().is_err_and(|why| why.contains(part)) {
            return;
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("`{part}` was to be said within half a minute: {last:?}");
}

/// A client that is not ours.
pub(crate) struct Plain {
    /// Its channels live as long as it does.
    connection: Connection,
}

impl Plain {
    pub(crate) async fn connect(url: &str) -> Plain {
        let connection = Connection::connect(url, ConnectionProperties::default()).await;
        Plain { connection: connection.expect("a connection") }
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.connection.create_channel().await.expect("a channel")
    }
}
