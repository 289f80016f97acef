//! Puts the road together: lanes, relays, the scheduler, calls and the lease of one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_guard::{Admission, Breaker, Tokens};
use knarr_model::format::masstransit::Host;
use knarr_model::ports::store::Store;
use knarr_model::ports::{Activity, Clock, Permits, Spans};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::{CancellationToken, Name, NodeId};
use knarr_saga::check::Severity;
use knarr_saga::definition::Definition;
use tokio::sync::{Notify, mpsc, watch};

use crate::delivery::Incoming;
use crate::dispatch::{self, RelaySeat};
use crate::error::Error;
use crate::hand::Hand;
use crate::receive;
use crate::settings::Settings;
use crate::shared::{Finished, Handed, LaneDoor, LaneSeat, Ports, Serving, Shared};
use crate::spans::Traces;
use crate::telemetry::Counters;
use crate::waits::Waits;

/// An engine to be: its ports, and what it serves.
pub struct Engine {
    ports: Ports,
    settings: Settings,
    host: Host,
    token: CancellationToken,
    sagas: Vec<(Arc<dyn Definition>, ReceiveEndpoint)>,
    activities: BTreeMap<String, Arc<dyn Activity>>,
    findings: Vec<String>,
    spans: Option<Arc<dyn Spans>>,
}

/// How an engine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What keeps it from being ready, one sentence each; empty when it is.
    pub unready: Vec<String>,
    /// Whether the process should end with code 70 and be started again.
    pub restart: bool,
}

impl Engine {
    /// An engine that serves nothing yet. It stops when `token` is cancelled.
    pub fn new(ports: Ports, settings: Settings, host: Host, token: CancellationToken) -> Self {
        Engine {
            ports,
            settings,
            host,
            token,
            sagas: Vec::new(),
            activities: BTreeMap::new(),
            findings: Vec::new(),
            spans: None,
        }
    }

    /// Tells spans of what it does. Without this nothing is spent on them, and trace contexts are
    /// handed on as they came.
    #[must_use]
    pub fn spans(mut self, spans: Arc<dyn Spans>) -> Self {
        self.spans = Some(spans);
        self
    }

    /// Serves a saga from an endpoint.
    #[must_use]
    pub fn saga(mut self, saga: Arc<dyn Definition>, endpoint: ReceiveEndpoint) -> Self {
        self.sagas.push((saga, endpoint));
        self
    }

    /// Answers a call with an activity.
    #[must_use]
    pub fn activity(mut self, activity: Arc<dyn Activity>) -> Self {
        let call = activity.call().to_owned();
        if self.activities.insert(call.clone(), activity).is_some() {
            self.findings.push(format!("call {call} has two activities"));
        }
        self
    }

    /// Everything that is wrong, without starting.
    pub fn check(&self) -> Vec<String> {
        let mut findings = self.findings.clone();
        let mut names: Vec<&Name> = Vec::new();
        for (saga, endpoint) in &self.sagas {
            if names.contains(&&endpoint.name) {
                findings.push(format!("endpoint {} is served twice", endpoint.name));
            }
            names.push(&endpoint.name);
            for finding in saga.findings() {
                if finding.severity == Severity::Error {
                    findings.push(finding.text);
                }
            }
            for call in saga.calls() {
                if !self.activities.contains_key(&call) {
                    findings.push(format!(
                        "saga {} asks for {call}, which no activity answers: add \
                         .activity(..) for it",
                        saga.name()
                    ));
                }
            }
        }
        findings
    }

