//! Where messages go: fan-out, sends, returns, order, and what never goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use futures_util::future;
use knarr_model::ports::transport::Published;
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{HeaderValue, Headers};

use super::Broker;
use super::parts::{
    ack, body, command, consume, endpoint, event, exchange, expect_quiet, numbers, publish, sorted,
    take,
};

/// A publish reaches all subscribers, and nothing about it changes on the way.
pub async fn pe_001_a_publish_reaches_every_endpoint_byte_for_byte(broker: Arc<Broker>) {
    let mut one = consume(&broker, &endpoint(&broker, "one", &["Ping"])).await;
    let mut two = consume(&broker, &endpoint(&broker, "two", &["Ping", "Pong"])).await;
    let mut other = consume(&broker, &endpoint(&broker, "other", &["Pong"])).await;
    let mut message = event("Ping", 1);
    message.headers.set("tenant", "north");
    message.correlation_id = Some(message.id.0);
    let spaced = format!(" \n{}\t", std::str::from_utf8(&message.body).expect("text"));
    message.body = Bytes::from(spaced);
    publish(&broker, std::slice::from_ref(&message)).await;
    for consumer in [&mut one, &mut two] {
        let taken = take(&mut **consumer, 1).await;
        let delivery = &taken[0];
        assert_eq!(delivery.body, message.body);
        assert_eq!(delivery.size, message.body.len());
        assert_eq!(delivery.message_id, message.id);
        assert!(!delivery.without_id && delivery.delivery_count == 0);
        assert_eq!(delivery.exchange, exchange("Ping"));
        assert_eq!(delivery.content_type.as_deref(), Some(message.content_type.as_str()));
        assert_eq!(delivery.headers.text("tenant").as_deref(), Some("north"));
        let envelope = delivery.content.as_ref().expect("it can be read");
        assert!(envelope.is_of_type("urn:message:Test:Ping"));
        ack(&**consumer, &taken).await;
        expect_quiet(&mut **consumer).await;
    }
    expect_quiet(&mut *other).await;
}

/// Names and values of headers with combining marks, symbols and emoji come back unchanged.
pub async fn pe_002_headers_keep_any_character(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "unicode", &["Ping"])).await;
    let mut message = event("Ping", 1);
    for text in ["e\u{301}", "𝕊𝕒𝕘𝕒", "👩‍🚀", "ß→∑", "\u{0}nul", ""] {
        message.headers.set(&format!("name {text}"), text);
    }
    publish(&broker, std::slice::from_ref(&message)).await;
    let taken = take(&mut *consumer, 1).await;
    assert_eq!(taken[0].headers, message.headers);
}

/// One header of every field type comes back with its value and its type.
pub async fn pe_003_headers_keep_their_amqp_types(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "types", &["Ping"])).await;
    let table = BTreeMap::from([
        ("deep".to_owned(), HeaderValue::List(vec![HeaderValue::Null, HeaderValue::I8(1)])),
        ("text".to_owned(), HeaderValue::from("t")),
    ]);
    let values = [
        HeaderValue::from("text"),
        HeaderValue::Bool(false),
        HeaderValue::I8(i8::MIN),
        HeaderValue::U8(u8::MAX),
        HeaderValue::I16(i16::MIN),
        HeaderValue::I32(i32::MIN),
        HeaderValue::I64(i64::MIN),
        HeaderValue::F32(1.25),
        HeaderValue::F64(-1e300),
        HeaderValue::Decimal { scale: 3, unscaled: -1_234_567 },
        HeaderValue::Timestamp(1_767_225_600),
        HeaderValue::Bytes(vec![0, 128, 255]),
        HeaderValue::List(vec![HeaderValue::Table(table.clone()), HeaderValue::from("a")]),
        HeaderValue::Table(table),
        HeaderValue::Null,
    ];
    let named = values.into_iter().enumerate().map(|(n, value)| (format!("h{n:02}"), value));
    let message = Outgoing { headers: Headers(named.collect()), ..event("Ping", 1) };
    publish(&broker, std::slice::from_ref(&message)).await;
    assert_eq!(take(&mut *consumer, 1).await[0].headers, message.headers);
}

