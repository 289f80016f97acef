//! The broker of the road's tests: queues in memory, and publishing that fails as it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::ports::Clock;
use knarr_model::ports::transport::{
    Consumer, Delivery, Depth, Published, Publisher, Receipt, Settlement, Settler, Transport,
    TransportError,
};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Outgoing;
use knarr_model::{MessageId, Name};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What the broker says to a message instead of taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It is not taken, and nobody knows that.
    NotTaken,
    /// It is taken, and nobody hears of it.
    ConfirmLost,
    /// No queue takes it.
    Returned,
    /// It can never go.
    Impossible,
}

/// A message that the broker took.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) outgoing: Outgoing,
    pub(crate) at: DateTime<Utc>,
}

/// The broker. It outlives every node.
#[derive(Default)]
pub(crate) struct Broker {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<Name, VecDeque<Letter>>,
    consumers: BTreeMap<u64, Consuming>,
    numbers: u64,
    sent: Vec<Sent>,
    /// How often each exchange was tried, taken or not.
    tried: BTreeMap<String, usize>,
    settled: Vec<(MessageId, Settlement)>,
    replies: BTreeMap<String, (Reply, usize)>,
    /// Messages still taken before publishing hangs.
    until_stall: Option<usize>,
    /// The only node that gets deliveries.
    only: Option<usize>,
}

/// A message in a queue; its number is its place.
#[derive(Clone)]
struct Letter {
    number: u64,
    delivery: Delivery,
}

struct Consuming {
    node: usize,
    queue: Name,
    unacked: BTreeMap<u64, Letter>,
}

impl Broker {
    /// Puts a message at the end of a queue.
    pub(crate) fn enqueue(&self, queue: &Name, delivery: Delivery) {
        let mut state = self.state.lock();
        state.numbers += 1;
        let letter = Letter { number: state.numbers, delivery };
        state.queues.entry(queue.clone()).or_default().push_back(letter);
        drop(state);
        self.arrived.notify_waiters();
    }

    /// The next `times` messages to `exchange` get this reply.
    pub(crate) fn reply(&self, exchange: &str, reply: Reply, times: usize) {
        self.state.lock().replies.insert(exchange.to_owned(), (reply, times));
    }

    /// Messages to `exchange` are taken from now on.
    pub(crate) fn heal(&self, exchange: &str) {
        self.state.lock().replies.remove(exchange);
    }

    /// After so many more messages publishing hangs for ever.
    pub(crate) fn stall_after(&self, messages: Option<usize>) {
        self.state.lock().until_stall = messages;
    }

    /// Only this node gets deliveries from now on; `None`: every node.
    pub(crate) fn serve_only(&self, node: Option<usize>) {
        self.state.lock().only = node;
        self.arrived.notify_waiters();
    }

    /// Messages that wait in `queue`, and those that nodes have in hand.
    pub(crate) fn depth(&self, queue: &str) -> (usize, usize) {
        let state = self.state.lock();
        let ready = state.queues.get(queue).map_or(0, VecDeque::len);
        let of_queue = |consuming: &&Consuming| &*consuming.queue == queue;
        let held = state.consumers.values().filter(of_queue).map(|c| c.unacked.len()).sum();
        (ready, held)
    }

    /// How many consume from `queue`.
    pub(crate) fn consumers(&self, queue: &str) -> usize {
        self.state.lock().consumers.values().filter(|c| &*c.queue == queue).count()
    }

