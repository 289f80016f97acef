//! Which deliveries are in hand, and how each goes back to the broker: once, on its own channel.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use knarr_model::ports::Clock;
use knarr_model::ports::transport::{Receipt, Settlement, Settler};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::debug;

use crate::tags::{Ack, Tags};

/// So long an ack may wait for older deliveries.
const LATE: Duration = Duration::from_millis(50);

/// A frame on its way into the client.
type Write = BoxFuture<'static, lapin::Result<()>>;

/// The channels of one consumer by generation, each with what was delivered on it.
pub(crate) struct InHand {
    limit: Duration,
    inner: Mutex<Inner>,
    settled: Notify,
    /// Acks wait for older deliveries.
    late: Notify,
}

#[derive(Default)]
struct Inner {
    last: u64,
    channels: BTreeMap<u64, Open>,
    bytes: usize,
    /// Rises with everything that comes or is settled.
    moved: u64,
}

struct Open {
    channel: Arc<Channel>,
    tags: Tags,
}

impl InHand {
    /// Nothing in hand; `limit` is how long the client may take to write a settlement.
    pub(crate) fn new(limit: Duration) -> Self {
        InHand { limit, inner: Mutex::default(), settled: Notify::new(), late: Notify::new() }
    }

    /// Notes a new channel and numbers it.
    pub(crate) fn open(&self, channel: Channel) -> u64 {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let generation = inner.last;
        let open = Open { channel: Arc::new(channel), tags: Tags::default() };
        inner.channels.insert(generation, open);
        generation
    }

    /// Notes a delivery before anybody sees it.
    pub(crate) fn arrived(&self, receipt: Receipt, size: usize) {
        let mut inner = self.inner.lock();
        if let Some(open) = inner.channels.get_mut(&receipt.generation) {
            open.tags.arrived(receipt.tag, size);
            inner.bytes += size;
            inner.moved += 1;
        }
    }

    /// A channel is gone: what came over it is the broker's again.
    pub(crate) fn forget(&self, generation: u64) {
        let mut inner = self.inner.lock();
        if let Some(open) = inner.channels.remove(&generation) {
            inner.bytes -= open.tags.bytes();
        }
        drop(inner);
        self.settled.notify_waiters();
    }

    /// Whether deliveries of this generation can still be settled.
    pub(crate) fn is_open(&self, generation: u64) -> bool {
        self.inner.lock().channels.contains_key(&generation)
    }

    /// Everything in hand on a channel, oldest first.
    pub(crate) fn on(&self, generation: u64) -> Vec<Receipt> {
        let inner = self.inner.lock();
        let open = inner.channels.get(&generation);
        let tags = open.into_iter().flat_map(|open| open.tags.in_hand());
        tags.map(|tag| Receipt { generation, tag }).collect()
    }

    /// How many deliveries of a channel the broker has not seen settled.
    pub(crate) fn count(&self, generation: u64) -> usize {
        self.inner.lock().channels.get(&generation).map_or(0, |open| open.tags.unsettled())
    }

    /// Differs from what it was when something has come or been settled since.
    pub(crate) fn moved(&self) -> u64 {
        self.inner.lock().moved
    }

    /// Body bytes in hand.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Waits until at most `most` body bytes are in hand. Cancel-safe.
    pub(crate) async fn at_most(&self, most: usize) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.bytes() <= most {
                return;
            }
            settled.await;
        }
    }

    /// Sees to it that no ack waits for long. Runs until it is dropped.
    pub(crate) async fn ack_what_is_late(&self, clock: &dyn Clock) {
        loop {
            self.late.notified().await;
            clock.sleep(LATE).await;
            self.ack_all().await;
        }
    }

    /// Acks what waits for older deliveries too.
    pub(crate) async fn ack_all(&self) {
        self.write(|inner| {
            let mut writes = Vec::new();
            for open in inner.channels.values_mut() {
                let acks = open.tags.late_acks();
                writes.extend(acks.into_iter().map(|it| ack(open.channel.clone(), it)));
            }
            writes
        })
        .await;
    }

    /// Lets `plan` say which frames leave, and writes them. Their order is that of the plans, since
    /// the first look at each frame, which puts it in the client's queue, is under the same lock:
    /// an ack of everything up to a tag must not overtake the return of an older one. So nothing
    /// is lost either when the caller does not wait for the rest.
    async fn write(&self, plan: impl FnOnce(&mut Inner) -> Vec<Write>) {
        let mut plan = Some(plan);
        let mut writes = future::poll_fn(|context| {
            let mut inner = self.inner.lock();
            let mut writes = plan.take().map(|plan| plan(&mut inner)).unwrap_or_default();
            writes.iter_mut().for_each(|write| begin(write, context));
            Poll::Ready(writes)
        })
        .await;
        self.settled.notify_waiters();
        let all = future::join_all(writes.drain(..));
        if let Ok(results) = tokio::time::timeout(self.limit, all).await
            && let Some(error) = results.iter().find_map(|result| result.as_ref().err())
        {
            debug!(%error, "a settlement was not written; the broker delivers again");
        }
    }
}

impl Inner {
    /// Notes what is settled. Returns how many were in hand, and the frames that leave.
    fn settle(&mut self, receipts: &[(Receipt, Settlement)]) -> (usize, Vec<Write>) {
        let (mut settled, mut writes) = (0, Vec::new());
        for (receipt, how) in receipts {
            let Some(open) = self.channels.get_mut(&receipt.generation) else { continue };
            let size = match how {
                Settlement::Ack => open.tags.done(receipt.tag),
                Settlement::Return => open.tags.take(receipt.tag),
            };
            let Some(size) = size else { continue };
            self.bytes -= size;
            self.moved += 1;
            settled += 1;
            if *how == Settlement::Return {
                writes.push(give_back(open.channel.clone(), receipt.tag));
            }
        }
        for open in self.channels.values_mut() {
            writes.extend(open.tags.acks().map(|it| ack(open.channel.clone(), it)));
        }
        (settled, writes)
    }

    fn waiting(&self) -> usize {
        self.channels.values().map(|open| open.tags.waiting()).sum()
    }
}

#[async_trait]
impl Settler for InHand {
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        let (mut settled, mut waiting) = (0, 0);
        self.write(|inner| {
            let (count, writes) = inner.settle(receipts);
            (settled, waiting) = (count, inner.waiting());
            writes
        })
        .await;
        if waiting > 0 {
            self.late.notify_one();
        }
        settled
    }
}

fn begin(write: &mut Write, context: &mut Context<'_>) {
    if let Poll::Ready(result) = Pin::new(&mut *write).poll(context) {
        *write = future::ready(result).boxed();
    }
}

fn ack(channel: Arc<Channel>, Ack { tag, multiple }: Ack) -> Write {
    async move { channel.basic_ack(tag, BasicAckOptions { multiple }).await }.boxed()
}

/// Not `reject`, by which from RabbitMQ 4.3 a failure is meant.
fn give_back(channel: Arc<Channel>, tag: u64) -> Write {
    let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    async move { channel.basic_nack(tag, options).await }.boxed()
}
