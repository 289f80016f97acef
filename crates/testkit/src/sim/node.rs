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

use super::activities::{Fetcher, Looker, Outside};
use super::store::SimStore;
use super::toy::ENDPOINT;
use super::transport::SimTransport;
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
        let spawn = Arc::new(SimSpawn::default());
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
            .activity(erase(Looker(outside.clone())))
            .start()
            .expect("the toy has no findings");
        SimNode { running: Some(running), transport, spawn }
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
#[derive(Default)]
struct SimSpawn(Mutex<Vec<AbortHandle>>);

impl SimSpawn {
    fn kill(&self) {
        for task in self.0.lock().drain(..) {
            task.abort();
        }
    }
}

impl Spawn for SimSpawn {
    fn spawn(&self, _name: &str, future: BoxFuture<'static, ()>) {
        let mut tasks = self.0.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(future).abort_handle());
    }

    fn lane_thread(&self, _name: &str) -> Box<dyn LaneThread> {
        Box::new(Inline)
    }
}

/// Decides at once, on the simulation's only thread.
struct Inline;

impl LaneThread for Inline {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        async {}.boxed()
    }
}
