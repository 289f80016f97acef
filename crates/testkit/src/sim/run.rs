//! One seed from beginning to rest: inputs, faults, crashes, halts; then the checker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_engine::Settings;
use knarr_model::{Envelope, MessageId, ids};
use knarr_saga::definition;
use knarr_saga::definition::Definition;
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::activities::Outside;
use super::dice::Faults;
use super::node::SimNode;
use super::oracle;
use super::store::SimStore;
use super::toy::{Close, Count, Disarm, ENDPOINT, Rearm, Start, Toy};
use super::twice::Twice;
use super::world::World;
use crate::clock::TokioClock;
use crate::memory::{self, MemoryStore};

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Deliveries are acked before their commit.
    AckBeforeCommit,
    /// Commits write no journal rows.
    NoJournal,
    /// Commits write instances whatever version is stored.
    NoVersionCheck,
    /// Outbox rows are deleted before their messages are confirmed.
    ChunkDeletedEarly,
    /// A cancelled or replaced timer fires all the same.
    TimerTokenIgnored,
    /// A copy of a parked message is taken for a new one.
    ParkedNotChecked,
    /// Commits do not look at the endpoint's epoch.
    NoFence,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 7] = [
        Mutation::AckBeforeCommit,
        Mutation::NoJournal,
        Mutation::NoVersionCheck,
        Mutation::ChunkDeletedEarly,
        Mutation::TimerTokenIgnored,
        Mutation::ParkedNotChecked,
        Mutation::NoFence,
    ];
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// Processes.
    pub nodes: usize,
    /// Instances.
    pub instances: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// A rule broken on purpose.
    pub mutation: Option<Mutation>,
    /// Whether the history is printed.
    pub verbose: bool,
}

impl Plan {
    /// The usual plan for a seed: two processes (three for every fourth seed), six instances,
    /// every fault.
    pub fn of(seed: u64) -> Plan {
        Plan {
            seed,
            nodes: if seed % 4 == 3 { 3 } else { 2 },
            instances: 6,
            faults: Faults::ALL,
            mutation: None,
            verbose: false,
        }
    }
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of everything that happened, in order.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Counters of all processes that lived to the end.
    pub counters: BTreeMap<&'static str, u64>,
}

/// Runs one seed on a runtime of its own, in virtual time.
pub fn simulate(plan: &Plan) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can always be built");
    // Made inside, or the world's clock would start at the machine's time instead of the paused one.
    runtime.block_on(async { Simulation::new(plan).run().await })
}

struct Simulation {
    plan: Plan,
    world: Arc<World>,
    store: SimStore,
    saga: Arc<dyn Definition>,
    outside: Arc<Outside>,
    settings: Settings,
    nodes: Vec<Option<SimNode>>,
    started: u64,
    halted: bool,
    /// Inputs by id, and whether they are poison.
    inputs: BTreeMap<MessageId, bool>,
}

impl Simulation {
    fn new(plan: &Plan) -> Self {
        let world = World::new(plan.seed, plan.faults, plan.verbose);
        let clock = Arc::new(TokioClock::new(plan.seed));
        let mutation = plan.mutation;
        let is = |m| mutation == Some(m);
        let inner = MemoryStore::mutated(
            clock.clone(),
            memory::Mutations {
                skip_journal_insert: is(Mutation::NoJournal),
                skip_version_check: is(Mutation::NoVersionCheck),
                skip_fence: is(Mutation::NoFence),
                ..memory::Mutations::default()
            },
        );
        let store = SimStore { inner, world: world.clone(), clock };
        let saga: Arc<dyn Definition> =
            Arc::new(Twice { inner: definition::<Toy>(), world: world.clone() });
        let mut settings = Settings { lanes: 3, max_batch: 16, ..Settings::default() };
        settings.mutations.ack_before_commit = is(Mutation::AckBeforeCommit);
        settings.mutations.ignore_timer_token = is(Mutation::TimerTokenIgnored);
        settings.mutations.ignore_parked = is(Mutation::ParkedNotChecked);
        settings.mutations.finish_before_confirm = is(Mutation::ChunkDeletedEarly);
        let outside = Outside::new(world.clone());
        Simulation {
            plan: plan.clone(),
            world,
            store,
            saga,
            outside,
            settings,
            nodes: Vec::new(),
            started: 0,
            halted: false,
            inputs: BTreeMap::new(),
        }
    }

