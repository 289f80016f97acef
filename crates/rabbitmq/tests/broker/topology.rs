//! What is declared, what is taken as it is, and what MassTransit would say to it.

use std::path::Path;

use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint};
use knarr_model::work::{Addressing, Outgoing};
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ExchangeBindOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};
use serde_json::Value;

use crate::parts::{
    Plain, confirmed, endpoint, expect_quiet, healthy, numbers, open, ping, subscription, taken,
    to, unhealthy,
};

fn recorded() -> Value {
    let file = "../../tests/fixtures/masstransit/topology.json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).expect("the recorded topology");
    serde_json::from_str(&text).expect("JSON")
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().expect("text")
}

fn flag(row: &Value, name: &str) -> bool {
    row[name].as_bool().expect("a flag")
}

fn table(row: &Value) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in row["arguments"].as_object().expect("a table") {
        let value = match value {
            Value::Bool(value) => AMQPValue::Boolean(*value),
            Value::Number(value) => {
                AMQPValue::LongInt(i32::try_from(value.as_i64().expect("whole")).expect("small"))
            }
            other => AMQPValue::LongString(other.as_str().expect("text").into()),
        };
        table.insert(name.as_str().into(), value);
    }
    table
}

/// Declares as MassTransit does: actively, with its arguments. A difference is a 406.
async fn declare_as_recorded(channel: &Channel, topology: &Value) {
    for queue in topology["queues"].as_array().expect("a list") {
        let options = QueueDeclareOptions {
            durable: flag(queue, "durable"),
            auto_delete: flag(queue, "auto_delete"),
            exclusive: flag(queue, "exclusive"),
            ..QueueDeclareOptions::default()
        };
        let name = text(queue, "name");
        let declared = channel.queue_declare(name.into(), options, table(queue)).await;
        declared.unwrap_or_else(|e| panic!("queue {name}: {e}"));
    }
    for exchange in topology["exchanges"].as_array().expect("a list") {
        let options = ExchangeDeclareOptions {
            durable: flag(exchange, "durable"),
            auto_delete: flag(exchange, "auto_delete"),
            ..ExchangeDeclareOptions::default()
        };
        let kind = match text(exchange, "type") {
            "topic" => ExchangeKind::Topic,
            _ => ExchangeKind::Fanout,
        };
        let name = text(exchange, "name");
        let declared = channel.exchange_declare(name.into(), kind, options, table(exchange)).await;
        declared.unwrap_or_else(|e| panic!("exchange {name}: {e}"));
    }
    for binding in topology["bindings"].as_array().expect("a list") {
        let (from, to) = (text(binding, "source"), text(binding, "destination"));
        let key = text(binding, "routing_key");
        let bound = if text(binding, "destination_type") == "queue" {
            let options = QueueBindOptions::default();
            channel.queue_bind(to.into(), from.into(), key.into(), options, table(binding)).await
        } else {
            let options = ExchangeBindOptions::default();
            channel.exchange_bind(to.into(), from.into(), key.into(), options, table(binding)).await
        };
        bound.unwrap_or_else(|e| panic!("{from} -> {to}: {e}"));
    }
}

/// The endpoints of the recording that are ours to imitate: plain classic queues.
fn endpoints_as_recorded(topology: &Value) -> Vec<ReceiveEndpoint> {
    let rows = |name: &str| topology[name].as_array().expect("a list").clone();
    let plain = |queue: &Value| {
        flag(queue, "durable")
            && queue["arguments"].as_object().is_some_and(serde_json::Map::is_empty)
    };
    rows("queues")
        .iter()
        .filter(|queue| plain(queue))
        .map(|queue| {
            let name = text(queue, "name");
            let subscriptions = rows("bindings")
                .iter()
                .filter(|it| {
                    text(it, "destination_type") == "exchange"
                        && text(it, "destination") == name
                        && text(it, "routing_key").is_empty()
                })
                .map(|it| subscription(text(it, "source")))
                .collect();
            ReceiveEndpoint { subscriptions, ..endpoint(name, QueueKind::Classic) }
        })
        .collect()
}

fn order_submitted(n: usize) -> Outgoing {
    let bases = ["Shop.Contracts:IOrderEvent", "Shop.Contracts:IEvent"].map(str::to_owned);
    let addressing = Addressing::Publish { bases: bases.to_vec() };
    to("Shop.Contracts:OrderSubmitted", addressing, n)
}