    /// Starts everything.
    ///
    /// # Errors
    /// All findings at once; nothing has been started then.
    pub fn start(self) -> Result<Running, Error> {
        let findings = self.check();
        if !findings.is_empty() {
            return Err(Error::Findings(findings));
        }
        let mut endpoints = BTreeMap::new();
        let mut seats = Vec::new();
        let mut relays = Vec::new();
        let mut outboxes = Vec::new();
        for (saga, endpoint) in self.sagas {
            let (serving, lane_seats, relay_seats) =
                lay_lanes(&self.settings, &self.ports.clock, saga, endpoint, &mut outboxes);
            relays.extend(relay_seats);
            seats.push((serving.clone(), lane_seats));
            endpoints.insert(serving.endpoint.name.clone(), serving);
        }
        let tokens = Tokens::new(self.token);
        let traces = Traces::new(self.spans, &self.ports.transport.address(""));
        let shared = Shared::new(self.ports, self.settings, tokens, self.host, endpoints, traces);
        let shared = Arc::new(shared);
        let (alive, ended) = mpsc::channel(1);
        let start = Starter { shared: shared.clone(), alive };
        start.spawn("lease", dispatch::keep_lease(shared.clone()).boxed());
        start.spawn("rounds", dispatch::look_round(shared.clone()).boxed());
        for (serving, lane_seats) in seats {
            start.endpoint(serving, lane_seats);
        }
        for seat in relays {
            start.spawn("relay", dispatch::run_relay(shared.clone(), seat).boxed());
        }
        start.spawn("take-over", dispatch::take_over(shared.clone(), outboxes).boxed());
        start.spawn("verbs", receive::hear_verbs(shared.clone()).boxed());
        start.spawn("scheduler", dispatch::run_scheduler(shared.clone()).boxed());
        start.spawn("sweep", dispatch::run_sweep(shared.clone()).boxed());
        start.spawn("counts", dispatch::run_counts(shared.clone()).boxed());
        let calls = self.activities.keys().cloned().collect();
        let looking = dispatch::look_for_unclaimed(shared.clone(), calls);
        start.spawn("unclaimed", looking.boxed());
        let permits: Arc<dyn Permits> = Arc::new(StorePermits(shared.ports.store.clone()));
        let calls = dispatch::run_calls(shared.clone(), Arc::new(self.activities), permits);
        start.spawn("calls", calls.boxed());
        drop(start);
        Ok(Running { shared, ended })
    }
}

type Laid = (Arc<Serving>, Vec<LaneSeat>, Vec<RelaySeat>);

fn lay_lanes(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    saga: Arc<dyn Definition>,
    endpoint: ReceiveEndpoint,
    outboxes: &mut Vec<mpsc::WeakSender<Handed>>,
) -> Laid {
    /// Chunks that a lane may be ahead of its relay.
    const AHEAD: usize = 16;
    let mut doors = Vec::new();
    let mut lane_seats = Vec::new();
    let mut relay_seats = Vec::new();
    for _ in 0..settings.lanes.max(1) {
        let (broker, from_broker) = mpsc::channel::<Incoming>(settings.max_batch.max(1));
        let (internal, from_store) = mpsc::channel::<Incoming>(settings.max_batch.max(1));
        let (outbox, chunks) = mpsc::channel(AHEAD);
        let finished = Arc::new(Finished::default());
        outboxes.push(outbox.downgrade());
        doors.push(LaneDoor { broker, internal });
        relay_seats.push(RelaySeat { chunks, finished: finished.clone() });
        lane_seats.push(LaneSeat { broker: from_broker, internal: from_store, outbox, finished });
    }
    let serving = Serving {
        blocks: parking_lot::Mutex::default(),
        breaker: parking_lot::Mutex::new(Breaker::new(settings.breaker)),
        counts: parking_lot::Mutex::default(),
        endpoint,
        saga,
        lanes: doors,
        // Nothing is taken before the endpoint's row has been read.
        admission: watch::Sender::new(Admission::Return),
        changed: Notify::new(),
        known_keys: parking_lot::Mutex::default(),
        waits: Waits::default(),
        consuming: AtomicBool::new(false),
        attached: AtomicBool::new(false),
        hand: Hand::new(clock.clone()),
        read: AtomicBool::new(false),
        committed: parking_lot::Mutex::default(),
    };
    (Arc::new(serving), lane_seats, relay_seats)
}

struct Starter {
    shared: Arc<Shared>,
    alive: mpsc::Sender<()>,
}

impl Starter {
    /// Starts a part; the engine has ended when all of them have.
    fn spawn(&self, name: &str, future: BoxFuture<'static, ()>) {
        let alive = self.alive.clone();
        let future = async move {
            future.await;
            drop(alive);
        };
        self.shared.ports.spawn.spawn(name, future.boxed());
    }

