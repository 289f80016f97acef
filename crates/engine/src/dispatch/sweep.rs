//! Forgets what retention allows: finished instances, then journal rows, in bounded chunks.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::ports::StoreError;

use crate::shared::Shared;

const EVERY: Duration = Duration::from_secs(600);
const ROWS: usize = 5_000;
/// An instance goes with its keys, so fewer at once.
const INSTANCES: usize = 1_000;
/// So many failures in a row are no hiccup.
const TOO_MANY: u32 = 3;

/// Sweeps now and then until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut failures = 0;
    while !shared.is_stopping() {
        shared.pause(EVERY).await;
        match sweep(&shared).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                shared.counters.failed_sweeps.add(1);
                if failures >= TOO_MANY {
                    tracing::error!(failures, "what is over is not swept and piles up: {error}");
                } else {
                    tracing::warn!(failures, "cannot sweep what is over: {error}");
                }
            }
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), StoreError> {
    let (store, kept) = (&shared.ports.store, shared.settings.retention);
    let now = shared.ports.clock.now();
    while !shared.is_stopping() {
        let swept = store.sweep_finished(now - kept.finished, INSTANCES).await?;
        if !rest(shared, swept, INSTANCES).await {
            break;
        }
    }
    while !shared.is_stopping() {
        let swept = store.sweep(now - kept.journal, ROWS).await?;
        if !rest(shared, swept, ROWS).await {
            break;
        }
    }
    Ok(())
}

/// Lets others at the store between two chunks. `false` when nothing is left.
async fn rest(shared: &Shared, swept: u64, most: usize) -> bool {
    let more = swept >= most as u64;
    if more {
        shared.pause(Duration::from_secs(1)).await;
    }
    more
}
