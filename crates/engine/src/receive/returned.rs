//! Deliveries given back undecided: at a fence, at a halt, at a stop.

use knarr_model::ports::transport::Settlement;

use crate::delivery::{Incoming, Source};
use crate::shared::Shared;

/// Gives deliveries back: the broker's to their queue, rows to whoever claims them next.
pub(super) async fn return_all(shared: &Shared, held: Vec<Incoming>) {
    let rows: Vec<_> =
        held.iter().filter_map(|incoming| incoming.row().map(|(_, row)| row)).collect();
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
