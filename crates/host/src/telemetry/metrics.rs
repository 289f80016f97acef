//! Sends the numbers of `/metrics` to the collector too, under the same names.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_admin::Metric;
use knarr_model::CancellationToken;
use knarr_model::ports::Clock;

use super::target::Target;
use super::teller::Teller;
use super::wire::{self, Origin};

/// Reads all metrics as they are now.
pub(crate) type Read = Arc<dyn Fn() -> Vec<Metric> + Send + Sync>;

/// Everything that sending metrics needs.
pub(super) struct Metrics {
    pub(super) target: Target,
    pub(super) origin: Arc<Origin>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) read: Read,
    pub(super) interval: Duration,
    /// Since when totals count.
    pub(super) since: DateTime<Utc>,
    pub(super) stop: CancellationToken,
    pub(super) teller: Teller,
}

impl Metrics {
    /// Sends until it is stopped, and then once more. What could not be sent is not repeated: totals
    /// say the same later.
    pub(super) async fn run(mut self) {
        loop {
            let stopped = tokio::select! {
                biased;
                () = self.stop.cancelled() => true,
                () = self.clock.sleep(self.interval) => false,
            };
            let body = wire::metrics(&self.origin, (self.read)(), self.since, self.clock.now());
            match self.target.send(body).await {
                Ok(_) => self.teller.worked("metrics", &self.target.told()),
                Err(trouble) => {
                    self.teller.failed("metrics", &self.target.told(), &trouble.why);
                }
            }
            if stopped {
                return;
            }
        }
    }
}
