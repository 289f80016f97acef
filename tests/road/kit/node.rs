//! One process of the road's tests: the real engine on the test's own thread, which can be killed
//! between any two awaits.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_engine::{Engine, Ports, Running, Settings};
use knarr_model::ports::Clock;
use knarr_model::ports::spawn::{LaneThread, Spawn};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, WithoutId};
use knarr_model::{CancellationToken, format::masstransit::Host};
use knarr_saga::definition::Definition;
use knarr_saga::erase;
use knarr_testkit::clock::TokioClock;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::outside::{Asker, Darer, Outside};
use super::shelf::{Door, Reach, Shelf};
use super::tracer::Tracer;
use super::watch::Watch;
use super::wire::{Broker, Wire};

/// What all nodes share.
pub(super) struct World {
    pub(super) clock: Arc<TokioClock>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) broker: Arc<Broker>,
    pub(super) outside: Arc<Outside>,
    pub(super) watch: Arc<Watch>,
    /// Where spans go, if the test wants any.
    pub(super) tracer: Option<Arc<Tracer>>,
}

/// A process that runs.
pub(super) struct Node {
    pub(super) running: Running,
    pub(super) door: Arc<Door>,
    wire: Arc<Wire>,
    tasks: Arc<Tasks>,
}

impl Node {
    pub(super) fn start(
        world: &World,
        sagas: &[Arc<dyn Definition>],
        settings: Settings,
        pace: Duration,
        number: usize,
    ) -> Node {
        let seed = 1_000 + number as u64;
        let clock = Arc::new(TokioClock::starting_at(world.clock.now(), seed));
        let wire = Arc::new(Wire::new(world.broker.clone(), clock.clone(), number));
        let door = Arc::new(Door::default());
        let watch = world.watch.clone();
        let tasks = Arc::new(Tasks { alive: Mutex::default(), watch, pace, node: number });
        let ports = Ports {
            transport: wire.clone(),
            store: Arc::new(Reach { shelf: world.shelf.clone(), door: door.clone() }),
            clock,
            spawn: tasks.clone(),
        };
        let mut engine = Engine::new(ports, settings, host(), CancellationToken::new())
            .activity(erase(Asker(world.outside.clone(), number)))
            .activity(erase(Darer(world.outside.clone(), number)));
        if let Some(tracer) = &world.tracer {
            engine = engine.spans(tracer.clone());
        }
        for saga in sagas {
            engine = engine.saga(saga.clone(), endpoint(&**saga));
        }
        let running = engine.start().expect("the test's sagas have no findings");
        Node { running, door, wire, tasks }
    }

    /// The process dies here and now.
    pub(super) fn kill(self) {
        self.tasks.kill();
        self.wire.cut();
    }

    /// The process is asked to stop.
    pub(super) async fn stop(self) {
        self.running.stop().await;
        self.tasks.kill();
        self.wire.cut();
    }
}

/// Who we are, as envelopes tell it.
fn host() -> Host {
    let text = |text: &str| Some(text.to_owned());
    Host {
        machine_name: text("here"),
        process_name: text("road"),
        process_id: Some(1),
        assembly: text("road"),
        assembly_version: text("0.0.1"),
        framework_version: text("knarr 0.0.1"),
        mass_transit_version: None,
        operating_system_version: text("none"),
    }
}

/// The endpoint of a saga.
fn endpoint(saga: &dyn Definition) -> ReceiveEndpoint {
    ReceiveEndpoint {
        name: saga.name().clone(),
        subscriptions: saga.subscriptions(),
        queue: QueueKind::Quorum,
        declare: Declare::Create,
        prefetch: 64,
        max_body: 8 << 20,
        without_id: WithoutId::Digest,
        ordered: saga.is_ordered(),
    }
}

/// Everything that one process runs, so that it can all be killed.
struct Tasks {
    alive: Mutex<Vec<AbortHandle>>,
    watch: Arc<Watch>,
    pace: Duration,
    node: usize,
}

impl Tasks {
    fn kill(&self) {
        for task in self.alive.lock().drain(..) {
            task.abort();
        }
    }
}

impl Spawn for Tasks {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) {
        let mut alive = self.alive.lock();
        alive.retain(|task| !task.is_finished());
        alive.push(tokio::spawn(future).abort_handle());
    }

    fn lane_thread(&self, name: &str) -> Box<dyn LaneThread> {
        let lane = format!("{} of node {}", name, self.node);
        Box::new(Lane { lane, watch: self.watch.clone(), pace: self.pace, node: self.node })
    }
}

/// Decides on the test's only thread. Deciding takes the pace of the test, half of it before the
/// decision and half after; a message that sticks is never done with.
struct Lane {
    lane: String,
    watch: Arc<Watch>,
    pace: Duration,
    node: usize,
}

impl LaneThread for Lane {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let (lane, watch) = (self.lane.clone(), self.watch.clone());
        let (half, node) = (self.pace / 2, self.node);
        async move {
            watch.begin(&lane);
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
            let outcome = catch_unwind(AssertUnwindSafe(work));
            let stuck = watch.is_stuck();
            let held = watch.hold(node);
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
            watch.end(node, &held);
            match outcome {
                _ if stuck => std::future::pending().await,
                Ok(()) => {}
                Err(panic) => resume_unwind(panic),
            }
        }
        .boxed()
    }
}