/// A type's base is bound to it, and who takes both gets the message once.
pub async fn a_subscriber_of_a_base_type_is_reached_once(broker: Arc<Broker>) {
    let mut base = consume(&broker, &endpoint(&broker, "base", &["Base"])).await;
    let mut both = consume(&broker, &endpoint(&broker, "both", &["Base", "Derived"])).await;
    let bases = vec![exchange("Base"), exchange("Unheard")];
    let message = |n| Outgoing {
        addressing: Addressing::Publish { bases: bases.clone() },
        ..event("Derived", n)
    };
    publish(&broker, &[message(1), message(2)]).await;
    for consumer in [&mut base, &mut both] {
        assert_eq!(numbers(&take(&mut **consumer, 2).await), [1, 2]);
        expect_quiet(&mut **consumer).await;
    }
}

/// A publish that nobody subscribed to is done; no queue comes of it.
pub async fn pe_047_an_unbound_publish_is_confirmed_and_makes_no_queue(broker: Arc<Broker>) {
    publish(&broker, &[event("Nobody", 1), event("Nobody", 2)]).await;
    let depth = broker.transport.depth(&exchange("Nobody")).await;
    depth.expect_err("there is no such queue");
    let mut late = consume(&broker, &endpoint(&broker, "late", &["Nobody"])).await;
    expect_quiet(&mut *late).await;
}

/// A send goes to one endpoint, whatever that subscribed to.
pub async fn a_send_reaches_its_queue_and_no_other(broker: Arc<Broker>) {
    let mut target = consume(&broker, &endpoint(&broker, "target", &[])).await;
    let mut other = consume(&broker, &endpoint(&broker, "other", &["Do"])).await;
    publish(&broker, &[command("target", "Do", 1)]).await;
    let taken = take(&mut *target, 1).await;
    assert_eq!((numbers(&taken), taken[0].exchange.as_str()), (vec![1], "target"));
    expect_quiet(&mut *other).await;
}

/// Among many in one call, those and only those are returned.
pub async fn row_027_exactly_the_messages_without_a_queue_are_returned(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "here", &["Do"])).await;
    let lost = [0, 13, 14, 57, 99];
    let messages: Vec<_> = (0..100)
        .map(|n| {
            let queue = if lost.contains(&n) { "nowhere" } else { "here" };
            command(queue, "Do", n)
        })
        .collect();
    // Twice, since what was found missing once must be found missing again.
    for _ in 0..2 {
        let published = broker.transport.publish(&messages).await;
        for (n, published) in published.iter().enumerate() {
            match lost.contains(&n) {
                true => assert!(matches!(published, Published::Returned(_)), "{n}: {published:?}"),
                false => assert_eq!(*published, Published::Confirmed, "{n}"),
            }
        }
        let taken = take(&mut *consumer, 95).await;
        let expected: Vec<_> = (0..100).filter(|n| !lost.contains(n)).collect();
        assert_eq!(numbers(&taken), expected);
        ack(&*consumer, &taken).await;
    }
    expect_quiet(&mut *consumer).await;
}

/// Requesters go away; that is nobody else's trouble.
pub async fn an_answer_to_nobody_is_returned_and_harms_no_neighbour(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "here", &["Ping"])).await;
    let answer = |n| Outgoing {
        exchange: "gone_bus_x1".to_owned(),
        addressing: Addressing::Answer,
        ..event("Pong", n)
    };
    let reply_to = |n| Outgoing {
        exchange: String::new(),
        routing_key: "amq.rabbitmq.reply-to.g2dkABByYWJiaXRAbG9jYWxob3N0AAAAAA".to_owned(),
        ..answer(n)
    };
    let to_here = Outgoing { exchange: "here".to_owned(), ..answer(3) };
    let messages = [event("Ping", 1), answer(2), to_here, reply_to(4), event("Ping", 5)];
    let published = broker.transport.publish(&messages).await;
    for (n, published) in [1, 2, 3, 4, 5].into_iter().zip(&published) {
        match n {
            2 | 4 => assert!(matches!(published, Published::Returned(_)), "{n}: {published:?}"),
            _ => assert_eq!(*published, Published::Confirmed, "{n}"),
        }
    }
    assert_eq!(sorted(&take(&mut *consumer, 3).await), [1, 3, 5]);
}

