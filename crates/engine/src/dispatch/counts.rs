//! Tells the store what was counted, and lifts blocks that have outlived their run.

use std::sync::Arc;
use std::time::Duration;

use knarr_guard::{GUARD, Order, release};
use knarr_model::Class;
use knarr_model::incident::{Incident, IncidentStatus, Removed, Scope};
use knarr_model::ports::guard::{Counts, Decide, Run};

use crate::shared::{Serving, Shared};

/// How often counts are written.
const EVERY: Duration = Duration::from_secs(1);
/// How often blocks are looked over, in rounds.
const LOOK_OVER: u32 = 10;

/// Writes counts until the engine stops, and once more then.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut round = 0;
    loop {
        shared.pause(EVERY).await;
        let stopping = shared.is_stopping();
        for serving in shared.endpoints.values() {
            tell(&shared, serving).await;
            if !stopping && round % LOOK_OVER == 0 && !serving.blocks.lock().is_empty() {
                lift(&shared, serving).await;
            }
        }
        if stopping {
            return;
        }
        round += 1;
    }
}

async fn tell(shared: &Shared, serving: &Serving) {
    let tally = std::mem::take(&mut *serving.counts.lock());
    if tally.copies.is_empty() && tally.classes.is_empty() {
        return;
    }
    let draft = |(class, count)| draft(shared, serving, class, count);
    let counts = Counts {
        copies: tally.copies.into_iter().collect(),
        classes: tally.classes.into_iter().map(draft).collect(),
    };
    if let Err(error) = shared.ports.store.add_counts(&counts).await {
        // They inform, and nothing depends on them.
        tracing::debug!(endpoint = %serving.endpoint.name, "counts were lost: {error}");
    }
}

/// The incident that gathers messages of one class.
fn draft(shared: &Shared, serving: &Serving, class: Class, count: u64) -> Incident {
    Incident {
        id: shared.ports.clock.new_id(),
        endpoint: serving.endpoint.name.clone(),
        saga: serving.saga.name().clone(),
        class,
        status: IncidentStatus::Open,
        scope: Scope::Nothing,
        reason: format!("messages were set aside as {class}"),
        errors: Vec::new(),
        instance: None,
        run: None,
        state: None,
        definition_version: serving.saga.version(),
        quarantined: None,
        failed_at: None,
        removed: Removed::default(),
        may_have_left: Vec::new(),
        joined: Vec::new(),
        count,
        opened_at: shared.ports.clock.now(),
        closed_at: None,
        closed_by: None,
    }
}

/// A released run that has finished needs no block any more.
async fn lift(shared: &Shared, serving: &Serving) {
    let endpoint = &serving.endpoint.name;
    let outlived = match shared.ports.store.outlived_blocks(endpoint).await {
        Ok(outlived) if outlived.is_empty() => return,
        Ok(outlived) => outlived,
        Err(error) => {
            tracing::debug!(%endpoint, "blocks are not looked over: {error}");
            return;
        }
    };
    let mut at = shared.moment();
    at.order = Order::by(GUARD).because("the released run has finished");
    let mut ask = at.ask(endpoint);
    ask.quarantined = outlived;
    let decide: Decide = Arc::new(move |scene| release::unblock(scene, &at));
    if let Err(error) = shared.ports.store.under_fence(ask, decide, Run::ForReal).await {
        tracing::warn!(%endpoint, "blocks stay for now: {error}");
    }
}
