//! A stopped endpoint: once this node holds nothing more of it, it tells what it did with what it had.

use chrono::{DateTime, Utc};
use knarr_model::NodeId;
use knarr_model::ports::store::{EndpointRow, HaltReport};

use crate::shared::{Serving, Shared};

/// What the other nodes and the operators hear from this one about one endpoint.
#[derive(Default)]
pub(super) struct Telling {
    /// Under which id it is known that this node serves the endpoint.
    known_as: Option<NodeId>,
    /// The stop that is being dealt with.
    halt: Option<Halt>,
}

struct Halt {
    epoch: i64,
    since: DateTime<Utc>,
    abandoned: u64,
    told: bool,
}

impl Telling {
    /// The row says that the endpoint is stopped: a stop that is new here is dealt with. `cancel`
    /// cancels the calls in flight and says how many they were.
    pub(super) fn stopped(
        &mut self,
        row: &EndpointRow,
        now: DateTime<Utc>,
        cancel: impl FnOnce() -> usize,
    ) {
        if self.halt.as_ref().is_some_and(|halt| halt.epoch == row.epoch) {
            return;
        }
        let since = row.stop.as_ref().and_then(|stop| stop.since).unwrap_or(now).min(now);
        let abandoned = cancel() as u64;
        self.halt = Some(Halt { epoch: row.epoch, since, abandoned, told: false });
    }

    /// It flows again.
    pub(super) fn flows(&mut self) {
        self.halt = None;
    }

    /// Whether it is still to be told what became of what was in hand.
    pub(super) fn is_due(&self) -> bool {
        self.halt.as_ref().is_some_and(|halt| !halt.told)
    }

    /// Tells what is not yet known elsewhere; what cannot be told now is told at the next look.
    pub(super) async fn tell(&mut self, shared: &Shared, serving: &Serving) {
        let node = shared.node.id();
        if !shared.node.is_valid(shared.ports.clock.monotonic()) {
            return;
        }
        if self.known_as != Some(node) && note(shared, serving, node, None).await {
            self.known_as = Some(node);
        }
        let Some(halt) = self.halt.as_mut().filter(|halt| !halt.told) else { return };
        if !serving.hand.is_empty() || serving.is_attached() {
            return;
        }
        let (drained, returned) = serving.hand.since(halt.since);
        let report = HaltReport {
            epoch: halt.epoch,
            drained,
            returned,
            abandoned: halt.abandoned,
            at: shared.ports.clock.now(),
        };
        halt.told = note(shared, serving, node, Some(report)).await;
        if halt.told {
            let endpoint = &serving.endpoint.name;
            let HaltReport { epoch, drained, returned, abandoned, .. } = report;
            tracing::info!(%endpoint, epoch, drained, returned, abandoned, "stopped");
        }
    }
}

async fn note(
    shared: &Shared,
    serving: &Serving,
    node: NodeId,
    report: Option<HaltReport>,
) -> bool {
    let endpoint = &serving.endpoint.name;
    let noted = shared.ports.store.note_served(endpoint, node, report).await;
    if let Err(error) = &noted {
        tracing::debug!(%endpoint, "cannot tell what this process does: {error}");
    }
    noted.is_ok()
}
