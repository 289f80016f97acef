//! The first start after a restore: every endpoint goes on at numbers that nobody has had.

use std::sync::Arc;
use std::time::Duration;

use knarr_guard::desk::Error as DeskError;
use knarr_guard::{Desk, GUARD, Order};
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::ports::{Clock, Records, StoreError};
use knarr_model::{CancellationToken, Name};
use knarr_saga::Definition;

use crate::error::Error;

/// How long a store that has just gone away is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Gives the order for all endpoints, before anything is served; tells what is taken up again.
pub(crate) async fn go_on(
    desk: &Desk,
    sagas: &[Arc<dyn Definition>],
    records: &dyn Records,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let served: Vec<Name> = sagas.iter().map(|saga| saga.name().clone()).collect();
    let order = Order::by(GUARD).because("serve --after-restore");
    loop {
        let asked = async {
            let live = live(records).await?;
            let done = desk.after_restore(&order, &served).await?;
            Ok::<_, DeskError>((live, done))
        };
        match asked.await {
            Ok((live, done)) => {
                for answer in done {
                    let endpoint = &answer.audit.endpoint;
                    tracing::warn!(%endpoint, "after a restore: {}", answer.audit.done.join("; "));
                }
                tracing::warn!("after a restore: {live} runs are taken up as the backup has them");
                return Ok(());
            }
            Err(DeskError::Store(StoreError::Transient(why))) => {
                tracing::warn!("waiting for the store: {why} (KNARR_STORE), after a restore");
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Err(Error::Closed),
                    () = clock.sleep(PAUSE) => {}
                }
            }
            Err(error) => return Err(Error::Store(error.to_string())),
        }
    }
}

/// Runs that have not ended.
async fn live(records: &dyn Records) -> Result<u64, StoreError> {
    let counts = records.counts().await?;
    let over = |state: &str| matches!(state, FINAL | PURGED);
    Ok(counts.iter().filter(|row| !over(&row.state)).map(|row| row.count).sum())
}
