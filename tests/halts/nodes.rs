//! Two nodes of the engine in this process, each with connections of its own, and a desk beside them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_engine::{Engine, Ports, Running, Settings};
use knarr_guard::Desk;
use knarr_guard::desk::{Doors, Sagas};
use knarr_guard::notice::Sender;
use knarr_model::format::MASS_TRANSIT;
use knarr_model::format::masstransit::{self, Host};
use knarr_model::ports::spawn::LaneThread;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Clock, Publisher as _, Spawn, Transport as _};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, Subscription, WithoutId};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{CancellationToken, Envelope, Headers, InstanceId, Message as _, MessageId};
use knarr_model::{Name, Statement};
use knarr_testkit::clock::TokioClock;
use knarr_testkit::services::{postgres, rabbitmq};
use serde_json::value::to_raw_value;
use uuid::Uuid;

use crate::gate::{Gated, Tick};

pub(crate) const ENDPOINT: &str = "gated";
/// What one node takes ahead: two hold all messages of a trial, half each.
pub(crate) const PREFETCH: u16 = 100;

/// A broker, a database, two nodes and a desk.
pub(crate) struct House {
    pub(crate) nodes: Vec<Running>,
    pub(crate) desk: Desk,
    pub(crate) clock: Arc<Noted>,
    pub(crate) url: String,
    wire: Arc<knarr_rabbitmq::Transport>,
    _ours: (rabbitmq::Vhost, postgres::Database),
}

impl House {
    pub(crate) async fn start() -> House {
        let (vhost, database) = tokio::join!(rabbitmq::vhost(), postgres::database());
        let clock = TokioClock::real();
        let mut nodes = Vec::new();
        for _ in 0..2 {
            let store = store(&database.url()).await;
            let ports = Ports {
                transport: wire(&vhost.url(), &clock),
                store: Arc::new(store),
                clock: Arc::new(clock.clone()),
                spawn: Arc::new(Tasks),
            };
            let token = CancellationToken::new();
            let engine = Engine::new(ports, Settings::default(), Host::default(), token)
                .saga(knarr_saga::definition::<Gated>(), endpoint());
            nodes.push(engine.start().expect("it has no findings"));
        }
        let store = Arc::new(store(&database.url()).await);
        let noted = Arc::new(Noted {
            clock: clock.clone(),
            asked: AtomicBool::new(false),
            keeps: AtomicU64::new(0),
        });
        let doors = Doors {
            guarded: store.clone(),
            records: store.clone(),
            incidents: store,
            clock: noted.clone(),
            sagas: Arc::new(NoSagas),
        };
        let sender = Sender { address: "rabbitmq://localhost/gated".into(), host: Host::default() };
        House {
            nodes,
            desk: Desk::new(doors, sender),
            clock: noted,
            url: database.url(),
            wire: wire(&vhost.url(), &clock),
            _ours: (vhost, database),
        }
    }

    /// Puts so many start messages into the queue.
    pub(crate) async fn fill(&self, count: usize) {
        let messages: Vec<_> = (0..count).map(|_| start(self.clock.new_id())).collect();
        let answers = self.wire.publish(&messages).await;
        assert!(answers.iter().all(|answer| *answer == Published::Confirmed), "{answers:?}");
    }

    /// Messages that the nodes have taken so far, copies included.
    pub(crate) fn received(&self) -> u64 {
        self.nodes.iter().map(|node| node.counters().received.get()).sum()
    }

    /// Messages ready in the queue, and its consumers.
    pub(crate) async fn depth(&self) -> (u64, u32) {
        let depth = self.wire.depth(ENDPOINT).await.expect("the queue is there");
        (depth.ready, depth.consumers)
    }

    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
        self.wire.close().await;
    }
}

async fn store(url: &str) -> knarr_postgres::Store {
    let settings = knarr_postgres::Settings::new(url);
    knarr_postgres::Store::connect(settings).await.expect("the store is opened")
}

fn wire(url: &str, clock: &TokioClock) -> Arc<knarr_rabbitmq::Transport> {
    let settings = knarr_rabbitmq::Settings::new(url);
    let opened = knarr_rabbitmq::Transport::open(settings, Arc::new(clock.clone()));
    Arc::new(opened.expect("a good URL"))
}

fn endpoint() -> ReceiveEndpoint {
    ReceiveEndpoint {
        name: ENDPOINT.into(),
        subscriptions: Vec::new(),
        queue: QueueKind::Classic,
        declare: Declare::Create,
        prefetch: PREFETCH,
        // Small bodies: the transport takes as many ahead as it is told to.
        max_body: 64 << 10,
        without_id: WithoutId::Digest,
        ordered: false,
    }
}

fn start(id: Uuid) -> Outgoing {
    let tick = to_raw_value(&Tick { correlation_id: id }).expect("plain data");
    let envelope = Envelope::new(MessageId(id), Tick::urn(), tick.into());
    Outgoing {
        id: MessageId(id),
        sequence: None,
        exchange: ENDPOINT.to_owned(),
        routing_key: String::new(),
        addressing: Addressing::Queue,
        content_type: MASS_TRANSIT.to_owned(),
        correlation_id: None,
        headers: Headers::new(),
        expires_at: None,
        priority: None,
        body: masstransit::encode(&envelope, &Host::default()),
    }
}

/// Waits until it is so; a condition that does not come true never will.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..30_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never came true: {what}");
}

/// A desk that only halts and resumes asks nothing of the sagas.
struct NoSagas;

impl Sagas for NoSagas {
    fn endpoint(&self, _: &Name) -> Option<Name> {
        None
    }

    fn subscriptions(&self, _: &Name) -> Vec<Subscription> {
        Vec::new()
    }

    fn check(&self, _: &Name, _: &Envelope) -> Result<(), String> {
        Err("nobody reads it".to_owned())
    }

    fn purge_steps(&self, _: &Name, _: InstanceId, _: u32) -> Vec<Statement> {
        Vec::new()
    }
}

/// The clock of the desk, which notes that it was asked: from then on a halt is under way. It may
/// keep the desk waiting, so that what is in hand gets ahead of the fence.
pub(crate) struct Noted {
    clock: TokioClock,
    pub(crate) asked: AtomicBool,
    /// Microseconds.
    pub(crate) keeps: AtomicU64,
}

impl Clock for Noted {
    fn now(&self) -> DateTime<Utc> {
        let now = self.clock.now();
        self.asked.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(self.keeps.swap(0, Ordering::SeqCst)));
        now
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(duration)
    }

    fn new_id(&self) -> Uuid {
        self.clock.new_id()
    }

    fn random(&self, below: u32) -> u32 {
        self.clock.random(below)
    }
}

/// Concurrent work on tokio's runtime, decisions on threads that may block.
struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, _: &str, future: BoxFuture<'static, ()>) {
        drop(tokio::spawn(future));
    }

    fn lane_thread(&self, _: &str) -> Box<dyn LaneThread> {
        Box::new(Blocking)
    }
}

struct Blocking;

impl LaneThread for Blocking {
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let running = tokio::task::spawn_blocking(work);
        async move { running.await.expect("a decision does not panic here") }.boxed()
    }
}
