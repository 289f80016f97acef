//! What is sent while a process serves: begun with it, and flushed at its end.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::CancellationToken;
use knarr_model::format::masstransit::Host;
use knarr_model::ports::{Clock, Spans};
use tokio::task::JoinHandle;

use super::exported::Exported;
use super::metrics::{Metrics, Read};
use super::queue::Queue;
use super::sampler::Sampler;
use super::target::Target;
use super::teller::Teller;
use super::traces::Traces;
use super::wire::Origin;

/// Where traces and metrics go, and how: the settings `OTEL_…`.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) traces: Option<Target>,
    pub(crate) metrics: Option<Target>,
    pub(crate) sampler: Sampler,
    /// Spans that may wait.
    pub(crate) queue: usize,
    /// Spans in one request.
    pub(crate) batch: usize,
    /// How long spans are gathered.
    pub(crate) delay: Duration,
    /// How often metrics are sent.
    pub(crate) interval: Duration,
    /// What describes this process besides what it knows itself.
    pub(crate) attributes: Vec<(String, String)>,
}

/// Who is seen at the collector.
pub(crate) struct Who<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) host: &'a Host,
}

/// Sending, while it goes on; nothing at all when there is no plan.
#[derive(Default)]
pub(crate) struct Telemetry {
    spans: Option<Arc<Queue>>,
    stop: CancellationToken,
    under_way: Vec<JoinHandle<()>>,
}

impl Telemetry {
    /// Begins to send.
    pub(crate) fn start(
        plan: Option<&Plan>,
        who: &Who<'_>,
        clock: &Arc<dyn Clock>,
        read: Read,
        exported: Arc<Exported>,
    ) -> Telemetry {
        let Some(plan) = plan.cloned() else { return Telemetry::default() };
        let mut telemetry = Telemetry::default();
        let attributes = described(plan.attributes, who, &**clock);
        let origin = Arc::new(Origin::new(attributes, env!("CARGO_PKG_VERSION")));
        let (clock, stop) = (clock.clone(), telemetry.stop.clone());
        if let Some(target) = plan.traces {
            tracing::info!("traces go to {}", target.told());
            let (queue, from) =
                Queue::new(clock.clone(), plan.sampler, plan.queue, exported.clone());
            telemetry.spans = Some(Arc::new(queue));
            let traces = Traces {
                target,
                origin: origin.clone(),
                clock: clock.clone(),
                exported,
                batch: plan.batch,
                delay: plan.delay,
                stop: stop.clone(),
                teller: Teller::default(),
            };
            telemetry.under_way.push(tokio::spawn(traces.run(from)));
        }
        if let Some(target) = plan.metrics {
            tracing::info!("metrics go to {}", target.told());
            let (since, teller) = (clock.now(), Teller::default());
            let interval = plan.interval;
            let metrics = Metrics { target, origin, clock, read, interval, since, stop, teller };
            telemetry.under_way.push(tokio::spawn(metrics.run()));
        }
        telemetry
    }

    /// Where the engine tells its spans.
    pub(crate) fn spans(&self) -> Option<Arc<dyn Spans>> {
        let spans = self.spans.clone()?;
        Some(spans)
    }

    /// Sends what is left. Takes as long as the collector does: give up on it in time.
    pub(crate) async fn flush(&mut self) {
        self.stop.cancel();
        for part in self.under_way.drain(..) {
            // A part that panicked has nothing left to send.
            let _ended = part.await;
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.stop.cancel();
        self.under_way.iter().for_each(JoinHandle::abort);
    }
}

/// What the settings say describes the process, and what it knows itself where they say nothing.
fn described(
    mut attributes: Vec<(String, String)>,
    who: &Who<'_>,
    clock: &dyn Clock,
) -> Vec<(String, String)> {
    let own = [
        ("service.name", Some(who.name.to_owned())),
        ("service.version", Some(who.version.to_owned())),
        ("service.instance.id", Some(clock.new_id().to_string())),
        ("host.name", who.host.machine_name.clone()),
        ("process.pid", who.host.process_id.map(|id| id.to_string())),
    ];
    for (name, value) in own {
        let known = attributes.iter().any(|(given, _)| given == name);
        if let Some(value) = value.filter(|_| !known) {
            attributes.push((name.to_owned(), value));
        }
    }
    attributes
}
