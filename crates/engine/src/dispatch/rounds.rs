//! Looks round among the nodes: who died without leaving, and whether this one fails far more than
//! the others.

use std::sync::Arc;

use knarr_guard::stands_out;
use knarr_model::ports::StoreError;
use knarr_model::ports::crash::Record;

use super::lease;
use crate::shared::Shared;

/// Looks round until the engine stops, as often as the lease is renewed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    while !shared.is_stopping() {
        if !shared.standing.is_back() && !lease::valid(&shared).await {
            return;
        }
        match look(&shared).await {
            Ok(peers) => {
                failures = 0;
                shared.looked.send_replace(true);
                compare(&shared, &peers).await;
                shared.pause(shared.settings.renew_every).await;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!("cannot look round: {error}");
                shared.back_off(failures).await;
            }
        }
    }
}

async fn look(shared: &Shared) -> Result<Vec<Record>, StoreError> {
    let (node, settings) = (shared.node.id(), &shared.settings);
    let record = shared.standing.record(shared.ports.clock.monotonic(), settings.peers.window);
    shared.ports.store.look_round(node, record, settings.crash.watch).await
}

/// Steps back when this node fails far more than its peers, and comes back after a rest, or when
/// nobody else is left: one that is broken is better than none.
async fn compare(shared: &Shared, peers: &[Record]) {
    let (now, settings) = (shared.ports.clock.monotonic(), &shared.settings.peers);
    if shared.standing.is_back() {
        if peers.is_empty() || shared.standing.has_rested(now) {
            tracing::warn!("this process takes part again");
            shared.standing.come_back();
            read_again(shared);
        }
        return;
    }
    let own = shared.standing.record(now, settings.window);
    let Some(why) = stands_out(settings, own, peers) else { return };
    tracing::error!("this process stands back and takes in nothing: {why}");
    let used = shared.standing.step_back(why, (now, settings.window, settings.rest));
    read_again(shared);
    if let Err(error) = shared.ports.store.give_back_attempts(&used).await {
        tracing::warn!("attempts that failed here are not given back: {error}");
    }
}

fn read_again(shared: &Shared) {
    shared.endpoints.values().for_each(|serving| serving.changed.notify_one());
}