    async fn run(mut self) -> Outcome {
        for _ in 0..self.plan.nodes {
            let node = self.start_node();
            self.nodes.push(Some(node));
        }
        let mut script = self.script();
        while let Some((wait, envelope, copies)) = script.pop() {
            for _ in 0..copies {
                self.world.broker.enqueue(envelope.clone());
            }
            self.tick(wait).await;
        }
        for _ in 0..self.world.dice.below(60) {
            self.tick(40).await;
        }
        self.settle().await;
        let mut counters = BTreeMap::new();
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            for (name, count) in node.counters() {
                *counters.entry(name).or_default() += count;
            }
            node.crash();
        }
        let (hash, events, violations) = self.world.verdict();
        Outcome { hash, events, violations, counters }
    }

    fn start_node(&mut self) -> SimNode {
        self.started += 1;
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(self.started);
        SimNode::start(&self.store, &self.saga, &self.outside, self.settings.clone(), seed)
    }

    /// What is sent, last first: the wait after it, the message, and how many copies.
    fn script(&mut self) -> Vec<(u64, Arc<Envelope>, u64)> {
        let dice = |below| self.world.dice.below(below);
        let mut lines: Vec<(u64, Arc<Envelope>, bool)> = Vec::new();
        for number in 0..self.plan.instances {
            let correlation_id =
                ids::derived_id(&[b"toy", &self.plan.seed.to_be_bytes(), &number.to_be_bytes()]);
            let begins = dice(400);
            let mut at = begins;
            let ticks = dice(4) as u32;
            lines.push((
                at,
                envelope(&Start { correlation_id, ticks }, lines.len(), correlation_id),
                false,
            ));
            let poisoned = dice(5) == 0;
            for n in 0..(2 + dice(5)) as u32 {
                at += dice(300);
                let poison = poisoned && n == 2;
                let early = if dice(8) == 0 { at.saturating_sub(600) } else { at };
                let count = Count { correlation_id, n, poison };
                lines.push((early, envelope(&count, lines.len(), correlation_id), poison));
            }
            for _ in 0..dice(5) {
                // Around the time of a tick, so that both are often in one batch.
                let when = begins + 205 + dice(60) + 150 * dice(4);
                let rearm = Rearm { correlation_id, millis: 50 + dice(600) };
                lines.push((when, envelope(&rearm, lines.len(), correlation_id), false));
            }
            if dice(3) == 0 {
                let disarm = Disarm { correlation_id };
                lines.push((
                    at.saturating_sub(dice(600)),
                    envelope(&disarm, lines.len(), correlation_id),
                    false,
                ));
            }
            at += dice(500);
            lines.push((
                at,
                envelope(&Close { correlation_id }, lines.len(), correlation_id),
                false,
            ));
        }
        lines.sort_by_key(|(at, envelope, _)| (*at, envelope.message_id));
        for (_, envelope, poison) in &lines {
            self.inputs.insert(envelope.message_id, *poison);
        }
        let mut script = Vec::with_capacity(lines.len());
        for n in 0..lines.len() {
            let (at, envelope, _) = &lines[n];
            let next = lines.get(n + 1).map_or(*at, |(at, _, _)| *at);
            let copies = 1 + u64::from(self.world.dice.strikes(|f| f.duplicate));
            script.push((next - at, envelope.clone(), copies));
        }
        script.reverse();
        script
    }

    /// Lets some time pass, in which processes may die and operators act.
    async fn tick(&mut self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let which = self.world.dice.below(self.nodes.len() as u64) as usize;
        if self.nodes[which].is_none() {
            if self.world.dice.below(4) == 0 {
                self.world.log(|| format!("node {which} starts"));
                let node = self.start_node();
                self.nodes[which] = Some(node);
            }
        } else if self.world.dice.strikes(|f| f.crash) {
            let Some(node) = self.nodes[which].take() else { return };
            if self.world.dice.below(5) == 0 {
                self.world.log(|| format!("node {which} is stopped"));
                node.stop().await;
            } else {
                self.world.log(|| format!("node {which} dies"));
                node.crash();
            }
        }
        self.operate().await;
    }

    async fn operate(&mut self) {
        use knarr_model::ports::Store;
        let endpoint = ENDPOINT.into();
        if self.halted {
            if self.world.dice.below(6) == 0 {
                self.halted = false;
                self.world.log(|| "resume".to_owned());
                let _ = self.store.resume(&endpoint).await;
            }
        } else if self.world.dice.strikes(|f| f.halt) {
            self.halted = true;
            self.world.log(|| "halt".to_owned());
            let _ = self.store.halt(&endpoint).await;
        }
    }

    /// Faults end; everything must come to rest, and then the checker looks.
    async fn settle(&mut self) {
        use knarr_model::ports::Store;
        self.world.dice.calm();
        self.world.log(|| "calm".to_owned());
        let _ = self.store.resume(&ENDPOINT.into()).await;
        for which in 0..self.nodes.len() {
            if self.nodes[which].is_none() {
                let node = self.start_node();
                self.nodes[which] = Some(node);
            }
        }
        let mut unrest = Vec::new();
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            unrest = oracle::unrest(&self.world, &self.store.inner);
            if unrest.is_empty() {
                break;
            }
        }
        if !unrest.is_empty() {
            self.world.violation(format!("I10 no rest: {}", unrest.join(", ")));
        }
        oracle::check(&self.world, &self.store.inner, &self.inputs);
    }
}

fn envelope<M: knarr_model::Message>(message: &M, number: usize, instance: Uuid) -> Arc<Envelope> {
    let id = ids::derived_id(&[b"input", instance.as_bytes(), &number.to_be_bytes()]);
    let raw = to_raw_value(message).expect("a toy message is plain data");
    Arc::new(Envelope::new(MessageId(id), M::urn(), Arc::from(raw)))
}