    /// Everything taken so far, in order; a message taken twice is there twice.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.state.lock().sent.clone()
    }

    /// How often messages to `exchange` were published, whatever became of it.
    pub(crate) fn tried(&self, exchange: &str) -> usize {
        self.state.lock().tried.get(exchange).copied().unwrap_or(0)
    }

    /// How deliveries of `id` were settled so far.
    pub(crate) fn settled(&self, id: MessageId) -> Vec<Settlement> {
        let state = self.state.lock();
        state.settled.iter().filter(|(of, _)| *of == id).map(|(_, how)| *how).collect()
    }

    fn connect(&self, node: usize, queue: &Name) -> u64 {
        let mut state = self.state.lock();
        state.numbers += 1;
        let id = state.numbers;
        let unacked = BTreeMap::new();
        state.consumers.insert(id, Consuming { node, queue: queue.clone(), unacked });
        id
    }

    /// The consumer is gone: what it held goes back to where it was.
    fn disconnect(&self, consumer: u64) {
        let mut state = self.state.lock();
        if let Some(gone) = state.consumers.remove(&consumer) {
            for letter in gone.unacked.into_values() {
                put_back(&mut state, &gone.queue, letter);
            }
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    fn take(&self, consumer: u64, max: usize, now: DateTime<Utc>) -> Vec<Delivery> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(consuming) = state.consumers.get_mut(&consumer) else { return Vec::new() };
        if state.only.is_some_and(|only| only != consuming.node) {
            return Vec::new();
        }
        let Some(queue) = state.queues.get_mut(&consuming.queue) else { return Vec::new() };
        let taken = max.min(queue.len());
        let mut deliveries = Vec::with_capacity(taken);
        for letter in queue.drain(..taken) {
            let mut delivery = letter.delivery.clone();
            delivery.receipt = Receipt { generation: consumer, tag: letter.number };
            delivery.received_at = now;
            consuming.unacked.insert(letter.number, letter);
            deliveries.push(delivery);
        }
        deliveries
    }

    fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        let mut state = self.state.lock();
        let mut settled = 0;
        for (receipt, settlement) in receipts {
            let Some(consuming) = state.consumers.get_mut(&receipt.generation) else { continue };
            let Some(letter) = consuming.unacked.remove(&receipt.tag) else { continue };
            let queue = consuming.queue.clone();
            settled += 1;
            state.settled.push((letter.delivery.message_id, *settlement));
            if *settlement == Settlement::Return {
                put_back(&mut state, &queue, letter);
            }
        }
        drop(state);
        self.arrived.notify_waiters();
        settled
    }

    /// The broker's answer; `None` when it gives none at all.
    fn offer(&self, message: &Outgoing, at: DateTime<Utc>) -> Option<Published> {
        let mut state = self.state.lock();
        match &mut state.until_stall {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        *state.tried.entry(message.exchange.clone()).or_default() += 1;
        let reply = match state.replies.get_mut(&message.exchange) {
            Some((reply, left)) if *left > 0 => {
                *left -= 1;
                Some(*reply)
            }
            _ => None,
        };
        if matches!(reply, None | Some(Reply::ConfirmLost)) {
            state.sent.push(Sent { outgoing: message.clone(), at });
        }
        Some(match reply {
            None => Published::Confirmed,
            Some(Reply::NotTaken | Reply::ConfirmLost) => {
                Published::Unknown("the test says so".to_owned())
            }
            Some(Reply::Returned) => Published::Returned("312 NO_ROUTE".to_owned()),
            Some(Reply::Impossible) => Published::Impossible("larger than a frame".to_owned()),
        })
    }
}

fn put_back(state: &mut State, queue: &Name, mut letter: Letter) {
    letter.delivery.delivery_count += 1;
    let queue = state.queues.entry(queue.clone()).or_default();
    let place = queue.partition_point(|other| other.number < letter.number);
    queue.insert(place, letter);
}

/// One node's way to the broker.
pub(crate) struct Wire {
    broker: Arc<Broker>,
    clock: Arc<dyn Clock>,
    node: usize,
    consumers: Mutex<Vec<u64>>,
}

impl Wire {
    pub(crate) fn new(broker: Arc<Broker>, clock: Arc<dyn Clock>, node: usize) -> Self {
        Wire { broker, clock, node, consumers: Mutex::default() }
    }

    /// The process has died: its connections break.
    pub(crate) fn cut(&self) {
        for consumer in self.consumers.lock().drain(..) {
            self.broker.disconnect(consumer);
        }
    }
}

#[async_trait]
impl Publisher for Wire {
    async fn publish(&self, messages: &[Outgoing]) -> Vec<Published> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            match self.broker.offer(message, self.clock.now()) {
                Some(answer) => answers.push(answer),
                None => std::future::pending().await,
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        answers
    }
}

#[async_trait]
impl Transport for Wire {
    async fn consume(
        &self,
        endpoint: &ReceiveEndpoint,
    ) -> Result<Box<dyn Consumer>, TransportError> {
        let consumer = self.broker.connect(self.node, &endpoint.name);
        self.consumers.lock().push(consumer);
        let link = Link { broker: self.broker.clone(), consumer };
        Ok(Box::new(Listener { link: Arc::new(link), clock: self.clock.clone() }))
    }

    async fn declare(&self, _endpoint: &ReceiveEndpoint) -> Result<(), TransportError> {
        Ok(())
    }

    async fn depth(&self, queue: &str) -> Result<Depth, TransportError> {
        Ok(Depth { ready: self.broker.depth(queue).0 as u64, consumers: 1 })
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn address(&self, endpoint: &str) -> String {
        format!("rabbitmq://here/{endpoint}")
    }

    async fn close(&self) {
        self.cut();
    }
}

struct Link {
    broker: Arc<Broker>,
    consumer: u64,
}

struct Listener {
    link: Arc<Link>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Consumer for Listener {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        loop {
            let broker = self.link.broker.clone();
            let arrival = broker.arrived.notified();
            tokio::pin!(arrival);
            arrival.as_mut().enable();
            let taken = broker.take(self.link.consumer, max, self.clock.now());
            if !taken.is_empty() {
                return Ok(taken);
            }
            arrival.await;
        }
    }

    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        self.link.broker.settle(receipts)
    }

    fn settler(&self) -> Arc<dyn Settler> {
        self.link.clone()
    }

    async fn stop(self: Box<Self>) {
        self.link.broker.disconnect(self.link.consumer);
    }
}

#[async_trait]
impl Settler for Link {
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        self.broker.settle(receipts)
    }
}