#[tokio::test]
async fn mt_topology_what_masstransit_declared_is_what_we_declare() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let topology = recorded();
    declare_as_recorded(&plain.channel().await, &topology).await;
    let transport = open(Settings::new(vhost.url()));
    let endpoints = endpoints_as_recorded(&topology);
    assert!(endpoints.len() >= 20, "{} endpoints", endpoints.len());
    for endpoint in &endpoints {
        let declared = transport.declare(endpoint).await;
        declared.unwrap_or_else(|e| panic!("{}: {e}", endpoint.name));
    }
    let messages = [order_submitted(1), to("order", Addressing::Queue, 2)];
    assert_eq!(transport.publish(&messages).await, confirmed(2));
    assert_eq!(transport.depth("order").await.expect("a depth").ready, 2);
    // A queue with other arguments is refused by name, and can be taken as it is.
    let quorum = endpoint("quorum-orders", QueueKind::Quorum);
    let refused = transport.declare(&quorum).await.expect_err("other arguments").to_string();
    assert!(refused.contains("`quorum-orders`") && refused.contains("`x-d"), "{refused}");
    let passive = ReceiveEndpoint { declare: Declare::Passive, ..quorum };
    transport.declare(&passive).await.expect("as it is");
}

#[tokio::test]
async fn mt_270_mt_274_mt_275_what_we_declared_is_what_masstransit_declares() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let topology = recorded();
    let transport = open(Settings::new(vhost.url()));
    for endpoint in endpoints_as_recorded(&topology) {
        transport.declare(&endpoint).await.expect("declared");
    }
    assert_eq!(transport.publish(&[order_submitted(1)]).await, confirmed(1));
    declare_as_recorded(&plain.channel().await, &topology).await;
    // Published to a base type by us, it reaches what MassTransit would bind there.
    let base = ReceiveEndpoint {
        subscriptions: vec![subscription("Shop.Contracts:IEvent")],
        ..endpoint("audit", QueueKind::Classic)
    };
    let mut audit = transport.consume(&base).await.expect("a consumer");
    assert_eq!(transport.publish(&[order_submitted(2)]).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *audit, 1).await), [2]);
    expect_quiet(&mut *audit).await;
}

#[tokio::test]
async fn row_031_pe_042_a_queue_of_another_kind_is_refused_by_name_and_argument() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = plain.channel().await;
    channel.queue_declare("orders".into(), options, FieldTable::default()).await.expect("a queue");
    let transport = open(Settings::new(vhost.url()));
    let endpoint = endpoint("orders", QueueKind::Quorum);
    let Err(refused) = transport.consume(&endpoint).await else { panic!("it was taken") };
    let refused = refused.to_string();
    // The broker names one of the three, and not each version the same.
    assert!(refused.contains("queue `orders`") && refused.contains("another `x-"), "{refused}");
    let passive = ReceiveEndpoint { declare: Declare::Passive, ..endpoint };
    let mut consumer = transport.consume(&passive).await.expect("it is taken as it is");
    let orders = [to("orders", Addressing::Queue, 1)];
    assert_eq!(transport.publish(&orders).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [1]);
    healthy(&transport).await;
}

#[tokio::test]
async fn pe_043_what_others_own_is_neither_made_nor_changed() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let passive =
        ReceiveEndpoint { declare: Declare::Passive, ..endpoint("theirs", QueueKind::Quorum) };
    let Err(refused) = transport.consume(&passive).await else { panic!("it was made") };
    assert!(refused.to_string().contains("'theirs'"), "{refused}");
    transport.declare(&passive).await.expect_err("still not there");
    let plain = Plain::connect(&vhost.url()).await;
    let exists = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    for exchange in ["theirs", "Test:Ping"] {
        let channel = plain.channel().await;
        let kind = ExchangeKind::Fanout;
        let found = channel.exchange_declare(exchange.into(), kind, exists, FieldTable::default());
        found.await.expect_err(exchange);
    }
}

