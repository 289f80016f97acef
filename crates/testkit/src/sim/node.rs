//! One simulated process: the real engine, which can be killed between any two awaits.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_engine::{Engine, Ports, Running, Settings};
use knarr_model::CancellationToken;
use knarr_model::format::masstransit::Host;
use knarr_model::ports::spawn::{LaneThread, Spawn};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, WithoutId};
use knarr_saga::definition::Definition;
use knarr_saga::erase;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::activities::{Fetcher, Looker, Mortal, Outside};
use super::store::SimStore;
use super::toy::ENDPOINT;
use super::transport::SimTransport;
use super::world::World;
use crate::clock::TokioClock;

/// A process that runs.
pub(super) struct SimNode {
    running: Option<Running>,
    transport: Arc<SimTransport>,
    spawn: Arc<SimSpawn>,
}

impl SimNode {
    pub(super) fn start(
        store: &SimStore,
        saga: &Arc<dyn Definition>,
        outside: &Arc<Outside>,
        settings: Settings,
        seed: u64,
    ) -> SimNode {
        // No two clocks agree: a node's is up to two milliseconds ahead of the store's.
        let ahead = chrono::TimeDelta::microseconds((seed.wrapping_mul(7_919) % 2_000) as i64);
        let clock = Arc::new(TokioClock::starting_at(store.now() + ahead, seed));
        let transport = Arc::new(SimTransport::new(store.world.clone(), clock.clone()));
        let spawn = Arc::new(SimSpawn {
            tasks: Arc::default(),
            transport: transport.clone(),
            world: store.world.clone(),
        });
        let ports = Ports {
            transport: transport.clone(),
            store: Arc::new(store.clone()),
            clock,
            spawn: spawn.clone(),
        };
        let endpoint = ReceiveEndpoint {
            name: ENDPOINT.into(),
            subscriptions: saga.subscriptions(),
            queue: QueueKind::Quorum,
            declare: Declare::Create,
            prefetch: 64,
            max_body: 1 << 20,
            without_id: WithoutId::Digest,
            ordered: saga.is_ordered(),
        };
        let running = Engine::new(ports, settings, Host::default(), CancellationToken::new())
            .saga(saga.clone(), endpoint)
            .activity(erase(Fetcher(outside.clone())))
            .activity(erase(Looker(outside.clone(), spawn.clone())))
            .start()
            .expect("the toy has no findings");
        SimNode { running: Some(running), transport, spawn }
    }

    /// Whether it has died of what it decided.
    pub(super) fn is_dead(&self) -> bool {
        self.spawn.tasks.lock().dead
    }

    /// The process dies here and now.
    pub(super) fn crash(mut self) {
        self.spawn.kill();
        self.transport.crash();
        drop(self.running.take());
    }

    /// The process is asked to stop.
    pub(super) async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.crash();
    }

    /// What it has counted.
    pub(super) fn counters(&self) -> Vec<(&'static str, u64)> {
        self.running.as_ref().map(|running| running.counters().all()).unwrap_or_default()
    }
}

/// Tasks of one process, so that they can all be killed.
struct SimSpawn {
    tasks: Arc<Mutex<Tasks>>,
    transport: Arc<SimTransport>,
    world: Arc<World>,
}

#[derive(Default)]
struct Tasks {
    running: Vec<AbortHandle>,
    dead: bool,
}

impl Tasks {
    fn kill(&mut self) {
        self.dead = true;
        self.running.drain(..).for_each(|task| task.abort());
    }
}

impl SimSpawn {
    fn kill(&self) {
        self.tasks.lock().kill();
    }
}

impl Mortal for SimSpawn {
    fn die_of_a_call(&self) {
        self.world.log(|| "a process dies of a call".to_owned());
        self.world.ledger(|ledger| ledger.did("died of a call"));
        self.transport.crash();
        self.kill();
    }
}

impl Spawn for SimSpawn {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) {
        let mut tasks = self.tasks.lock();
        tasks.running.retain(|task| !task.is_finished());
        if !tasks.dead {
            tasks.running.push(tokio::spawn(future).abort_handle());
        }
    }

    fn lane_thread(&self, _name: &str) -> Box<dyn LaneThread> {
        let (tasks, transport) = (self.tasks.clone(), self.transport.clone());
        Box::new(Inline { tasks, transport, world: self.world.clone() })
    }
}

/// Decides at once, on the simulation's only thread. Some messages kill the process.
struct Inline {
    tasks: Arc<Mutex<Tasks>>,
    transport: Arc<SimTransport>,
    world: Arc<World>,
}

impl LaneThread for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        if !self.world.take_doom() {
            return async {}.boxed();
        }
        self.world.log(|| "a process dies of what it decides".to_owned());
        self.world.ledger(|ledger| ledger.did("died of a message"));
        self.transport.crash();
        self.tasks.lock().kill();
        std::future::pending().boxed()
    }
}
