//! What every part of a running engine can reach: the ports, the settings, and the served endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_guard::notice::Sender;
use knarr_guard::{Admission, Blocks, Breaker, GUARD, Moment, Order, Tokens, admit};
use knarr_model::commit::Key;
use knarr_model::format::masstransit::Host;
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::ports::{Clock, Spawn, Store, Transport};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Chunk;
use knarr_model::{Instance, InstanceId, Name, NodeId, RetryPolicy, RowId};
use knarr_saga::definition::Definition;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch};

use crate::delivery::Incoming;
use crate::hand::Hand;
use crate::node::Node;
use crate::settings::Settings;
use crate::spans::Traces;
use crate::standing::Standing;
use crate::telemetry::Counters;
use crate::unsent::Unsent;
use crate::waits::Waits;

/// How long after a call to the store was given up it may still be carried out.
pub(crate) const DOUBT: Duration = Duration::from_secs(60);

/// The four doors.
#[derive(Clone)]
pub struct Ports {
    /// The broker.
    pub transport: Arc<dyn Transport>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Time, randomness, ids.
    pub clock: Arc<dyn Clock>,
    /// Concurrent work.
    pub spawn: Arc<dyn Spawn>,
}

/// A running engine, as its parts see it.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) tokens: Tokens,
    pub(crate) node: Node,
    pub(crate) counters: Arc<Counters>,
    pub(crate) host: Host,
    pub(crate) endpoints: BTreeMap<Name, Arc<Serving>>,
    /// Turns on the road: see [`Settings::concurrent_batches`].
    turns: Semaphore,
    /// For who is tried alone: a suspected message while it is decided, a suspected call while it runs.
    pub(crate) trial: Arc<Semaphore>,
    /// Calls that run here and were lost once: beside them no message is decided alone.
    pub(crate) lost_once: Arc<AtomicUsize>,
    /// When it was last recorded how a call ended.
    pub(crate) recorded: Mutex<Option<DateTime<Utc>>>,
    /// Rows may be due: look now.
    pub(crate) due: Notify,
    /// Calls may be waiting: look now.
    pub(crate) calls: Notify,
    /// Outbox rows that this node has in hand, from before their commit until they are deleted.
    in_hand: Mutex<BTreeSet<RowId>>,
    /// Messages of this node not yet confirmed.
    pub(crate) unsent: Unsent,
    /// Commits whose outcome was not known: the outbox must be read once more.
    pub(crate) doubts: AtomicU64,
    /// Monotonic milliseconds until which own rows that are not held come again: claimed rows were
    /// let go of, or a claim's answer was lost and it may still be carried out.
    reclaim_until: AtomicU64,
    /// The process should be restarted: too many given-up threads.
    pub(crate) exhausted: AtomicBool,
    /// When it began, by the clock port.
    pub(crate) since: DateTime<Utc>,
    /// Whether it has been looked whether processes died before this one began: nothing is decided
    /// before.
    pub(crate) looked: watch::Sender<bool>,
    /// How attempts went here lately, and whether this process does far worse than its peers.
    pub(crate) standing: Standing,
    /// Where spans go, if anybody takes them.
    pub(crate) traces: Traces,
}

/// One endpoint that this engine serves.
pub(crate) struct Serving {
    /// What may not start, as this node knows it.
    pub(crate) blocks: Mutex<Arc<Blocks>>,
    /// How the last decisions went.
    pub(crate) breaker: Mutex<Breaker>,
    /// What has been counted and not yet been told to the store.
    pub(crate) counts: Mutex<Tally>,
    pub(crate) endpoint: ReceiveEndpoint,
    pub(crate) saga: Arc<dyn Definition>,
    pub(crate) lanes: Vec<LaneDoor>,
    /// Whether messages may be taken and decided.
    pub(crate) admission: watch::Sender<Admission>,
    /// The endpoint's row may have changed: read it now.
    pub(crate) changed: Notify,
    /// Whose keys are whose, as far as this node has seen.
    pub(crate) known_keys: Mutex<BTreeMap<Key, InstanceId>>,
    /// What its batches have met that waits.
    pub(crate) waits: Waits,
    /// Whether a consumer is really consuming now.
    pub(crate) consuming: AtomicBool,
    /// Whether the broker has a consumer of this node, from before it is asked for until it is gone.
    pub(crate) attached: AtomicBool,
    /// What this node holds of the endpoint.
    pub(crate) hand: Arc<Hand>,
    /// Whether its row has been read: before that, nobody knows whether it should consume.
    pub(crate) read: AtomicBool,
    /// When a batch was last committed that was no suspect's try.
    pub(crate) committed: Mutex<Option<DateTime<Utc>>>,
}