#[tokio::test]
async fn row_025_a_queue_deleted_under_its_consumer_is_made_again() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let endpoint = endpoint("deleted", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    assert_eq!(transport.publish(&[ping(1), ping(2)]).await, confirmed(2));
    let held = consumer.next(1).await.expect("a delivery");
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let gone = channel.queue_delete("deleted".into(), QueueDeleteOptions::default()).await;
    gone.expect("deleted");
    // The queue is back, bound, and consumed from; what was in it is gone with it.
    let mut came = Vec::new();
    for n in 3.. {
        assert_eq!(transport.publish(&[ping(n)]).await, confirmed(1));
        let next = tokio::time::timeout(std::time::Duration::from_millis(200), consumer.next(1));
        if let Ok(next) = next.await {
            came = next.expect("a delivery");
            // What had come before may still be handed out for a moment.
            if came[0].receipt.generation != held[0].receipt.generation {
                break;
            }
        }
        assert!(n < 100, "nothing came");
    }
    assert!(numbers(&came)[0] >= 3, "{came:?}");
    healthy(&transport).await;
}

#[tokio::test]
async fn pe_029_pe_294_a_consumer_that_cannot_consume_is_no_good_health() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let make = || channel.queue_declare("theirs".into(), options, FieldTable::default());
    make().await.expect("a queue");
    let transport = open(Settings::new(vhost.url()));
    let passive =
        ReceiveEndpoint { declare: Declare::Passive, ..endpoint("theirs", QueueKind::Classic) };
    let mut consumer = transport.consume(&passive).await.expect("a consumer");
    healthy(&transport).await;
    let gone = channel.queue_delete("theirs".into(), QueueDeleteOptions::default()).await;
    gone.expect("deleted");
    unhealthy(&transport, "theirs does not consume").await;
    let told = consumer.next(1).await.expect_err("it cannot go on by itself");
    assert!(told.to_string().contains("'theirs'"), "{told}");
    make().await.expect("a queue again");
    healthy(&transport).await;
    assert_eq!(transport.publish(&[to("theirs", Addressing::Queue, 1)]).await, confirmed(1));
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [1]);
}

#[tokio::test]
async fn pe_041_pe_279_mt_285_row_035_what_the_broker_gives_up_comes_as_delivery_limit_with_its_own_id()
 {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let endpoint = endpoint("limit", QueueKind::Quorum);
    transport.declare(&endpoint).await.expect("declared");
    let message = Outgoing { body: "{\"no\":\"id\"}".into(), ..ping(0) };
    assert_eq!(transport.publish(&[message, ping(1)]).await, confirmed(2));
    let identity = crash_on_first(&vhost.url()).await;
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    let came = taken(&mut *consumer, 2).await;
    let (dead, alive): (Vec<_>, Vec<_>) = came.into_iter().partition(|it| it.content.is_err());
    assert_eq!((numbers(&alive), numbers(&dead)), (vec![1], vec![0]), "{identity}");
    let why = dead[0].content.as_ref().expect_err("given up");
    assert_eq!(why.class, knarr_model::Class::DeliveryLimit);
    assert!(why.reason.contains("delivery_limit"), "{}", why.reason);
    assert_eq!(dead[0].exchange, "Test:Ping");
    expect_quiet(&mut *consumer).await;
    assert_eq!(transport.depth("limit_dead").await.expect("a depth").ready, 0);
}

/// Rejects the first message of the queue as often as the broker lets it.
async fn crash_on_first(url: &str) -> String {
    use futures_util::StreamExt as _;
    use lapin::options::{BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
    let plain = Plain::connect(url).await;
    let channel = plain.channel().await;
    channel.basic_qos(1, BasicQosOptions::default()).await.expect("a prefetch");
    let options = BasicConsumeOptions::default();
    let consumed = channel.basic_consume("limit".into(), "".into(), options, FieldTable::default());
    let mut stream = consumed.await.expect("a consumer");
    let mut rejected = 0;
    while let Some(delivery) = stream.next().await {
        let delivery = delivery.expect("a delivery");
        let id = delivery.properties.message_id().clone().expect("an id").to_string();
        if id != crate::parts::id(0).to_string() {
            // The next one is at the head: the first was given up.
            return format!("given up after {rejected} rejections");
        }
        rejected += 1;
        assert!(rejected <= 1_100, "the limit does not hold");
        delivery.reject(BasicRejectOptions { requeue: true }).await.expect("rejected");
    }
    panic!("the stream ended after {rejected} rejections");
}

#[tokio::test]
async fn an_exchange_of_type_topic_is_bound_with_a_key_that_takes_all() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let kind = ExchangeKind::Topic;
    let declared =
        channel.exchange_declare("Test:Ping".into(), kind, options, FieldTable::default());
    declared.await.expect("an exchange");
    let transport = open(Settings::new(vhost.url()));
    let endpoint = endpoint("topic-in", QueueKind::Quorum);
    let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
    let message = ping(7);
    let properties = BasicProperties::default().with_message_id(message.id.to_string().into());
    let published = channel.basic_publish(
        "Test:Ping".into(),
        "order.placed".into(),
        BasicPublishOptions::default(),
        &message.body,
        properties,
    );
    published.await.expect("published");
    assert_eq!(transport.publish(&[ping(8)]).await, confirmed(1));
    let mut came = numbers(&taken(&mut *consumer, 2).await);
    came.sort_unstable();
    assert_eq!(came, [7, 8]);
}

