//! Measures in rounds, so that a machine whose speed drifts drifts for all alike.

use std::sync::Arc;
use std::time::Duration;

use knarr_engine::{Engine, Ports, Settings as EngineSettings};
use knarr_model::CancellationToken;
use knarr_model::Message;
use knarr_model::format::masstransit::Host;
use knarr_model::message::TypeName;
use knarr_model::ports::{Clock, Spawn, Store, Transport};
use knarr_model::topology::{QueueKind, Subscription};

use super::error::Error;
use super::machine::{self, Ticked};
use super::queues::{endpoint, fill};
use super::report::{Report, Variant};

/// A bench to be run.
pub(crate) struct Bench {
    /// The broker.
    pub(crate) transport: Arc<dyn Transport>,
    /// Its URL, for the forwarder's own connections.
    pub(crate) broker_url: String,
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// Time and ids.
    pub(crate) clock: Arc<dyn Clock>,
    /// Tasks and threads.
    pub(crate) spawn: Arc<dyn Spawn>,
    /// Messages to one measurement.
    pub(crate) count: usize,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Kinds of queue.
    pub(crate) queues: Vec<QueueKind>,
}

/// Without progress for so long a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bench {
    /// Runs every round, and leaves no queue behind. `say` hears what is going on.
    ///
    /// # Errors
    /// Whatever keeps it from measuring.
    pub(crate) async fn run(&self, say: impl FnMut(String)) -> Result<Report, Error> {
        self.remove_queues(&[QueueKind::Quorum, QueueKind::Classic]).await?;
        let report = self.measure(say).await;
        self.remove_queues(&self.queues).await?;
        report
    }

    async fn remove_queues(&self, kinds: &[QueueKind]) -> Result<(), Error> {
        let queues: Vec<_> = kinds
            .iter()
            .flat_map(|kind| {
                let ((forward, out), (engine, _)) =
                    (names(*kind, "forward"), names(*kind, "engine"));
                [forward, engine, out]
            })
            .collect();
        Ok(knarr_rabbitmq::forwarder::remove(&self.broker_url, &queues).await?)
    }

    async fn measure(&self, mut say: impl FnMut(String)) -> Result<Report, Error> {
        let settings = EngineSettings::default();
        let prefetch = prefetch(&settings);
        let mut variants = Vec::new();
        let mut body = 0;
        for kind in &self.queues {
            let queue = word(*kind);
            let (mut forwarder, mut engine, mut single) = (Vec::new(), Vec::new(), Vec::new());
            for round in 1..=self.rounds {
                let (rate, bytes) = self.forward(*kind, prefetch).await?;
                body = bytes;
                forwarder.push(rate);
                engine.push(self.travel(*kind, settings.clone(), self.count).await?);
                let one = EngineSettings { max_batch: 1, ..settings.clone() };
                // It is slower by far: fewer messages take as long.
                single.push(self.travel(*kind, one, (self.count / 8).max(4)).await?);
                say(format!(
                    "{queue} round {round}: forwarder {:.0}/s, engine {:.0}/s, one a transaction \
                     {:.0}/s",
                    forwarder[round - 1],
                    engine[round - 1],
                    single[round - 1]
                ));
            }
            variants.push(Variant::new(queue, forwarder, engine, single));
            // What the next kind publishes is not for these.
            self.remove_queues(&[*kind]).await?;
        }
        let conditions = format!(
            "{} messages of {body} B a measurement, {} lanes x {}, prefetch {prefetch}, \
             persistent, confirmed; every event one transition that publishes one message into a \
             bound queue",
            self.count, settings.lanes, settings.max_batch
        );
        Ok(Report { conditions, variants })
    }

    /// Messages a second that one process can take, measured once.
    ///
    /// # Errors
    /// Whatever keeps it from measuring.
    pub(crate) async fn capacity(&self) -> Result<f64, Error> {
        self.travel(QueueKind::Quorum, EngineSettings::default(), self.count).await
    }

    /// The bare forwarder.
    async fn forward(&self, kind: QueueKind, prefetch: u16) -> Result<(f64, usize), Error> {
        let salt = self.clock.new_id().to_string();
        let (from, to) = self.declare(kind, "forward", prefetch).await?;
        let bytes = fill(&*self.transport, &from, self.count, &salt).await?;
        let took = knarr_rabbitmq::forwarder::forward(
            &self.broker_url,
            &from,
            &to,
            self.count,
            prefetch,
            &self.clock,
        )
        .await?;
        self.drain(kind, &to).await?;
        Ok((rate(self.count, took), bytes))
    }

    /// The engine.
    async fn travel(
        &self,
        kind: QueueKind,
        settings: EngineSettings,
        count: usize,
    ) -> Result<f64, Error> {
        let salt = self.clock.new_id().to_string();
        let prefetch = prefetch(&settings);
        let (from, to) = self.declare(kind, "engine", prefetch).await?;
        fill(&*self.transport, &from, count, &salt).await?;
        let saga = knarr_saga::definition::<machine::Bench>();
        let receiving = endpoint(&from, kind, Vec::new(), prefetch);
        let ports = Ports {
            transport: self.transport.clone(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            spawn: self.spawn.clone(),
        };
        let began = self.clock.monotonic();
        let running = Engine::new(ports, settings, Host::default(), CancellationToken::new())
            .saga(saga, receiving)
            .start()?;
        let counters = running.counters();
        let (mut seen, mut since) = (0, began);
        loop {
            let (applied, now) = (counters.applied.get(), self.clock.monotonic());
            if applied >= count as u64 && running.unpublished() == 0 {
                break;
            }
            if applied > seen {
                (seen, since) = (applied, now);
            } else if now - since > PATIENCE {
                running.stop().await;
                return Err(Error::Stuck(PATIENCE, applied, count));
            }
            self.clock.sleep(Duration::from_millis(5)).await;
        }
        let took = self.clock.monotonic() - began;
        let batches = counters.batches.get().max(1);
        tracing::info!(count, ?took, batches, "a batch held {} messages", count as u64 / batches);
        running.stop().await;
        self.drain(kind, &to).await?;
        Ok(rate(count, took))
    }

    /// Declares the queue to read from and the queue that takes what comes out.
    async fn declare(
        &self,
        kind: QueueKind,
        what: &str,
        prefetch: u16,
    ) -> Result<(String, String), Error> {
        let (from, to) = names(kind, what);
        self.transport.declare(&endpoint(&from, kind, Vec::new(), prefetch)).await?;
        self.transport.declare(&sink(kind, &to)).await?;
        Ok((from, to))
    }

    /// Empties the queue that took what came out.
    async fn drain(&self, kind: QueueKind, to: &str) -> Result<(), Error> {
        use knarr_model::ports::transport::Settlement;
        let mut consumer = self.transport.consume(&sink(kind, to)).await?;
        loop {
            let clock = self.clock.clone();
            let came = tokio::select! {
                biased;
                came = consumer.next(1_000) => came?,
                () = clock.sleep(Duration::from_millis(300)) => break,
            };
            let done: Vec<_> = came.iter().map(|d| (d.receipt, Settlement::Ack)).collect();
            consumer.settle(&done).await;
        }
        consumer.stop().await;
        Ok(())
    }
}

/// The queue that takes what comes out: bound to what the engine publishes.
fn sink(kind: QueueKind, name: &str) -> knarr_model::topology::ReceiveEndpoint {
    let published: TypeName = Ticked::type_name();
    endpoint(name, kind, vec![Subscription::to(&published)], 2_000)
}

fn names(kind: QueueKind, what: &str) -> (String, String) {
    let kind = word(kind);
    (format!("knarr-bench-{what}-{kind}"), format!("knarr-bench-out-{kind}"))
}

fn word(kind: QueueKind) -> &'static str {
    match kind {
        QueueKind::Quorum => "quorum",
        QueueKind::Classic => "classic",
    }
}

fn prefetch(settings: &EngineSettings) -> u16 {
    u16::try_from(settings.lanes * settings.max_batch).unwrap_or(u16::MAX)
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
