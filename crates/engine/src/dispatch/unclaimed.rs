//! Rows that are due and that nobody claims: counted, and what is missing is named.

use std::collections::BTreeSet;
use std::sync::Arc;

use knarr_model::ports::store::Unclaimed;

use crate::shared::Shared;

/// Looks now and then until the engine stops. `calls` are those that this node answers.
pub(crate) async fn run(shared: Arc<Shared>, calls: BTreeSet<String>) {
    let after = shared.settings.unclaimed_after;
    while !shared.is_stopping() {
        shared.pause(after).await;
        if shared.is_stopping() {
            break;
        }
        let before = shared.ports.clock.now() - after;
        match shared.ports.store.unclaimed(before).await {
            Ok(found) => {
                let missing: Vec<_> =
                    found.into_iter().filter(|rows| !serves(&shared, &calls, rows)).collect();
                shared.counters.unclaimed.set(missing.iter().map(|row| row.rows as usize).sum());
                missing.iter().for_each(|rows| tell(&shared, rows));
            }
            Err(error) => tracing::warn!("cannot look for rows that nobody claims: {error}"),
        }
        look_for_newer(&shared);
    }
}

/// Whether this node claims such rows itself: then nothing is missing but time.
fn serves(shared: &Shared, calls: &BTreeSet<String>, rows: &Unclaimed) -> bool {
    let open = shared.endpoints.get(&rows.endpoint).is_some_and(|serving| !serving.is_closed());
    open && rows.call.as_ref().is_none_or(|call| calls.contains(call))
}

fn tell(shared: &Shared, rows: &Unclaimed) {
    let Unclaimed { endpoint, call, rows: count } = rows;
    let after = shared.settings.unclaimed_after;
    match call {
        Some(call) => tracing::warn!(
            %endpoint, %call, count,
            "calls have waited {after:?} for a process that has an activity for {call}"
        ),
        None => tracing::warn!(
            %endpoint, count,
            "rows have waited {after:?} for a process that serves endpoint {endpoint}"
        ),
    }
}

/// Instances that this node meets again and again and cannot read.
fn look_for_newer(shared: &Shared) {
    let now = shared.ports.clock.now();
    let before = now - shared.settings.unclaimed_after;
    let mut all = 0;
    for (endpoint, serving) in &shared.endpoints {
        let Some((count, needed)) = serving.waits.newer(before, now) else { continue };
        all += count;
        let ours = serving.saga.version();
        if needed > ours {
            tracing::warn!(
                %endpoint, count,
                "messages wait for a process with definition version {needed}; this one has {ours}"
            );
        } else {
            tracing::warn!(
                %endpoint, count,
                "messages wait for a process that knows the states of their instances: \
                 definition version {ours} here does not"
            );
        }
    }
    shared.counters.newer_definition.set(all);
}
