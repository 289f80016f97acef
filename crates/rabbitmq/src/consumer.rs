//! A stream of deliveries from one endpoint that outlives connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_model::CancellationToken;
use knarr_model::ports::TransportError;
use knarr_model::ports::transport::{
    Consumer as ConsumerPort, Delivery, Receipt, Settlement, Settler,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use crate::pump::Item;
use crate::settle::InHand;

/// The engine's end of a subscription.
pub(crate) struct Consumer {
    pub(crate) in_hand: Arc<InHand>,
    pub(crate) incoming: mpsc::Receiver<Item>,
    /// Taken from the channel and not handed out yet.
    pub(crate) left: VecDeque<Item>,
    pub(crate) pump: JoinHandle<()>,
    pub(crate) stop: CancellationToken,
    /// A consumer that is dropped without a stop gives everything back too, unwatched.
    pub(crate) on_drop: DropGuard,
    /// How long a stop may take.
    pub(crate) patience: Duration,
}

#[async_trait]
impl ConsumerPort for Consumer {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        let max = max.max(1);
        loop {
            if self.left.is_empty() {
                let mut taken = Vec::with_capacity(max.min(256));
                if self.incoming.recv_many(&mut taken, max).await == 0 {
                    return Err(TransportError::Refused("the transport is closed".to_owned()));
                }
                self.left.extend(taken);
            }
            let mut deliveries = Vec::with_capacity(self.left.len().min(max));
            while deliveries.len() < max {
                match self.left.pop_front() {
                    Some(Ok(delivery)) => {
                        // What a lost channel delivered comes again over the next one.
                        if self.in_hand.is_open(delivery.receipt.generation) {
                            deliveries.push(delivery);
                        }
                    }
                    Some(Err(error)) if deliveries.is_empty() => return Err(error),
                    Some(error) => {
                        self.left.push_front(error);
                        break;
                    }
                    None => break,
                }
            }
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
    }

    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        self.in_hand.settle(receipts).await
    }

    fn settler(&self) -> Arc<dyn Settler> {
        self.in_hand.clone()
    }

    async fn stop(self: Box<Self>) {
        let Consumer { incoming, pump, stop, on_drop, patience, .. } = *self;
        stop.cancel();
        // The pump may wait for room.
        drop(incoming);
        let _best_effort = tokio::time::timeout(patience, pump).await;
        drop(on_drop);
    }
}
