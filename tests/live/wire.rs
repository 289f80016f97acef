//! The broker as any other program sees it: raw messages in, and how much lies in a queue.

use std::collections::BTreeMap;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};

use crate::world::World;

pub(crate) const SUBMIT: &str = "Knarr.UrlScan:SubmitUrl";
pub(crate) const ENDPOINT: &str = "url-scan";
pub(crate) const SCANNED: &str = "Knarr.UrlScan:UrlScanned";
/// Where the broker puts what it delivered too often.
pub(crate) const DEAD: &str = "url-scan_dead";
pub(crate) const MASS_TRANSIT: &str = "application/vnd.masstransit+json";

/// A connection of ours to the broker.
pub(crate) struct Wire {
    channel: Channel,
    connection: Connection,
}

/// One message as it is put on the wire.
#[derive(Clone, Default)]
pub(crate) struct Raw {
    pub(crate) exchange: &'static str,
    pub(crate) routing_key: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) content_encoding: &'static str,
    /// AMQP property; empty is absent.
    pub(crate) message_id: String,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(world: &World) -> Wire {
        let connection = Connection::connect(&world.broker, ConnectionProperties::default());
        let connection = connection.await.expect("the broker is there");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        Wire { channel, connection }
    }

    /// Publishes, and waits until the broker has it in a queue.
    pub(crate) async fn publish(&self, raw: &Raw) {
        let confirm = self.hand_over(raw).await.await.expect("an answer");
        assert!(confirm.is_ack() && confirm.take_message().is_none(), "no queue took the message");
    }

    /// Publishes many, and waits until the broker has them all.
    pub(crate) async fn publish_all(&self, all: &[Raw]) {
        let mut confirms = Vec::with_capacity(all.len());
        for raw in all {
            confirms.push(self.hand_over(raw).await);
        }
        for confirm in confirms {
            assert!(confirm.await.expect("an answer").is_ack(), "the broker refuses a message");
        }
    }

    async fn hand_over(&self, raw: &Raw) -> lapin::PublisherConfirm {
        let mut properties = BasicProperties::default().with_delivery_mode(2);
        if !raw.content_type.is_empty() {
            properties = properties.with_content_type(raw.content_type.into());
        }
        if !raw.content_encoding.is_empty() {
            properties = properties.with_content_encoding(raw.content_encoding.into());
        }
        if !raw.message_id.is_empty() {
            properties = properties.with_message_id(raw.message_id.as_str().into());
        }
        let mut headers = FieldTable::default();
        for (name, value) in &raw.headers {
            headers.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let confirm = self.channel.basic_publish(
            raw.exchange.into(),
            raw.routing_key.into(),
            options,
            &raw.body,
            properties.with_headers(headers),
        );
        confirm.await.expect("published")
    }

    /// Messages that lie ready in a queue.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        declared.await.unwrap_or_else(|error| panic!("{queue}: {error}")).message_count()
    }

    /// A durable classic queue that nobody asked us for.
    pub(crate) async fn classic(&self, queue: &str) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), durable, FieldTable::default());
        declared.await.unwrap_or_else(|error| panic!("{queue}: {error}"));
    }

    pub(crate) async fn delete(&self, queue: &str) {
        let deleted = self.channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        deleted.await.unwrap_or_else(|error| panic!("{queue}: {error}"));
    }

    /// A queue that keeps a copy of everything published to an exchange, through every restart.
    pub(crate) async fn tap(&self, queue: &str, exchange: &str) {
        let arguments = FieldTable::default();
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::Fanout;
        let made = self.channel.exchange_declare(exchange.into(), kind, durable, arguments.clone());
        made.await.unwrap_or_else(|error| panic!("{exchange}: {error}"));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(queue.into(), durable, arguments.clone());
        declared.await.unwrap_or_else(|error| panic!("{queue}: {error}"));
        let bound = self.channel.queue_bind(
            queue.into(),
            exchange.into(),
            "".into(),
            QueueBindOptions::default(),
            arguments,
        );
        bound.await.unwrap_or_else(|error| panic!("{queue} at {exchange}: {error}"));
    }

    /// Takes everything that lies in a queue: bodies.
    pub(crate) async fn take_all(&self, queue: &str) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.expect("taken") {
            taken.push(got.delivery.data);
        }
        taken
    }

    /// The next message in a queue: its headers as text, and its body.
    pub(crate) async fn take(&self, queue: &str) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(queue.into(), options).await.expect("taken")?;
        let headers = got.delivery.properties.headers().clone().unwrap_or_default();
        let text = |value: &AMQPValue| match value {
            AMQPValue::LongString(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        let headers = headers.inner().iter().map(|(name, value)| (name.to_string(), text(value)));
        Some((headers.collect(), got.delivery.data))
    }

    pub(crate) async fn close(self) {
        self.connection.close(200, "done".into()).await.expect("closed");
    }
}

/// An envelope of `SubmitUrl` around this message.
pub(crate) fn envelope(message_id: &str, message: Value) -> Vec<u8> {
    envelope_of(message_id, &format!("urn:message:{SUBMIT}"), message)
}

/// An envelope of this type around this message.
pub(crate) fn envelope_of(message_id: &str, urn: &str, message: Value) -> Vec<u8> {
    let envelope = json!({ "messageId": message_id, "messageType": [urn], "message": message });
    envelope.to_string().into_bytes()
}
