//! A road to test on: nodes of the real engine over one store and one broker, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use knarr_engine::{Counters, Health, Settings};
use knarr_guard::Desk;
use knarr_model::commit::{JournalRow, Outcome};
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::ports::{Clock, Store};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::Parked;
use knarr_model::{
    Class, Envelope, Incident, Instance, InstanceId, Message, MessageId, NodeId, ids,
};
use knarr_saga::definition::Definition;
use knarr_testkit::around::Surrounded;
use knarr_testkit::clock::TokioClock;
use knarr_testkit::memory::Rows;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::desk::{Known, desk};
use super::due::still_due;
use super::errand::{Act, Begin, Errand, Go};
use super::letters;
use super::node::{Node, World};
use super::outside::Outside;
use super::recorded::Recorded;
use super::shelf::{Door, Shelf};
use super::tracer::Tracer;
use super::watch::{Seeing, Watch};
use super::wire::{Broker, Sent};

/// The most virtual time that something may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// A road to be: its sagas and how its nodes work.
pub(crate) struct Plan {
    sagas: Vec<Arc<dyn Definition>>,
    settings: Settings,
    pace: Duration,
    traced: bool,
}

impl Plan {
    /// One saga more.
    pub(crate) fn and(mut self, saga: Arc<dyn Definition>) -> Self {
        self.sagas.push(saga);
        self
    }

    /// Changes the engine's settings.
    pub(crate) fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Its nodes tell their spans.
    pub(crate) fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// Deciding a batch takes so long.
    pub(crate) fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// The road with nobody on it.
    pub(crate) fn lay(self) -> Road {
        let clock = Arc::new(TokioClock::new(1));
        let world = World {
            clock: clock.clone(),
            shelf: Arc::new(Shelf::new(clock.clone())),
            broker: Arc::default(),
            outside: Arc::new(Outside::new(clock.clone())),
            tracer: self.traced.then(|| Arc::new(Tracer::new(clock.clone()))),
            watch: Arc::new(Watch::new(clock)),
        };
        let watched = |saga: &Arc<dyn Definition>| -> Arc<dyn Definition> {
            Arc::new(Surrounded::new(saga.clone(), Seeing(world.watch.clone())))
        };
        let sagas = self.sagas.iter().map(watched).collect();
        Road { world, sagas, settings: self.settings, pace: self.pace, nodes: Vec::new(), ids: 0 }
    }

    /// The road with one node on it.
    pub(crate) fn start(self) -> Road {
        let mut road = self.lay();
        road.join();
        road
    }
}

/// A road, and everything that can happen on it.
pub(crate) struct Road {
    world: World,
    sagas: Vec<Arc<dyn Definition>>,
    settings: Settings,
    pace: Duration,
    nodes: Vec<Option<Node>>,
    ids: u64,
}

impl Road {
    /// A road for one saga.
    pub(crate) fn with(saga: Arc<dyn Definition>) -> Plan {
        let settings = Settings { lanes: 2, ..Settings::default() };
        Plan { sagas: vec![saga], settings, pace: Duration::ZERO, traced: false }
    }

    // --- nodes -----------------------------------------------------------------

    /// Starts a node; nodes are numbered from 0.
    pub(crate) fn join(&mut self) -> usize {
        let (number, settings) = (self.nodes.len(), self.settings.clone());
        let node = Node::start(&self.world, &self.sagas, settings, self.pace, number);
        self.nodes.push(Some(node));
        number
    }

    /// Starts a node that serves another definition of the saga, as in a deploy.
    pub(crate) fn join_with(&mut self, saga: Arc<dyn Definition>) -> usize {
        let seeing = Seeing(self.world.watch.clone());
        self.sagas = vec![Arc::new(Surrounded::new(saga, seeing))];
        self.join()
    }

    /// Kills a node.
    pub(crate) fn crash(&mut self, node: usize) {
        self.nodes[node].take().expect("it runs").kill();
    }

