//! Claims due timers, ended calls and parked messages, and hands them to their lanes.

use std::sync::Arc;

use knarr_model::failpoint::{self, Step};
use knarr_model::ports::store::StoreError;
use knarr_model::work::Claim;
use knarr_model::{Name, NodeId, RowId};

use super::lease;
use crate::delivery::{Incoming, lane_of};
use crate::route;
use crate::shared::{Serving, Shared};

/// Looks for due rows until the engine stops: when told to, when the next is due, and at least
/// once a poll interval.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    while lease::valid(&shared).await && !shared.is_stopping() {
        give_way(&shared).await;
        let claim = claim(&shared);
        let full = match round(&shared, &claim).await {
            Ok(full) => {
                failures = 0;
                full
            }
            Err(error) => {
                failures += 1;
                // Its answer may be lost, and the rows claimed all the same.
                shared.reclaim();
                tracing::warn!("cannot claim due rows: {error}");
                shared.back_off(failures).await;
                continue;
            }
        };
        if !full {
            rest(&shared, &claim.endpoints).await;
        }
    }
}

/// A node that meets what only a newer definition can read lets those that have it claim first.
async fn give_way(shared: &Shared) {
    let now = shared.ports.clock.now();
    if shared.endpoints.values().any(|serving| serving.waits.meets_newer(now)) {
        shared.pause(shared.settings.poll / 2).await;
    }
}

fn claim(shared: &Shared) -> Claim {
    Claim {
        node: shared.node.id(),
        endpoints: open_endpoints(shared),
        limit: shared.settings.claim_limit,
        reclaim_except: shared.reclaim_except(),
    }
}

/// Endpoints whose internal deliveries may be decided.
pub(super) fn open_endpoints(shared: &Shared) -> Vec<Name> {
    shared
        .endpoints
        .values()
        .filter(|serving| !serving.is_closed())
        .map(|serving| serving.endpoint.name.clone())
        .collect()
}

/// One look. `true` when there may be more at once.
async fn round(shared: &Shared, claim: &Claim) -> Result<bool, StoreError> {
    if claim.endpoints.is_empty() || shared.is_full() {
        return Ok(false);
    }
    let store = &shared.ports.store;
    let now = shared.ports.clock.now();
    let mut full = false;
    let timers = store.claim_timers(claim).await?;
    full |= timers.len() >= claim.limit;
    for timer in timers {
        if let Some(serving) = shared.endpoints.get(&timer.endpoint) {
            let incoming = route::of_timer(timer, claim.node, now);
            hand(shared, serving, claim.node, incoming).await;
        }
    }
    let ended = store.claim_ended(claim).await?;
    full |= ended.len() >= claim.limit;
    for call in ended {
        if let Some(serving) = shared.endpoints.get(&call.task.endpoint) {
            let incoming = route::of_ended(call, claim.node, now);
            hand(shared, serving, claim.node, incoming).await;
        }
    }
    let parked = store.claim_parked(claim).await?;
    full |= parked.len() >= claim.limit;
    for row in parked {
        if let Some(serving) = shared.endpoints.get(&row.endpoint) {
            let incoming = route::of_parked(&*serving.saga, row, claim.node, now);
            hand(shared, serving, claim.node, incoming).await;
        }
    }
    Ok(full)
}

/// Puts a claimed row on its lane, once.
pub(super) async fn hand(shared: &Shared, serving: &Serving, node: NodeId, mut incoming: Incoming) {
    let Some(row) = incoming.row() else { return };
    failpoint::pass(Step::RowClaimed);
    if node != shared.node.id() {
        return;
    }
    if !shared.node.hold(row) {
        // An older delivery of it is on its way here, perhaps to learn that its row was gone: a
        // purged run that is back has the same rows. It comes again once that one is done with.
        shared.reclaim();
        return;
    }
    incoming.held = Some(serving.hand.take(incoming.received_at));
    let instance = route::lane_instance(&*serving.saga, &incoming, |_| None);
    let door = &serving.lanes[lane_of(instance, serving.lanes.len())];
    let sent = tokio::select! {
        biased;
        () = shared.tokens.process().cancelled() => false,
        sent = door.internal.send(incoming) => sent.is_ok(),
    };
    if !sent {
        shared.node.let_go([row] as [RowId; 1]);
    }
}

/// Waits for a hint, the next due time, or the poll interval.
async fn rest(shared: &Shared, endpoints: &[Name]) {
    let clock = &shared.ports.clock;
    let poll = shared.settings.poll;
    let wait = match shared.ports.store.next_due(endpoints).await {
        Ok(Some(due)) => (due - clock.now()).to_std().unwrap_or_default().min(poll),
        Ok(None) | Err(_) => poll,
    };
    let least = std::time::Duration::from_millis(5);
    tokio::select! {
        biased;
        () = shared.tokens.process().cancelled() => {}
        () = shared.due.notified() => {}
        () = shared.ports.store.wait_for_work(wait.max(least)) => {}
    }
}
