//! What a halt did on each node: gathered for a short while, with those named that have not told yet.

use std::time::Duration;

use knarr_model::ports::store::{EndpointRow, EndpointState, HaltReport};
use knarr_model::ports::{Clock, Guarded, StoreError};
use knarr_model::{Name, NodeId};
use serde::Serialize;

/// How long an answer waits for the nodes: a behaviour or a commit under way may take longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(20);

/// What one live node that serves the endpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHalt {
    /// The node.
    pub node: NodeId,
    /// What it did; none while it has not told.
    pub report: Option<HaltReport>,
}

/// What the live nodes that serve `row`'s endpoint did at its halt. Waits until all have told, for
/// two seconds at most.
pub(crate) async fn nodes(
    store: &dyn Guarded,
    clock: &dyn Clock,
    row: &EndpointRow,
) -> Result<Vec<NodeHalt>, StoreError> {
    let until = clock.monotonic() + PATIENCE;
    loop {
        let nodes = look(store, &row.name, row.epoch).await?;
        let told = nodes.iter().all(|node| node.report.is_some());
        if told || row.state != EndpointState::Halted || clock.monotonic() >= until {
            return Ok(nodes);
        }
        clock.sleep(LOOK).await;
    }
}

async fn look(store: &dyn Guarded, name: &Name, epoch: i64) -> Result<Vec<NodeHalt>, StoreError> {
    let served = store.served_by(name).await?;
    let of = |report: &HaltReport| report.epoch == epoch;
    Ok(served
        .iter()
        .map(|one| NodeHalt { node: one.node, report: one.report.filter(of) })
        .collect())
}
