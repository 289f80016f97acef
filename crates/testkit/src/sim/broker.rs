//! A simulated broker: one queue, deliveries that come again until they are acked, broken connections.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use knarr_model::Envelope;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::dice::Dice;

/// The broker. It never dies; connections to it do.
#[derive(Default)]
pub(super) struct Broker {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Message>,
    consumers: BTreeMap<u64, Consumer>,
    next_consumer: u64,
    next_tag: u64,
}

#[derive(Clone)]
pub(super) struct Message {
    pub(super) envelope: Arc<Envelope>,
    pub(super) deliveries: u32,
}

#[derive(Default)]
struct Consumer {
    unacked: BTreeMap<u64, Message>,
    generation: u64,
}

/// A delivery as a consumer gets it.
pub(super) struct Handed {
    pub(super) tag: u64,
    pub(super) generation: u64,
    pub(super) message: Message,
}

impl Broker {
    /// Puts a message at the end of the queue.
    pub(super) fn enqueue(&self, envelope: Arc<Envelope>) {
        self.state.lock().ready.push_back(Message { envelope, deliveries: 0 });
        self.arrived.notify_waiters();
    }

    pub(super) fn connect(&self) -> u64 {
        let mut state = self.state.lock();
        state.next_consumer += 1;
        let id = state.next_consumer;
        state.consumers.insert(id, Consumer::default());
        id
    }

    /// Takes what is ready, up to `max`, now and then out of order.
    pub(super) fn take(&self, consumer: u64, max: usize, dice: &Dice) -> Vec<Handed> {
        let mut state = self.state.lock();
        let mut handed = Vec::new();
        while handed.len() < max && !state.ready.is_empty() {
            let depth = state.ready.len().min(4) as u64;
            let at =
                if dice.strikes("reorder", |f| f.reorder) { dice.below(depth) as usize } else { 0 };
            let Some(mut message) = state.ready.remove(at) else { break };
            message.deliveries += 1;
            state.next_tag += 1;
            let tag = state.next_tag;
            let Some(holder) = state.consumers.get_mut(&consumer) else {
                state.ready.push_front(message);
                break;
            };
            holder.unacked.insert(tag, message.clone());
            handed.push(Handed { tag, generation: holder.generation, message });
        }
        handed
    }

    /// Waits for something to arrive.
    pub(super) fn arrival(&self) -> tokio::sync::futures::Notified<'_> {
        self.arrived.notified()
    }

    /// Forgets a delivery, or puts it back. `false`: stale, nothing happened.
    pub(super) fn settle(&self, consumer: u64, tag: u64, generation: u64, ack: bool) -> bool {
        let mut state = self.state.lock();
        let Some(holder) = state.consumers.get_mut(&consumer) else { return false };
        if holder.generation != generation {
            return false;
        }
        let Some(message) = holder.unacked.remove(&tag) else { return false };
        if !ack {
            state.ready.push_front(message);
            drop(state);
            self.arrived.notify_waiters();
        }
        true
    }

    /// The connection breaks: everything not acked goes back; the consumer may go on as a new
    /// generation.
    pub(super) fn disconnect(&self, consumer: u64) {
        let mut state = self.state.lock();
        let Some(holder) = state.consumers.get_mut(&consumer) else { return };
        holder.generation += 1;
        let unacked = std::mem::take(&mut holder.unacked);
        for (_, message) in unacked.into_iter().rev() {
            state.ready.push_front(message);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// The consumer is gone for good.
    pub(super) fn remove(&self, consumer: u64) {
        self.disconnect(consumer);
        self.state.lock().consumers.remove(&consumer);
    }

    /// Messages ready, and messages handed out and not acked.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.ready.len(), state.consumers.values().map(|c| c.unacked.len()).sum())
    }
}
