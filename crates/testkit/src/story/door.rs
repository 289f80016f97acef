//! A broker in memory that never fails: one queue in, everything published kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use knarr_model::ports::transport::{
    Consumer, Delivery, Depth, Published, Publisher, Receipt, Settlement, Settler, Transport,
    TransportError,
};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Outgoing;
use knarr_model::{Digest, Envelope, Headers, MessageId};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;

/// The story's broker. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Door(Arc<Inside>);

#[derive(Default)]
struct Inside {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Delivery>,
    unacked: BTreeMap<u64, Delivery>,
    tags: u64,
    sent: Vec<Sent>,
    ids: BTreeSet<MessageId>,
}

/// A message that left.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The exchange it went to.
    pub(super) exchange: String,
    /// Its payload.
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Body {
    message: Box<RawValue>,
}

impl Door {
    /// Puts a message into the queue.
    pub(super) fn deliver(&self, envelope: Arc<Envelope>, now: chrono::DateTime<chrono::Utc>) {
        let body = Bytes::from(envelope.message.get().to_owned());
        let mut state = self.0.state.lock();
        state.tags += 1;
        let delivery = Delivery {
            receipt: Receipt { generation: 1, tag: state.tags },
            message_id: envelope.message_id,
            digest: Digest::of_message(&envelope.message),
            without_id: false,
            delivery_count: 0,
            exchange: String::new(),
            routing_key: String::new(),
            content_type: Some("application/vnd.masstransit+json".to_owned()),
            headers: Headers::new(),
            size: body.len(),
            body,
            content: Ok(envelope),
            received_at: now,
        };
        state.ready.push_back(delivery);
        drop(state);
        self.0.arrived.notify_waiters();
    }

    /// Hands out what is ready.
    fn take(&self, max: usize) -> Vec<Delivery> {
        let mut state = self.0.state.lock();
        let taken = max.min(state.ready.len());
        let taken: Vec<_> = state.ready.drain(..taken).collect();
        for delivery in &taken {
            state.unacked.insert(delivery.receipt.tag, delivery.clone());
        }
        taken
    }

    /// Whether nothing waits in the queue and nothing is in hand.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.0.state.lock();
        state.ready.is_empty() && state.unacked.is_empty()
    }

    /// Whether a message has left.
    pub(super) fn has_sent(&self, id: MessageId) -> bool {
        self.0.state.lock().ids.contains(&id)
    }

    /// Everything that left so far, in order.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.0.state.lock().sent.clone()
    }
}

#[async_trait]
impl Publisher for Door {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        let mut state = self.0.state.lock();
        for message in messages {
            // The same id again is the same message again: it counts once.
            if !state.ids.insert(message.id) {
                continue;
            }
            let body = serde_json::from_slice::<Body>(&message.body);
            let text = body.map_or_else(|error| error.to_string(), |b| b.message.get().to_owned());
            state.sent.push(Sent { exchange: message.exchange.clone(), message: text });
        }
        vec![Published::Confirmed; messages.len()]
    }
}

#[async_trait]
impl Transport for Door {
    async fn consume(
        &self,
        _endpoint: &ReceiveEndpoint,
    ) -> Result<Box<dyn Consumer>, TransportError> {
        Ok(Box::new(self.clone()))
    }

    async fn declare(&self, _endpoint: &ReceiveEndpoint) -> Result<(), TransportError> {
        Ok(())
    }

    async fn depth(&self, _queue: &str) -> Result<Depth, TransportError> {
        Ok(Depth { ready: self.0.state.lock().ready.len() as u64, consumers: 1 })
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn address(&self, endpoint: &str) -> String {
        format!("story://here/{endpoint}")
    }

    async fn close(&self) {}
}

#[async_trait]
impl Consumer for Door {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        loop {
            let arrival = self.0.arrived.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let taken = self.take(max);
            if !taken.is_empty() {
                return Ok(taken);
            }
            arrival.await;
        }
    }

    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        Settler::settle(self, receipts).await
    }

    fn settler(&self) -> Arc<dyn Settler> {
        Arc::new(self.clone())
    }

    async fn stop(self: Box<Self>) {}
}

#[async_trait]
impl Settler for Door {
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        let mut state = self.0.state.lock();
        let mut settled = 0;
        for (receipt, settlement) in receipts {
            let Some(delivery) = state.unacked.remove(&receipt.tag) else { continue };
            settled += 1;
            if *settlement == Settlement::Return {
                state.ready.push_front(delivery);
            }
        }
        drop(state);
        self.0.arrived.notify_waiters();
        settled
    }
}