/// Large and small in turn arrive as they were published.
pub async fn pe_051_messages_of_any_size_keep_their_order(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "sizes", &["Ping"])).await;
    let size = |n: usize| if n.is_multiple_of(7) { 300_000 } else { n };
    let message = |n| Outgoing { body: body("Ping", n, size(n)), ..event("Ping", n) };
    let messages: Vec<_> = (0..150).map(message).collect();
    for call in messages.chunks(40) {
        publish(&broker, call).await;
    }
    let taken = take(&mut *consumer, 150).await;
    assert_eq!(numbers(&taken), (0..150).collect::<Vec<_>>());
    assert!(taken.iter().enumerate().all(|(n, it)| it.body == messages[n].body));
}

/// Confirms overlap: a call does not wait for the one before it, nor does it overtake it.
pub async fn calls_side_by_side_keep_the_order_they_began_in(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "calls", &["Ping", "Pong"])).await;
    let kind = |n: usize| if (n / 10).is_multiple_of(2) { "Ping" } else { "Pong" };
    let messages: Vec<_> = (0..200).map(|n| event(kind(n), n)).collect();
    let calls = messages.chunks(10).map(|call| broker.transport.publish(call));
    let published = future::join_all(calls).await.concat();
    assert_eq!(published, vec![Published::Confirmed; 200]);
    assert_eq!(numbers(&take(&mut *consumer, 200).await), (0..200).collect::<Vec<_>>());
}

/// Nobody wants it any more, so it counts as done.
pub async fn pe_039_what_has_expired_is_not_published(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "expiring", &["Ping"])).await;
    let past = Some(DateTime::UNIX_EPOCH);
    let future = DateTime::from_timestamp(32_503_680_000, 0);
    let messages = [
        Outgoing { expires_at: past, ..event("Ping", 1) },
        Outgoing { expires_at: future, ..event("Ping", 2) },
        event("Ping", 3),
    ];
    publish(&broker, &messages).await;
    assert_eq!(numbers(&take(&mut *consumer, 2).await), [2, 3]);
    expect_quiet(&mut *consumer).await;
}

/// A name that cannot be written holds nobody up.
pub async fn what_can_never_go_is_impossible_and_the_rest_goes(broker: Arc<Broker>) {
    let mut consumer = consume(&broker, &endpoint(&broker, "rest", &["Ping"])).await;
    let mut long_header = event("Ping", 2);
    long_header.headers.set(&"n".repeat(300), "v");
    let long_key = Outgoing { routing_key: "k".repeat(300), ..event("Ping", 3) };
    let messages = [event("Ping", 1), long_header, long_key, event("Ping", 4)];
    let published = broker.transport.publish(&messages).await;
    assert_eq!((&published[0], &published[3]), (&Published::Confirmed, &Published::Confirmed));
    for at in [1, 2] {
        assert!(matches!(published[at], Published::Impossible(_)), "{at}: {:?}", published[at]);
    }
    assert_eq!(numbers(&take(&mut *consumer, 2).await), [1, 4]);
}

/// No messages, no answers.
pub async fn an_empty_call_answers_nothing(broker: Arc<Broker>) {
    assert!(broker.transport.publish(&[]).await.is_empty());
    // A call that had something to say went through, so the broker is there.
    publish(&broker, &[event("Nobody", 1)]).await;
    let consumer = consume(&broker, &endpoint(&broker, "healthy", &[])).await;
    assert_eq!(broker.transport.health(), Ok(()));
    consumer.stop().await;
    assert_eq!(broker.transport.health(), Ok(()), "a stopped consumer is no failure");
}

/// What messages give as their source ends in the endpoint's name.
pub async fn an_address_names_the_endpoint(broker: Arc<Broker>) {
    let address = broker.transport.address("url-scan");
    assert!(address.contains("://") && address.ends_with("/url-scan"), "{address}");
}
