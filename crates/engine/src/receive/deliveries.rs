//! How deliveries leave the road: acked once durable, or given back undecided.

use std::sync::Arc;

use knarr_model::failpoint::{self, Step};
use knarr_model::ports::transport::{Receipt, Settlement, Settler};

use crate::delivery::{Incoming, Source};
use crate::shared::Shared;

/// Gives deliveries back: the broker's to their queue, rows to whoever claims them next.
pub(super) async fn return_all(shared: &Shared, held: Vec<Incoming>) {
    let rows: Vec<_> = held.iter().filter_map(Incoming::row).collect();
    if !rows.is_empty() {
        shared.node.let_go(rows);
        shared.reclaim();
    }
    held.iter().for_each(Incoming::returned);
    for incoming in held {
        if let Source::Broker { receipt, settler, .. } = &incoming.source {
            settler.settle(&[(*receipt, Settlement::Return)]).await;
        }
    }
}

/// Acks the kept ones of a batch, grouped by the consumer they came from.
pub(super) async fn settle_done(batch: &[Incoming], kept: &[bool]) {
    let mut done = Vec::with_capacity(batch.len());
    let mut by = None;
    for (incoming, kept) in batch.iter().zip(kept) {
        let (true, Source::Broker { receipt, settler, .. }) = (*kept, &incoming.source) else {
            continue;
        };
        let other = by.as_ref().is_some_and(|by| !Arc::ptr_eq(by, settler));
        if other && let Some(by) = by.take() {
            ack(&*by, &std::mem::take(&mut done)).await;
        }
        by = Some(settler.clone());
        done.push((*receipt, Settlement::Ack));
    }
    if let Some(by) = by {
        ack(&*by, &done).await;
    }
}

async fn ack(by: &dyn Settler, done: &[(Receipt, Settlement)]) {
    failpoint::pass(Step::BeforeAck);
    by.settle(done).await;
    failpoint::pass(Step::AckWritten);
}