/// A queue with a time to live and priorities, an exchange with an alternate: all of it theirs.
#[tokio::test]
async fn mt_282_mt_283_mt_286_arguments_that_we_never_set_are_taken_as_they_are() {
    let vhost = rabbitmq::vhost().await;
    let plain = Plain::connect(&vhost.url()).await;
    let channel = plain.channel().await;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let arguments = |pairs: &[(&str, AMQPValue)]| {
        let mut table = FieldTable::default();
        for (name, value) in pairs {
            table.insert((*name).into(), value.clone());
        }
        table
    };
    let theirs = [("x-expires", 5_400_000), ("x-max-priority", 5)];
    let theirs = arguments(&theirs.map(|(name, value)| (name, AMQPValue::LongInt(value))));
    channel.queue_declare("theirs".into(), durable, theirs).await.expect("a queue");
    channel.queue_declare("spare".into(), durable, FieldTable::default()).await.expect("a queue");
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let alternate = [("alternate-exchange", AMQPValue::LongString("Test:Spare".into()))];
    for (exchange, table) in
        [("Test:Spare", FieldTable::default()), ("Test:Ping", arguments(&alternate))]
    {
        let kind = ExchangeKind::Fanout;
        let declared = channel.exchange_declare(exchange.into(), kind, options, table);
        declared.await.unwrap_or_else(|e| panic!("{exchange}: {e}"));
    }
    let bind = QueueBindOptions::default();
    let bound = channel.queue_bind(
        "spare".into(),
        "Test:Spare".into(),
        "".into(),
        bind,
        FieldTable::default(),
    );
    bound.await.expect("bound");
    let transport = open(Settings::new(vhost.url()));
    // Nobody takes it yet: it lands where they want such messages.
    assert_eq!(transport.publish(&[ping(1)]).await, confirmed(1));
    let get = BasicGetOptions { no_ack: true };
    assert!(channel.basic_get("spare".into(), get).await.expect("taken").is_some());
    let urgent = Outgoing { priority: Some(2), ..to("theirs", Addressing::Queue, 2) };
    assert_eq!(transport.publish(&[urgent]).await, confirmed(1));
    let got = channel.basic_get("theirs".into(), get).await.expect("taken").expect("a message");
    assert_eq!(got.delivery.properties.priority(), &Some(2));
    let passive =
        ReceiveEndpoint { declare: Declare::Passive, ..endpoint("theirs", QueueKind::Classic) };
    let mut consumer = transport.consume(&passive).await.expect("as it is");
    let mut other = transport.consume(&endpoint("ours", QueueKind::Quorum)).await.expect("bound");
    assert_eq!(
        transport.publish(&[to("theirs", Addressing::Queue, 3), ping(4)]).await,
        confirmed(2)
    );
    assert_eq!(numbers(&taken(&mut *consumer, 1).await), [3]);
    assert_eq!(numbers(&taken(&mut *other, 1).await), [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mt_290_fifty_endpoints_over_one_connection_all_consume() {
    let vhost = rabbitmq::vhost().await;
    let transport = open(Settings::new(vhost.url()));
    let name = |n: usize| format!("endpoint-{n}");
    let mut consumers = Vec::new();
    for n in 0..50 {
        let endpoint = endpoint(&name(n), QueueKind::Classic);
        consumers.push(transport.consume(&endpoint).await.expect("a consumer"));
    }
    healthy(&transport).await;
    let messages: Vec<_> = (0..50).map(|n| to(&name(n), Addressing::Queue, n)).collect();
    assert_eq!(transport.publish(&messages).await, confirmed(50));
    for (n, consumer) in consumers.iter_mut().enumerate() {
        assert_eq!(numbers(&taken(&mut **consumer, 1).await), [n]);
    }
}
