//! Which deliveries are in hand, and how each goes back to the broker: once, on its own channel.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{self, BoxFuture};
use knarr_model::ports::transport::{Receipt, Settlement, Settler};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::debug;

/// The channels of one consumer by generation, each with what was delivered on it.
pub(crate) struct InHand {
    limit: Duration,
    inner: Mutex<Inner>,
    settled: Notify,
}

#[derive(Default)]
struct Inner {
    last: u64,
    channels: BTreeMap<u64, Open>,
    bytes: usize,
}

struct Open {
    channel: Arc<Channel>,
    /// Sizes of bodies by delivery tag.
    deliveries: BTreeMap<u64, usize>,
}

impl InHand {
    /// Nothing in hand; `limit` is how long the client may take to write a settlement.
    pub(crate) fn new(limit: Duration) -> Self {
        InHand { limit, inner: Mutex::default(), settled: Notify::new() }
    }

    /// Notes a new channel and numbers it.
    pub(crate) fn open(&self, channel: Channel) -> u64 {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let generation = inner.last;
        inner
            .channels
            .insert(generation, Open { channel: Arc::new(channel), deliveries: BTreeMap::new() });
        generation
    }

    /// Notes a delivery before anybody sees it.
    pub(crate) fn arrived(&self, receipt: Receipt, size: usize) {
        let mut inner = self.inner.lock();
        if let Some(open) = inner.channels.get_mut(&receipt.generation) {
            open.deliveries.insert(receipt.tag, size);
            inner.bytes += size;
        }
    }

    /// A channel is gone: what came over it is the broker's again.
    pub(crate) fn forget(&self, generation: u64) {
        let mut inner = self.inner.lock();
        if let Some(open) = inner.channels.remove(&generation) {
            inner.bytes -= open.deliveries.values().sum::<usize>();
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
        let deliveries = inner.channels.get(&generation).map(|open| open.deliveries.keys());
        let tags = deliveries.into_iter().flatten();
        tags.map(|tag| Receipt { generation, tag: *tag }).collect()
    }

    /// How many are in hand on a channel.
    pub(crate) fn count(&self, generation: u64) -> usize {
        self.inner.lock().channels.get(&generation).map_or(0, |open| open.deliveries.len())
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

    fn take(&self, receipt: Receipt) -> Option<Arc<Channel>> {
        let mut inner = self.inner.lock();
        let open = inner.channels.get_mut(&receipt.generation)?;
        // A tag that is settled twice closes the channel, so each is taken out once.
        let size = open.deliveries.remove(&receipt.tag)?;
        let channel = open.channel.clone();
        inner.bytes -= size;
        Some(channel)
    }
}

#[async_trait]
impl Settler for InHand {
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        let mut writes: Vec<BoxFuture<'static, lapin::Result<()>>> = receipts
            .iter()
            .filter_map(|(receipt, how)| Some(write(self.take(*receipt)?, receipt.tag, *how)))
            .collect();
        if writes.is_empty() {
            return 0;
        }
        // The first look at each puts its frame in the client's queue, in this order, so that
        // nothing is lost when the caller does not wait for the rest.
        future::poll_fn(|context| {
            for write in &mut writes {
                if let Poll::Ready(result) = Pin::new(&mut *write).poll(context) {
                    *write = future::ready(result).boxed();
                }
            }
            Poll::Ready(())
        })
        .await;
        self.settled.notify_waiters();
        match tokio::time::timeout(self.limit, future::join_all(writes)).await {
            Ok(results) => {
                if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
                    debug!(%error, "a settlement was not written; the broker delivers again");
                }
                results.iter().filter(|result| result.is_ok()).count()
            }
            Err(_) => 0,
        }
    }
}

fn write(
    channel: Arc<Channel>,
    tag: u64,
    how: Settlement,
) -> BoxFuture<'static, lapin::Result<()>> {
    async move {
        match how {
            // Never `multiple`, which would ack what other lanes have not committed.
            Settlement::Ack => channel.basic_ack(tag, BasicAckOptions::default()).await,
            // Not `reject`, by which from RabbitMQ 4.3 a failure is meant.
            Settlement::Return => {
                let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
                channel.basic_nack(tag, options).await
            }
        }
    }
    .boxed()
}