/// Counts that only inform, gathered between two writes.
#[derive(Default)]
pub(crate) struct Tally {
    /// Blocked copies, by the set-aside message that blocks them.
    pub(crate) copies: BTreeMap<uuid::Uuid, u64>,
    /// Messages set aside, by class.
    pub(crate) classes: BTreeMap<knarr_model::Class, u64>,
}

impl Serving {
    /// Whether the broker may still have a consumer of this node.
    pub(crate) fn is_attached(&self) -> bool {
        self.attached.load(Ordering::SeqCst)
    }

    /// Whether this node's definition can take the instance up.
    pub(crate) fn reads(&self, stored: &Instance) -> bool {
        let saga = &self.saga;
        stored.definition_version <= saga.version() && saga.has_state(&stored.state)
    }

    /// Whether nothing of this endpoint is decided here now.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.admission.borrow(), Admission::Return | Admission::Wait)
    }
}

/// The two ways onto a lane.
pub(crate) struct LaneDoor {
    pub(crate) broker: mpsc::Sender<Incoming>,
    pub(crate) internal: mpsc::Sender<Incoming>,
}

/// The other ends, held by the lane.
pub(crate) struct LaneSeat {
    pub(crate) broker: mpsc::Receiver<Incoming>,
    pub(crate) internal: mpsc::Receiver<Incoming>,
    /// Committed chunks go this way.
    pub(crate) outbox: mpsc::Sender<Handed>,
    pub(crate) finished: Arc<Finished>,
}

/// A committed chunk on its way to the wire.
pub(crate) struct Handed {
    pub(crate) chunk: Chunk,
    pub(crate) node: NodeId,
    /// Monotonic time of the commit; none for what was taken over.
    pub(crate) committed_at: Option<Duration>,
}

/// Chunks whose messages are all confirmed, to be deleted with the lane's next commit.
#[derive(Default)]
pub(crate) struct Finished {
    chunks: Mutex<Vec<RowId>>,
    came_back: Notify,
}

impl Finished {
    pub(crate) fn add(&self, chunk: RowId) {
        self.chunks.lock().push(chunk);
    }

    /// The commit that was to take them along did not: somebody else must.
    pub(crate) fn put_back(&self, chunks: Vec<RowId>) {
        if !chunks.is_empty() {
            self.chunks.lock().extend(chunks);
            self.came_back.notify_one();
        }
    }

    pub(crate) fn take(&self) -> Vec<RowId> {
        std::mem::take(&mut *self.chunks.lock())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.lock().is_empty()
    }

    /// Waits for chunks that came back.
    pub(crate) async fn came_back(&self) {
        self.came_back.notified().await;
    }
}

impl Shared {
    pub(crate) fn new(
        ports: Ports,
        settings: Settings,
        tokens: Tokens,
        host: Host,
        endpoints: BTreeMap<Name, Arc<Serving>>,
        traces: Traces,
    ) -> Self {
        let turns = Semaphore::new(settings.concurrent_batches.max(1));
        let node = Node::new(NodeId(ports.clock.new_id()));
        let since = ports.clock.now();
        Shared {
            ports,
            settings,
            tokens,
            node,
            counters: Arc::default(),
            host,
            endpoints,
            turns,
            trial: Arc::new(Semaphore::new(1)),
            lost_once: Arc::default(),
            recorded: Mutex::default(),
            due: Notify::new(),
            calls: Notify::new(),
            in_hand: Mutex::default(),
            unsent: Unsent::default(),
            doubts: AtomicU64::new(0),
            reclaim_until: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            since,
            looked: watch::Sender::new(false),
            standing: Standing::default(),
            traces,
        }
    }

