//! The engine's door to the simulated broker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_model::format::masstransit;
use knarr_model::ports::clock::Clock;
use knarr_model::ports::transport::{
    Consumer, Delivery, Depth, Published, Publisher, Receipt, Settlement, Settler, Transport,
    TransportError,
};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Outgoing;
use knarr_model::{Digest, Headers, MessageId};
use parking_lot::Mutex;

use super::broker::Handed;
use super::world::World;

/// One node's connections.
pub(super) struct SimTransport {
    world: Arc<World>,
    clock: Arc<dyn Clock>,
    consumers: Mutex<Vec<u64>>,
    /// What it has tried to publish already.
    tried: Mutex<BTreeSet<MessageId>>,
    /// Until when its way to the broker is cut.
    away_until: Mutex<Duration>,
}

impl SimTransport {
    pub(super) fn new(world: Arc<World>, clock: Arc<dyn Clock>) -> Self {
        SimTransport {
            world,
            clock,
            consumers: Mutex::default(),
            tried: Mutex::default(),
            away_until: Mutex::default(),
        }
    }

    /// Whether nothing gets through now.
    fn is_away(&self) -> bool {
        let (now, dice) = (self.clock.monotonic(), &self.world.dice);
        if dice.strikes("outage", |f| f.outage) {
            let wait = Duration::from_millis(200 + dice.below(4_000));
            self.world.log(|| format!("nothing gets to the broker for {wait:?}"));
            *self.away_until.lock() = now + wait;
        }
        now < *self.away_until.lock()
    }

    /// The process has died: its connections break.
    pub(super) fn crash(&self) {
        for id in self.consumers.lock().drain(..) {
            self.world.broker.remove(id);
        }
    }
}

#[async_trait]
impl Publisher for SimTransport {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        let mut answers = Vec::with_capacity(messages.len());
        self.world.latency(4).await;
        let away = self.is_away();
        for message in messages {
            let dice = &self.world.dice;
            let first = self.tried.lock().insert(message.id);
            if away || dice.strikes("publish_fails", |f| f.publish_fails) {
                answers.push(Published::Unknown("simulated: not taken".to_owned()));
                continue;
            }
            self.world.log(|| format!("publish {}", message.id));
            self.world.published(message, first);
            if dice.strikes("confirm_lost", |f| f.confirm_lost) {
                answers.push(Published::Unknown("simulated: confirm lost".to_owned()));
            } else {
                answers.push(Published::Confirmed);
            }
        }
        self.world.latency(4).await;
        answers
    }
}

#[async_trait]
impl Transport for SimTransport {
    async fn consume(
        &self,
        _endpoint: &ReceiveEndpoint,
    ) -> Result<Box<dyn Consumer>, TransportError> {
        self.world.latency(5).await;
        let id = self.world.broker.connect();
        self.consumers.lock().push(id);
        let link = Link { world: self.world.clone(), id };
        Ok(Box::new(SimConsumer { link: Arc::new(link), clock: self.clock.clone() }))
    }

    async fn declare(&self, _endpoint: &ReceiveEndpoint) -> Result<(), TransportError> {
        Ok(())
    }

    async fn depth(&self, _queue: &str) -> Result<Depth, TransportError> {
        let ready = self.world.broker.depth().0 as u64;
        Ok(Depth { ready, consumers: 1 })
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn address(&self, endpoint: &str) -> String {
        format!("sim://broker/{endpoint}")
    }

    async fn close(&self) {
        self.crash();
    }
}

struct Link {
    world: Arc<World>,
    id: u64,
}

struct SimConsumer {
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Consumer for SimConsumer {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        let world = self.link.world.clone();
        loop {
            if world.dice.strikes("disconnect", |f| f.disconnect) {
                world.log(|| format!("disconnect {}", self.link.id));
                world.broker.disconnect(self.link.id);
                world.latency(50).await;
            }
            let arrival = world.broker.arrival();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let batch = 1 + world.dice.below(max.min(16) as u64) as usize;
            let handed = world.broker.take(self.link.id, batch, &world.dice);
            if handed.is_empty() {
                arrival.await;
                continue;
            }
            // Nothing is awaited between taking and handing out: `next` is cancel-safe.
            let now = self.clock.now();
            return Ok(handed.into_iter().map(|one| delivery(one, now)).collect());
        }
    }

    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        self.link.settle(receipts).await
    }

    fn settler(&self) -> Arc<dyn Settler> {
        self.link.clone()
    }

    async fn stop(self: Box<Self>) {
        self.link.world.broker.remove(self.link.id);
    }
}

#[async_trait]
impl Settler for Link {
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        let world = &self.world;
        tokio::time::sleep(Duration::from_millis(world.dice.below(3))).await;
        let mut settled = 0;
        for (receipt, settlement) in receipts {
            if world.dice.strikes("ack_lost", |f| f.ack_lost) {
                world.log(|| format!("ack lost on {}", self.id));
                world.broker.disconnect(self.id);
            }
            let ack = *settlement == Settlement::Ack;
            let done = world.broker.settle(self.id, receipt.tag, receipt.generation, ack);
            settled += usize::from(done);
        }
        settled
    }
}

fn delivery(handed: Handed, now: chrono::DateTime<chrono::Utc>) -> Delivery {
    let envelope = handed.message.envelope;
    let body = masstransit::encode(&envelope, &masstransit::Host::default());
    Delivery {
        receipt: Receipt { generation: handed.generation, tag: handed.tag },
        message_id: envelope.message_id,
        digest: Digest::of_message(&envelope.message),
        without_id: false,
        delivery_count: handed.message.deliveries - 1,
        exchange: String::new(),
        routing_key: String::new(),
        content_type: Some("application/vnd.masstransit+json".to_owned()),
        headers: Headers::new(),
        size: body.len(),
        body,
        content: Ok(envelope),
        received_at: now,
    }
}