    fn endpoint(&self, serving: Arc<Serving>, seats: Vec<LaneSeat>) {
        let (lane_alive, lanes_gone) = mpsc::channel(1);
        for (number, seat) in seats.into_iter().enumerate() {
            let name = format!("lane {}-{number}", serving.endpoint.name);
            let lane = receive::run_lane(
                self.shared.clone(),
                serving.clone(),
                seat,
                number,
                lane_alive.clone(),
            );
            self.spawn(&name, lane.boxed());
        }
        let name = serving.endpoint.name.clone();
        let watching = receive::watch(self.shared.clone(), serving.clone());
        self.spawn(&format!("watch {name}"), watching.boxed());
        let consuming = receive::serve(self.shared.clone(), serving, lanes_gone);
        self.spawn(&format!("endpoint {name}"), consuming.boxed());
    }
}

/// Permits through the store, for activities.
struct StorePermits(Arc<dyn Store>);

#[async_trait::async_trait]
impl Permits for StorePermits {
    async fn take(
        &self,
        name: &str,
        quotas: &[knarr_model::ports::Quota],
    ) -> Result<Result<(), std::time::Duration>, knarr_model::ports::StoreError> {
        self.0.take(name, quotas).await
    }
}

/// A running engine.
pub struct Running {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<()>,
}

impl Running {
    /// What it has counted so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// This process's id to the store; another one after a lost lease.
    pub fn node(&self) -> NodeId {
        self.shared.node.id()
    }

    /// Looks at everything that readiness depends on. A halted endpoint is ready.
    pub fn health(&self) -> Health {
        health(&self.shared)
    }

    /// A cheap handle that answers [`Running::health`] from elsewhere.
    pub fn watch_health(&self) -> impl Fn() -> Health + Send + Sync + Clone + 'static {
        let shared = self.shared.clone();
        move || health(&shared)
    }

    /// Messages committed and not yet confirmed by the broker.
    pub fn unpublished(&self) -> usize {
        self.shared.unsent.messages()
    }

    /// Stops: nothing new is begun, what is in flight is finished or given back, claims and the
    /// lease end. Returns within about the drain time of the settings.
    pub async fn stop(mut self) {
        self.shared.tokens.process().cancel();
        let all = async { while self.ended.recv().await.is_some() {} };
        tokio::select! {
            biased;
            () = all => {}
            () = self.shared.ports.clock.sleep(self.shared.settings.drain) => {
                tracing::warn!("stopped with work in flight; it is taken up again elsewhere");
            }
        }
        let node = self.shared.node.id();
        if let Err(error) = self.shared.ports.store.leave(node).await {
            tracing::warn!(%node, "the lease runs out by itself: {error}");
        }
    }
}

fn health(shared: &Shared) -> Health {
    let mut unready = Vec::new();
    if let Err(reason) = shared.ports.transport.health() {
        unready.push(format!("broker: {reason}"));
    }
    if let Some(why) = shared.standing.why() {
        unready.push(format!("this process stands back: {why}"));
    } else if !shared.node.is_valid(shared.ports.clock.monotonic()) {
        unready.push("store: the lease is not renewed".to_owned());
    }
    for (name, serving) in &shared.endpoints {
        if !serving.read.load(Ordering::Relaxed) {
            unready.push(format!("store: the row of endpoint {name} is not read yet"));
        }
        let open = *serving.admission.borrow() == Admission::Go;
        if open && !serving.consuming.load(Ordering::Relaxed) {
            unready.push(format!("endpoint {name} is not consuming"));
        }
        if let Some((instance, rows)) = serving.waits.full().first() {
            unready.push(format!(
                "endpoint {name} takes in nothing more: {rows} messages of instance {instance} wait"
            ));
        }
    }
    if shared.is_full() {
        unready.push("the outbox is at its cap".to_owned());
    }
    let restart = shared.exhausted.load(Ordering::Relaxed);
    if restart {
        unready.push("too many behaviours did not come back".to_owned());
    }
    Health { unready, restart }
}
