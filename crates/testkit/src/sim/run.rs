//! One seed from beginning to rest: inputs, faults, crashes, halts; then the checker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_engine::Settings;
use knarr_guard::CrashSettings;
use knarr_saga::definition;
use knarr_saga::definition::Definition;

use super::activities::Outside;
use super::mutation::Mutation;
use super::node::SimNode;
use super::operator::Operator;
use super::oracle;
use super::plan::Plan;
use super::script::{self, Script};
use super::store::SimStore;
use super::toy::Toy;
use super::twice::Twice;
use super::world::World;
use crate::around::Surrounded;
use crate::clock::TokioClock;
use crate::memory::{self, MemoryStore};

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of everything that happened, in order.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Counters of all processes that lived to the end; faults that struck; verbs and reactions.
    pub counters: BTreeMap<String, u64>,
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
    script: Script,
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
        let store = SimStore { inner, world: world.clone(), clock, mutation };
        let failures = plan.failures;
        let saga: Arc<dyn Definition> = Arc::new(Surrounded::new(
            definition::<Toy>(),
            Twice { failures, world: world.clone() },
        ));
        let mut settings = Settings { lanes: 3, max_batch: 16, ..Settings::default() };
        settings.breaker.window = 12;
        settings.breaker.failures = 7;
        settings.breaker.instances = 4;
        settings.breaker.within = Duration::from_secs(3);
        settings.breaker.restart_after =
            plan.seed.is_multiple_of(2).then_some(Duration::from_millis(700));
        settings.mutations.ack_before_commit = is(Mutation::AckBeforeCommit);
        settings.mutations.ignore_timer_token = is(Mutation::TimerTokenIgnored);
        settings.mutations.ignore_parked = is(Mutation::ParkedNotChecked);
        settings.mutations.finish_before_confirm = is(Mutation::ChunkDeletedEarly);
        settings.mutations.ignore_withdrawn = is(Mutation::WithdrawnIgnored);
        settings.mutations.intent_for_the_whole_batch = is(Mutation::IntentForTheWholeBatch);
        settings.crash = CrashSettings {
            budget: plan.crash_budget,
            spacing: vec![Duration::from_millis(200), Duration::from_millis(900)],
            watch: Duration::from_secs(12),
        };
        let script = script::write(&world, plan);
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
            script,
        }
    }

    async fn run(mut self) -> Outcome {
        for _ in 0..self.plan.nodes {
            let node = self.start_node();
            self.nodes.push(Some(node));
        }
        let people: Vec<_> = (0..self.plan.operators)
            .map(|n| tokio::spawn(self.operator(&format!("anna-{n}")).work()))
            .collect();
        while let Some((wait, envelope, copies)) = self.script.lines.pop() {
            self.world.ledger(|ledger| ledger.owe(&envelope));
            for _ in 0..copies {
                self.world.broker.enqueue(envelope.clone());
            }
            self.tick(wait).await;
        }
        for _ in 0..self.world.dice.below(60) {
            self.tick(40).await;
        }
        people.iter().for_each(tokio::task::JoinHandle::abort);
        self.settle().await;
        let mut counters = BTreeMap::new();
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            for (name, count) in node.counters() {
                *counters.entry(name.to_owned()).or_default() += count;
            }
            node.crash();
        }
        let struck = self.world.dice.struck();
        counters.extend(struck.into_iter().map(|(name, count)| (format!("fault {name}"), count)));
        counters.extend(self.world.ledger(|ledger| ledger.all().clone()));
        let (hash, events, violations) = self.world.verdict();
        Outcome { hash, events, violations, counters }
    }

    fn operator(&mut self, name: &str) -> Operator {
        self.started += 1;
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(self.started);
        Operator::new(&self.store, &self.saga, self.script.instances.clone(), seed, name)
    }

    fn start_node(&mut self) -> SimNode {
        self.started += 1;
        let seed = self.plan.seed.wrapping_mul(1_000).wrapping_add(self.started);
        SimNode::start(&self.store, &self.saga, &self.outside, self.settings.clone(), seed)
    }

    /// Processes that died of what they decided are no more.
    fn carry_out_the_dead(&mut self) {
        for node in &mut self.nodes {
            if let Some(dead) = node.take_if(|node| node.is_dead()) {
                dead.crash();
            }
        }
    }

    /// Starts processes until all run.
    fn start_all(&mut self) {
        self.carry_out_the_dead();
        for which in 0..self.nodes.len() {
            if self.nodes[which].is_none() {
                let node = self.start_node();
                self.nodes[which] = Some(node);
            }
        }
    }

    /// Lets some time pass, in which processes may die.
    async fn tick(&mut self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.carry_out_the_dead();
        let which = self.world.dice.below(self.nodes.len() as u64) as usize;
        if self.nodes[which].is_none() {
            if self.world.dice.below(4) == 0 {
                self.world.log(|| format!("node {which} starts"));
                let node = self.start_node();
                self.nodes[which] = Some(node);
            }
        } else if self.world.dice.strikes("crash", |f| f.crash) {
            let Some(node) = self.nodes[which].take() else { return };
            if self.world.dice.below(5) == 0 {
                self.world.log(|| format!("node {which} is stopped"));
                node.stop().await;
            } else {
                self.world.log(|| format!("node {which} dies"));
                node.crash();
            }
        }
    }

    /// Faults end; a last person ends whatever stands open and runs are closed; everything must come
    /// to rest, and then the checker looks.
    async fn settle(&mut self) {
        self.world.dice.calm();
        self.world.log(|| "calm".to_owned());
        let mut last = self.operator("last");
        let mut unrest = Vec::new();
        for round in 0..600 {
            self.start_all();
            last.tidy(round).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            unrest = oracle::unrest(&self.world, &self.store.inner);
            if !unrest.is_empty() {
                continue;
            }
            let live = oracle::live(&self.store.inner);
            if live.is_empty() {
                break;
            }
            for id in live {
                let envelope = script::closing(id, round);
                self.world.ledger(|ledger| ledger.owe(&envelope));
                self.world.broker.enqueue(envelope);
                unrest.push(format!("{id} goes on"));
            }
        }
        if !unrest.is_empty() {
            self.world.violation(format!("I10 no rest: {}", unrest.join(", ")));
        }
        oracle::check(&self.world, &self.store.inner);
    }
}