    /// Waits for a turn on the road; for all of them when nothing else is to be decided meanwhile.
    pub(crate) async fn turns(
        &self,
        alone: bool,
    ) -> Result<SemaphorePermit<'_>, tokio::sync::AcquireError> {
        let all = u32::try_from(self.settings.concurrent_batches.max(1)).unwrap_or(u32::MAX);
        self.turns.acquire_many(if alone { all } else { 1 }).await
    }

    /// Rows claimed by this node are to be offered again unless it holds them.
    pub(crate) fn reclaim(&self) {
        let until = self.ports.clock.monotonic() + DOUBT;
        self.reclaim_until.fetch_max(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// What a claim says about this node's own rows.
    pub(crate) fn reclaim_except(&self) -> Option<Vec<RowId>> {
        let now = self.ports.clock.monotonic().as_millis() as u64;
        (now < self.reclaim_until.load(Ordering::Relaxed)).then(|| self.node.held())
    }

    /// Notes outbox rows before they are committed or once they are taken over.
    pub(crate) fn hold_chunks(&self, chunks: impl IntoIterator<Item = RowId>) {
        self.in_hand.lock().extend(chunks);
    }

    /// Forgets outbox rows that are deleted, were never written, or whose commit is in doubt.
    pub(crate) fn let_go_chunks(&self, chunks: &[RowId]) {
        let mut in_hand = self.in_hand.lock();
        for chunk in chunks {
            in_hand.remove(chunk);
        }
    }

    /// The outbox rows in hand.
    pub(crate) fn chunks_in_hand(&self) -> Vec<RowId> {
        self.in_hand.lock().iter().copied().collect()
    }

    /// What may be done with an endpoint's messages, by its row.
    pub(crate) fn admit(&self, serving: &Serving, row: &EndpointRow) -> Admission {
        match admit(row) {
            Admission::Return => Admission::Return,
            _ if self.standing.is_back() => Admission::Wait,
            _ if is_held(serving, row) && row.holder != Some(self.node.id()) => Admission::Wait,
            admission => admission,
        }
    }

    /// A moment for an order of the guard's own.
    pub(crate) fn moment(&self) -> Moment {
        let clock = &self.ports.clock;
        Moment {
            order: Order::by(GUARD),
            now: clock.now(),
            audit: clock.new_id(),
            incident: clock.new_id(),
            chunk: RowId(clock.new_id()),
            node: self.node.id(),
            place: None,
        }
    }

    /// How the guard's own messages about an endpoint are signed.
    pub(crate) fn sender(&self, endpoint: &Name) -> Sender {
        Sender { address: self.ports.transport.address(endpoint), host: self.host.clone() }
    }

    /// Waits after failure number `failures` of something outside; returns at once at a stop.
    pub(crate) async fn back_off(&self, failures: u32) {
        let longest = self.settings.longest_backoff;
        let policy = RetryPolicy::doubling(u32::MAX, Duration::from_millis(50), longest);
        let delay = policy.backoff(failures, self.ports.clock.random(1000));
        self.pause(delay).await;
    }

    /// Waits; returns at once at a stop.
    pub(crate) async fn pause(&self, delay: Duration) {
        tokio::select! {
            biased;
            () = self.tokens.process().cancelled() => {}
            () = self.ports.clock.sleep(delay) => {}
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.tokens.process().is_cancelled()
    }

    /// Whether the outbox is so full that nothing more should be taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent.is_full(self.settings.outbox_cap, self.settings.outbox_bytes)
    }
}

/// Whether only one node may serve an endpoint as it stands.
pub(crate) fn is_held(serving: &Serving, row: &EndpointRow) -> bool {
    serving.endpoint.ordered || row.state == EndpointState::Probing
}