    /// Asks a node to stop, and waits for it.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.nodes[node].take().expect("it runs").stop().await;
    }

    fn node(&self, node: usize) -> &Node {
        self.nodes[node].as_ref().expect("it runs")
    }

    /// A node's door to the store.
    pub(crate) fn door(&self, node: usize) -> Arc<Door> {
        self.node(node).door.clone()
    }

    pub(crate) fn counters(&self, node: usize) -> Arc<Counters> {
        self.node(node).running.counters()
    }

    pub(crate) fn health(&self, node: usize) -> Health {
        self.node(node).running.health()
    }

    pub(crate) fn unpublished(&self, node: usize) -> usize {
        self.node(node).running.unpublished()
    }

    pub(crate) fn node_id(&self, node: usize) -> NodeId {
        self.node(node).running.node()
    }

    /// When the store takes this node for dead.
    pub(crate) fn lease_end(&self, node: usize) -> DateTime<Utc> {
        let node = self.node_id(node);
        self.rows(|rows| rows.node[&node])
    }

    // --- what comes in ----------------------------------------------------------

    fn fresh_id(&mut self) -> MessageId {
        self.ids += 1;
        MessageId(ids::derived_id(&[b"road", &self.ids.to_be_bytes()]))
    }

    /// An envelope around a message, under a fresh id.
    pub(crate) fn envelope<M: Message>(&mut self, message: &M) -> Envelope {
        let raw = to_raw_value(message).expect("a test's message is plain data");
        let mut envelope = Envelope::new(self.fresh_id(), M::urn(), Arc::from(raw));
        envelope.correlation_id = message.conventional_id();
        envelope
    }

    /// Puts a message into the queue of the first saga.
    pub(crate) fn send<M: Message>(&mut self, message: &M) -> MessageId {
        let envelope = self.envelope(message);
        self.post(&envelope)
    }

    /// Starts errand number `n`.
    pub(crate) fn begin(&mut self, n: u128, script: Vec<Act>) -> MessageId {
        self.send(&Begin { correlation_id: id(n), script })
    }

    /// Sends errand number `n` its message number `k`.
    pub(crate) fn go(&mut self, n: u128, k: u32, script: Vec<Act>) -> MessageId {
        self.send(&Go { correlation_id: id(n), n: k, script })
    }

    /// Puts an envelope into the queue of the first saga.
    pub(crate) fn post(&self, envelope: &Envelope) -> MessageId {
        let queue = self.sagas[0].name().clone();
        self.post_to(&queue, envelope)
    }

    /// As [`Road::post`], a message that the broker has delivered so often before.
    pub(crate) fn post_delivered(&self, envelope: &Envelope, times: u32) {
        let mut delivery = letters::delivery(envelope, self.now());
        delivery.delivery_count = times;
        self.world.broker.enqueue(self.sagas[0].name(), delivery);
    }

    /// Puts an envelope into a queue.
    pub(crate) fn post_to(&self, queue: &str, envelope: &Envelope) -> MessageId {
        let delivery = letters::delivery(envelope, self.now());
        self.world.broker.enqueue(&queue.into(), delivery);
        envelope.message_id
    }

    /// Puts a recorded message into the queue of the first saga.
    pub(crate) fn post_recorded(&self, message: &Recorded) {
        let saga = &self.sagas[0];
        let delivery = message.delivery(saga.name(), &saga.subscriptions(), self.now());
        self.world.broker.enqueue(saga.name(), delivery);
    }

    /// Puts what left for another queue back into the first saga's, as a shovel does.
    pub(crate) fn shovel(&self, sent: &Sent) {
        let saga = &self.sagas[0];
        let delivery = letters::returned(sent, saga.name(), &saga.subscriptions(), self.now());
        self.world.broker.enqueue(saga.name(), delivery);
    }

    /// Puts bytes that cannot be read into the queue of the first saga.
    pub(crate) fn post_unreadable(&mut self, body: &'static [u8], class: Class) -> MessageId {
        let id = self.fresh_id();
        let delivery = letters::unreadable(id, body, class, self.now());
        self.world.broker.enqueue(self.sagas[0].name(), delivery);
        id
    }

    // --- time --------------------------------------------------------------------

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Lets time pass until nothing is under way that time alone does not bring.
    pub(crate) async fn settle(&self) {
        let end = self.now() + PATIENCE;
        // Things under way show only once those before them are done: twice quiet is quiet.
        let mut quiet = 0;
        while quiet < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match self.busy() {
                None => quiet += 1,
                Some(what) => {
                    quiet = 0;
                    assert!(self.now() < end, "it does not come to rest: {what}");
                }
            }
        }
    }

    /// Lets time pass and comes to rest.
    pub(crate) async fn pass_and_settle(&self, time: Duration) {
        self.pass(time).await;
        self.settle().await;
    }

    /// As [`Road::settle`], with calls left that no node has room for.
    pub(crate) async fn settle_with_calls_waiting(&self) {
        let end = self.now() + PATIENCE;
        while let Some(what) = self.busy_but_for(usize::MAX) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(self.now() < end, "it does not come to rest: {what}");
        }
        // A call that can be begun is, within a poll.
        self.pass(Duration::from_secs(1)).await;
    }

    fn busy(&self) -> Option<String> {
        self.busy_but_for(self.world.outside.running())
    }

    /// What still happens by itself, when so many calls are known to be under way.
    fn busy_but_for(&self, running: usize) -> Option<String> {
        let now = self.now();
        self.world.shelf.rows.with_rows(|rows| {
            for saga in &self.sagas {
                let state = rows.endpoint.get(saga.name()).map(|row| row.state);
                let closed = matches!(state, Some(EndpointState::Halted | EndpointState::Paused));
                let (ready, held) = self.world.broker.depth(saga.name());
                if held > 0 || (ready > 0 && !closed) {
                    return Some(format!("{ready} messages wait, {held} are in hand"));
                }
            }
            still_due(rows, now, running)
        })
    }

    // --- what came of it ----------------------------------------------------------

    pub(crate) fn broker(&self) -> &Broker {
        &self.world.broker
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.world.shelf
    }

    pub(crate) fn outside(&self) -> &Outside {
        &self.world.outside
    }

    /// Where the spans of a traced road go.
    pub(crate) fn tracer(&self) -> &Tracer {
        self.world.tracer.as_deref().expect("the road is traced")
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.world.watch
    }

    /// The desk at which an operator steers.
    pub(crate) fn desk(&self) -> Desk {
        let sagas = Known(self.sagas.clone());
        desk(&self.world.shelf.rows, self.world.clock.clone(), sagas)
    }

    /// The row of the first saga's endpoint.
    pub(crate) fn endpoint(&self) -> EndpointRow {
        let name = self.sagas[0].name();
        self.rows(|rows| rows.endpoint[name].clone())
    }

    /// Incidents, oldest first.
    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let mut all: Vec<Incident> = self.rows(|rows| rows.incident.values().cloned().collect());
        all.sort_by_key(|incident| (incident.opened_at, incident.id));
        all
    }

    /// The store as an operator reaches it.
    pub(crate) fn store(&self) -> impl Store + use<> {
        self.world.shelf.rows.clone()
    }

    pub(crate) fn rows<R>(&self, look: impl FnOnce(&mut Rows) -> R) -> R {
        self.world.shelf.rows.with_rows(look)
    }

    /// Messages of a type that reached the outside, in order, copies included.
    pub(crate) fn published<M: Message>(&self) -> Vec<M> {
        self.sent::<M>().iter().map(|(_, envelope)| letters::payload(envelope)).collect()
    }

    /// As [`Road::published`], with what they travelled in.
    pub(crate) fn sent<M: Message>(&self) -> Vec<(Sent, Envelope)> {
        let all = self.world.broker.sent().into_iter().map(|sent| {
            let envelope = letters::envelope(&sent);
            (sent, envelope)
        });
        all.filter(|(_, envelope)| envelope.is_of_type(&M::urn())).collect()
    }

    pub(crate) fn instance(&self, id: Uuid) -> Option<Instance> {
        self.instance_of(&self.sagas[0].name().clone(), id)
    }

    pub(crate) fn instance_of(&self, saga: &str, id: Uuid) -> Option<Instance> {
        let place = (saga.into(), InstanceId(id));
        self.rows(|rows| rows.instance.get(&place).map(|row| row.instance.clone()))
    }

    /// The state that an instance is in; `none` when there is no instance.
    pub(crate) fn state(&self, id: Uuid) -> String {
        self.instance(id).map_or_else(|| "none".to_owned(), |instance| instance.state)
    }

    /// The data of an instance.
    pub(crate) fn data<T: DeserializeOwned>(&self, id: Uuid) -> T {
        let instance = self.instance(id).expect("there is an instance");
        serde_json::from_str(instance.data.get()).expect("the machine's data")
    }

    /// What happened to an errand, in order.
    pub(crate) fn log(&self, id: Uuid) -> Vec<String> {
        self.data::<Errand>(id).log
    }

    /// The journal in the order in which it was written.
    pub(crate) fn journal(&self) -> Vec<JournalRow> {
        let mut entries: Vec<_> = self.rows(|rows| rows.journal.values().cloned().collect());
        entries.sort_by_key(|entry| entry.number);
        entries.into_iter().map(|entry| entry.row).collect()
    }

    /// What became of a message.
    pub(crate) fn outcome(&self, id: MessageId) -> Option<Outcome> {
        self.journal().into_iter().find(|row| row.message_id == id).map(|row| row.outcome)
    }

    /// Messages that wait, in order.
    pub(crate) fn parked(&self) -> Vec<Parked> {
        let mut parked: Vec<Parked> =
            self.rows(|rows| rows.parked.values().map(|held| held.row.clone()).collect());
        parked.sort_by_key(|row| (row.instance, row.seq, row.id));
        parked
    }

    /// How many messages of errand number `n` wait.
    pub(crate) fn parked_of(&self, n: u128) -> usize {
        let of = Some(InstanceId(id(n)));
        self.rows(|rows| rows.parked.values().filter(|held| held.row.instance == of).count())
    }

    /// Messages that an incident keeps of an instance's run, in their order.
    pub(crate) fn kept_messages(&self, id: Uuid) -> Vec<MessageId> {
        self.rows(|rows| {
            let kept = rows.snapshot.values().find(|whole| whole.instance.id.0 == id);
            kept.iter().flat_map(|whole| &whole.parked).map(|parked| parked.message_id).collect()
        })
    }

    /// Messages set aside, oldest first.
    pub(crate) fn quarantine(&self) -> Vec<Quarantined> {
        let mut rows: Vec<_> = self.rows(|rows| rows.quarantine.values().cloned().collect());
        rows.sort_by_key(|row: &Quarantined| (row.at, row.id));
        rows
    }
}

/// An id for an instance.
pub(crate) fn id(n: u128) -> Uuid {
    Uuid::from_u128(0x0a0b_0000_0000_4000_8000_0000_0000_0000 | n)
}

/// So many whole milliseconds between two times.
pub(crate) fn millis_between(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    TimeDelta::num_milliseconds(&(to - from))
}
