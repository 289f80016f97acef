//! Keeps this node's lease, until calls have ended at a stop; a node that lost it drops everything
//! and comes back under a new id.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::NodeId;

use crate::shared::Shared;

/// How often it is looked, at a stop, whether all calls have ended.
const LOOK: Duration = Duration::from_millis(20);

/// Renews the lease until the engine stops and its calls have ended.
pub(crate) async fn keep(shared: Arc<Shared>) {
    let settings = &shared.settings;
    let clock = &shared.ports.clock;
    let mut joined = false;
    let mut failures = 0;
    while !shared.is_stopping() {
        let node = shared.node.id();
        if shared.standing.is_back() {
            if joined {
                leave(&shared, node).await;
            }
            joined = false;
            shared.pause(settings.poll).await;
            continue;
        }
        let asked_at = clock.monotonic();
        let answer = if joined {
            shared.ports.store.renew(node, settings.lease).await
        } else {
            shared.ports.store.join(node, settings.lease).await.map(|()| true)
        };
        match answer {
            Ok(true) => {
                failures = 0;
                // Counted from before the question, so that it ends before the store's own.
                shared.node.renewed(asked_at + settings.lease_margin);
                if !joined {
                    // What only one node may serve can be asked for now.
                    shared.endpoints.values().for_each(|serving| serving.changed.notify_one());
                }
                joined = true;
                shared.pause(settings.renew_every).await;
            }
            Ok(false) => {
                // Others may have taken over what was claimed and what was to be published.
                shared.counters.lost_leases.add(1);
                tracing::warn!(%node, "the lease was lost; going on under a new id");
                shared.node.replace(NodeId(clock.new_id()));
                joined = false;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%node, "cannot renew the lease: {error}");
                shared.back_off(failures).await;
            }
        }
    }
    let all_ended = calls_end(&shared);
    tokio::select! {
        biased;
        () = all_ended => {}
        () = clock.sleep(settings.drain * 3 / 4) => {}
    }
    // What they have done elsewhere is not known, and was no attempt.
    shared.tokens.give_up_calls();
}

/// Calls in flight end by themselves, under a lease that goes on: whoever cancels them when a process
/// is only replaced has their services asked twice.
async fn calls_end(shared: &Shared) {
    let (clock, settings) = (&shared.ports.clock, &shared.settings);
    let node = shared.node.id();
    let mut renew_at = clock.monotonic();
    while shared.tokens.calls_in_flight() > 0 {
        let now = clock.monotonic();
        if now >= renew_at {
            renew_at = now + settings.renew_every;
            match shared.ports.store.renew(node, settings.lease).await {
                Ok(true) => shared.node.renewed(now + settings.lease_margin),
                // Others may have them already.
                Ok(false) => return,
                Err(error) => tracing::debug!(%node, "cannot renew the lease at a stop: {error}"),
            }
        }
        clock.sleep(LOOK).await;
    }
}

/// Leaves everything to the others: what this node claimed, holds and was to publish.
async fn leave(shared: &Shared, node: NodeId) {
    if let Err(error) = shared.ports.store.leave(node).await {
        tracing::warn!(%node, "the lease runs out by itself: {error}");
    }
    shared.node.replace(NodeId(shared.ports.clock.new_id()));
}

/// Waits until the lease is known to run. `false` at a stop.
pub(super) async fn valid(shared: &Shared) -> bool {
    while !shared.node.is_valid(shared.ports.clock.monotonic()) {
        if shared.is_stopping() {
            return false;
        }
        shared.pause(std::time::Duration::from_millis(50)).await;
    }
    true
}
