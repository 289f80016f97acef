//! Declares exchanges, queues and bindings, as MassTransit lays them out (masstransit-wire §5).

use std::time::Duration;

use knarr_model::topology::{DELIVERY_LIMIT, Declare, QueueKind, ReceiveEndpoint, dead_queue};
use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, ExchangeKind, Queue};
use tracing::warn;

use crate::broken::{Broken, Inequivalent, inequivalent, within};
use crate::connection::Live;
use crate::names::short;

/// Deliveries after which the broker drops a message from the dead queue: never, for us. Without
/// an own limit, quorum queues of RabbitMQ 4 drop after 20.
const NEVER: i32 = i32::MAX;

/// Declares on a channel of its own, which a refusal closes and the next step opens again.
pub(crate) struct Declarer<'a> {
    live: &'a Live,
    limit: Duration,
    channel: Option<Channel>,
}

impl<'a> Declarer<'a> {
    pub(crate) fn on(live: &'a Live, limit: Duration) -> Self {
        Declarer { live, limit, channel: None }
    }

    async fn channel(&mut self) -> Result<Channel, Broken> {
        match &self.channel {
            Some(channel) if channel.status().connected() => Ok(channel.clone()),
            _ => {
                let opened = self.live.connection.create_channel();
                let channel = within(self.limit, "channel.open", opened).await?;
                self.channel = Some(channel.clone());
                Ok(channel)
            }
        }
    }

    /// Declares a durable fanout exchange; the key with which others are bound to it.
    ///
    /// One that exists with another type is taken as it is: a topic exchange is bound with `#`.
    pub(crate) async fn source_exchange(&mut self, name: &str) -> Result<&'static str, Broken> {
        match self.exchange(name).await {
            Ok(()) => Ok(""),
            Err(Broken::Refused(code, text)) => match inequivalent(&text) {
                Some(Inequivalent { values, .. }) if values.contains("current is 'topic'") => {
                    Ok("#")
                }
                Some(_) => Ok(""),
                None => Err(Broken::Refused(code, text)),
            },
            Err(away) => Err(away),
        }
    }

    async fn exchange(&mut self, name: &str) -> Result<(), Broken> {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let exchange = named("the exchange", name)?;
        let channel = self.channel().await?;
        let declared = channel.exchange_declare(
            exchange,
            ExchangeKind::Fanout,
            options,
            FieldTable::default(),
        );
        within(self.limit, "exchange.declare", declared).await
    }

    async fn queue(&mut self, name: &str, arguments: FieldTable) -> Result<Queue, Broken> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        let queue = named("the queue", name)?;
        let channel = self.channel().await?;
        let declared = channel.queue_declare(queue, options, arguments);
        within(self.limit, "queue.declare", declared).await
    }

    /// What is known of a queue that exists; a missing one is refused with 404.
    pub(crate) async fn existing_queue(&mut self, name: &str) -> Result<Queue, Broken> {
        let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        let queue = named("the queue", name)?;
        let channel = self.channel().await?;
        let declared = channel.queue_declare(queue, options, FieldTable::default());
        within(self.limit, "queue.declare", declared).await
    }

    /// Whether the queue exists.
    pub(crate) async fn queue_exists(&mut self, name: &str) -> Result<bool, Broken> {
        match self.existing_queue(name).await {
            Ok(_) => Ok(true),
            Err(Broken::Refused(404, _)) => Ok(false),
            // Exclusive to another connection (405), or not ours to look at (403): it is there.
            Err(Broken::Refused(405 | 403, _)) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// Binds the queue to the exchange of the same name.
    pub(crate) async fn queue_to_own_exchange(&mut self, name: &str) -> Result<(), Broken> {
        let (queue, exchange) = (named("the queue", name)?, named("the exchange", name)?);
        let channel = self.channel().await?;
        let bound = channel.queue_bind(
            queue,
            exchange,
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        within(self.limit, "queue.bind", bound).await
    }

    /// Lets `target` have what `source` gets.
    pub(crate) async fn exchange_to(
        &mut self,
        target: &str,
        source: &str,
        key: &str,
    ) -> Result<(), Broken> {
        let (to, from) = (named("the exchange", target)?, named("the exchange", source)?);
        let channel = self.channel().await?;
        let bound = channel.exchange_bind(
            to,
            from,
            key.into(),
            ExchangeBindOptions::default(),
            FieldTable::default(),
        );
        within(self.limit, "exchange.bind", bound).await
    }

    /// Declares what the endpoint needs. Whether there is a dead queue to be emptied.
    pub(crate) async fn endpoint(&mut self, endpoint: &ReceiveEndpoint) -> Result<bool, Broken> {
        let dead = dead_queue(&endpoint.name);
        if endpoint.declare == Declare::Passive {
            self.existing_queue(&endpoint.name).await?;
            return self.queue_exists(&dead).await;
        }
        let with_dead = endpoint.queue == QueueKind::Quorum;
        self.queue(&endpoint.name, arguments(endpoint)).await?;
        if with_dead {
            self.queue(&dead, dead_arguments()).await?;
            self.exchange(&dead).await?;
            self.queue_to_own_exchange(&dead).await?;
        }
        self.exchange(&endpoint.name).await?;
        self.queue_to_own_exchange(&endpoint.name).await?;
        for subscription in &endpoint.subscriptions {
            let key = self.source_exchange(&subscription.exchange).await?;
            self.exchange_to(&endpoint.name, &subscription.exchange, key).await?;
        }
        Ok(with_dead)
    }

    /// Says in the log in what a queue that is taken as it is differs from what we would make.
    ///
    /// Asking is declaring it as ours, which changes nothing about a queue that exists.
    pub(crate) async fn compare(&mut self, endpoint: &ReceiveEndpoint) {
        if endpoint.declare == Declare::Create {
            return;
        }
        let Ok(true) = self.queue_exists(&endpoint.name).await else { return };
        if let Err(Broken::Refused(_, text)) = self.queue(&endpoint.name, arguments(endpoint)).await
            && let Some(Inequivalent { argument, values, .. }) = inequivalent(&text)
        {
            let queue = &*endpoint.name;
            warn!(queue, argument, values, "the queue is taken as it is, which is not as ours");
        }
    }
}

fn named(what: &str, name: &str) -> Result<lapin::types::ShortString, Broken> {
    short(what, name).map_err(|why| Broken::Refused(406, why))
}

fn arguments(endpoint: &ReceiveEndpoint) -> FieldTable {
    let mut arguments = FieldTable::default();
    if endpoint.queue == QueueKind::Quorum {
        let limit = i32::try_from(DELIVERY_LIMIT).unwrap_or(i32::MAX);
        let dead = LongString::from(dead_queue(&endpoint.name));
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(limit));
        // Without a dead-letter exchange the broker deletes what exceeds the limit.
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(dead));
    }
    arguments
}

fn dead_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(NEVER));
    arguments
}
