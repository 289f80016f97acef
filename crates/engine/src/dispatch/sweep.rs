//! Forgets what retention allows: journal rows of ended instances, in bounded chunks.

use std::sync::Arc;
use std::time::Duration;

use crate::shared::Shared;

const EVERY: Duration = Duration::from_secs(600);
const ROWS: usize = 5_000;

/// Sweeps now and then until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    while !shared.is_stopping() {
        shared.pause(EVERY).await;
        let before = shared.ports.clock.now() - shared.settings.journal_retention;
        while !shared.is_stopping() {
            match shared.ports.store.sweep(before, ROWS).await {
                Ok(swept) if swept >= ROWS as u64 => shared.pause(Duration::from_secs(1)).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!("cannot sweep the journal: {error}");
                    break;
                }
            }
        }
    }
}
