//! Measures halts: from when one is in force to when the last consumer of the fleet is cancelled.

use std::sync::Arc;
use std::time::Duration;

use knarr_engine::{Engine, Ports, Running, Settings as EngineSettings};
use knarr_guard::{Moment, Order, halt};
use knarr_model::format::masstransit::Host;
use knarr_model::ports::guard::{Decide, Plan, Refusal, Run, Scene};
use knarr_model::ports::{Clock, Spawn, Store, Transport};
use knarr_model::topology::QueueKind;
use knarr_model::{CancellationToken, Name, NodeId, RowId};
use uuid::Uuid;

use super::error::Error;
use super::halt_report::HaltVariant;
use super::machine;
use super::queues::{endpoint, fill};

const ENDPOINT: &str = "knarr-bench-halts";
/// How many processes share the queue.
const FLEETS: [usize; 2] = [1, 3];
/// What cannot be seen in this time never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether a consumer is left.
const LOOK: Duration = Duration::from_millis(1);
/// The publisher of the load sends so often.
const BEAT: Duration = Duration::from_millis(20);

/// A process of the fleet: connections of its own, as if it ran elsewhere.
pub(crate) struct Replica {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) store: Arc<dyn Store>,
}

/// Halts of fleets that are told of verbs, or are not.
pub(crate) struct Halts<'a> {
    /// At least as many as the largest fleet.
    pub(crate) replicas: &'a [Replica],
    /// Whether they hear NOTIFY.
    pub(crate) notify: bool,
    /// Where halts are asked for: the process of the API, which serves nothing itself.
    pub(crate) desk: &'a Replica,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawn: Arc<dyn Spawn>,
    /// Messages a second at half load.
    pub(crate) half_load: f64,
    pub(crate) rounds: usize,
}

/// One halt, in milliseconds.
struct Took {
    in_force: f64,
    cancelled: f64,
    told: f64,
}

impl Halts<'_> {
    /// Every fleet, idle and under load.
    ///
    /// # Errors
    /// Whatever keeps it from measuring.
    pub(crate) async fn run(
        &self,
        say: &mut impl FnMut(String),
    ) -> Result<Vec<HaltVariant>, Error> {
        let mut variants = Vec::new();
        for replicas in FLEETS {
            for load in [false, true] {
                let mut variant = HaltVariant::new(replicas, load, self.notify);
                self.fleet(&mut variant).await?;
                say(variant.told());
                variants.push(variant);
            }
        }
        Ok(variants)
    }

    async fn fleet(&self, variant: &mut HaltVariant) -> Result<(), Error> {
        let receiving = endpoint(ENDPOINT, QueueKind::Quorum, Vec::new(), 500);
        self.desk.transport.declare(&receiving).await?;
        let mut engines = Vec::new();
        for replica in &self.replicas[..variant.replicas] {
            engines.push(self.start(replica)?);
        }
        let load = CancellationToken::new();
        if variant.loaded {
            self.load(load.clone());
        }
        let measured = self.rounds(variant).await;
        load.cancel();
        for engine in engines {
            engine.stop().await;
        }
        measured
    }

    async fn rounds(&self, variant: &mut HaltVariant) -> Result<(), Error> {
        let wanted = u32::try_from(variant.replicas).unwrap_or(u32::MAX);
        self.until_consumers(wanted).await?;
        for _ in 0..self.rounds {
            // Somewhere between two looks of a node at its endpoint's row.
            let phase = Duration::from_millis(1_000 + u64::from(self.clock.random(1_000)));
            self.clock.sleep(phase).await;
            let took = self.halt(variant.replicas).await?;
            variant.in_force_ms.push(took.in_force);
            variant.to_last_consumer_cancelled_ms.push(took.cancelled);
            variant.answered_ms.push(took.told);
            self.verb(|scene, at| halt::resume(scene, at, false)).await?;
            self.until_consumers(wanted).await?;
        }
        Ok(())
    }

    async fn halt(&self, replicas: usize) -> Result<Took, Error> {
        let began = self.clock.monotonic();
        let plan = self.verb(halt::halt).await?;
        let in_force = self.clock.monotonic();
        self.until_consumers(0).await?;
        let cancelled = self.clock.monotonic();
        let epoch = plan.endpoint.map_or(0, |row| row.epoch);
        self.until_told(replicas, epoch).await?;
        let told = self.clock.monotonic();
        let millis = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1e3;
        Ok(Took {
            in_force: millis(began, in_force),
            cancelled: millis(in_force, cancelled),
            told: millis(began, told),
        })
    }

    async fn verb(
        &self,
        verb: impl Fn(&Scene, &Moment) -> Result<Plan, Refusal> + Send + Sync + 'static,
    ) -> Result<Plan, Error> {
        let at = Moment {
            order: Order::by("bench"),
            now: self.clock.now(),
            audit: self.clock.new_id(),
            incident: self.clock.new_id(),
            chunk: RowId(self.clock.new_id()),
            node: NodeId(Uuid::nil()),
            place: None,
        };
        let ask = at.ask(&ENDPOINT.into());
        let decide: Decide = Arc::new(move |scene| verb(scene, &at));
        let done = self.desk.store.under_fence(ask, decide, Run::ForReal).await?;
        Ok(done?.plan)
    }

    /// Waits until the queue has so many consumers.
    async fn until_consumers(&self, wanted: u32) -> Result<(), Error> {
        let until = self.clock.monotonic() + PATIENCE;
        while self.desk.transport.depth(ENDPOINT).await?.consumers != wanted {
            if self.clock.monotonic() > until {
                return Err(Error::Consumers(PATIENCE, wanted));
            }
            self.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until every node has told what it had in hand: that is when the API answers.
    async fn until_told(&self, replicas: usize, epoch: i64) -> Result<(), Error> {
        let until = self.clock.monotonic() + PATIENCE;
        let name: Name = ENDPOINT.into();
        loop {
            let served = self.desk.store.served_by(&name).await?;
            let told = served.iter().filter_map(|one| one.report);
            if told.filter(|report| report.epoch == epoch).count() >= replicas {
                return Ok(());
            }
            if self.clock.monotonic() > until {
                return Err(Error::Consumers(PATIENCE, 0));
            }
            self.clock.sleep(LOOK).await;
        }
    }

    fn start(&self, replica: &Replica) -> Result<Running, Error> {
        let ports = Ports {
            transport: replica.transport.clone(),
            store: replica.store.clone(),
            clock: self.clock.clone(),
            spawn: self.spawn.clone(),
        };
        let settings = EngineSettings::default();
        let receiving = endpoint(ENDPOINT, QueueKind::Quorum, Vec::new(), 500);
        let engine = Engine::new(ports, settings, Host::default(), CancellationToken::new());
        Ok(engine.saga(knarr_saga::definition::<machine::Bench>(), receiving).start()?)
    }

    /// Publishes at half load until it is cancelled.
    fn load(&self, stop: CancellationToken) {
        let (transport, clock) = (self.desk.transport.clone(), self.clock.clone());
        let count = (self.half_load * BEAT.as_secs_f64()).max(1.0) as usize;
        let publishing = async move {
            while !stop.is_cancelled() {
                let beat = clock.sleep(BEAT);
                let salt = clock.new_id().to_string();
                if let Err(error) = fill(&*transport, ENDPOINT, count, &salt).await {
                    tracing::warn!("the load falters: {error}");
                }
                beat.await;
            }
        };
        self.spawn.spawn("load", Box::pin(publishing));
    }
}
