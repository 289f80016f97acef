//! The protocol as the checker sees it: where it begins, which steps there are, where they lead.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::commit::passes;
use crate::history::History;
use crate::promises;
use crate::rules::Protocol;
use crate::seen::Seen;
use crate::step::Step;
use crate::words::{Aside, Chunk, Endpoint, Gate, Hand, IDS, Line, Node, Phase, Place, RUNS, Wait};
use crate::world::{Left, World};
use crate::{commit, desk, node, relay};

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let bounds = &self.bounds;
        let node = Node { phase: Phase::Idle, hands: [Hand::Empty; RUNS], down: false };
        let endpoint = Endpoint { gate: Gate::Open, epoch: 1, guard: 0 };
        vec![World {
            queue: [Place::Queued; 2],
            endpoint,
            instance: None,
            unburied: None,
            rows: [Wait::Absent; IDS],
            journal: [Line::None; IDS],
            outbox: [Chunk::Never; RUNS],
            withdrawn: 0,
            asides: [Aside::NEVER; 6],
            incidents: [None; 3],
            nodes: [node; 2],
            orders: [None; 2],
            left: Left {
                faults: bounds.faults,
                verbs: bounds.verbs,
                orders: bounds.orders,
                crashes: bounds.crashes,
                away: bounds.away,
            },
            seen: Seen::default(),
            history: bounds.desks.then(|| Box::new(History::new(endpoint.epoch))),
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        node::steps(self, world, steps);
        relay::steps(world, steps);
        desk::steps(self, world, steps);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut next = before.clone();
        let world = &mut next;
        let phase = |node: u8| before.nodes[usize::from(node)].phase;
        match step {
            Step::Take(node, from, fails) => node::take(self, world, node, from, fails),
            Step::Publish(node, run) => relay::publish(world, node, run),
            Step::Confirm(node, run) => relay::confirm(world, node, run),
            Step::Away(node, run) => relay::away(world, node, run),
            Step::Round(node, run) => relay::round(self, world, node, run),
            Step::Adopt(node, run) => relay::adopt(world, node, run),
            Step::Order(verb) => desk::order(self, world, verb),
            Step::Ask(desk, verb) => desk::ask(self, world, desk, verb),
            Step::Do(desk) => desk::carry(self, world, desk),
            Step::Bury => world.instance = world.unburied.take(),
            Step::Crash(node) => node::crash(world, node),
            Step::Stall(node) => node::stall(world, node),
            Step::Expire(node) => node::expire(world, node),
            Step::Look(node, _)
            | Step::Commit(node)
            | Step::Fence(node)
            | Step::Check(node)
            | Step::Write(node)
            | Step::Contain(node)
            | Step::Ack(node) => self.go_on(world, node, step, phase(node)),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Protocol>> {
        promises::all(self)
    }
}

impl Protocol {
    /// A lane goes on from where it is.
    fn go_on(&self, world: &mut World, node: u8, step: Step, phase: Phase) {
        match (step, phase) {
            (Step::Look(_, fails), Phase::Has(from)) => {
                node::look_at(self, world, node, from, fails);
            }
            (Step::Commit(_), Phase::Decided(decided)) => {
                let passes = commit::passes(self, world, decided);
                node::checked(world, node, decided, passes);
                if passes {
                    node::written(self, world, node, decided);
                }
            }
            (Step::Contain(_), Phase::Decided(decided)) => {
                node::contained(self, world, node, decided);
            }
            (Step::Fence(_), Phase::Decided(decided)) => node::fence(self, world, node, decided),
            (Step::Check(_), Phase::Fenced(decided)) => {
                let passes = passes(self, world, decided);
                node::checked(world, node, decided, passes);
            }
            (Step::Check(_), Phase::Asking(decided, passed)) => {
                node::checked(world, node, decided, passed);
            }
            (Step::Write(_), Phase::Checked(decided)) => node::written(self, world, node, decided),
            (Step::Ack(_), Phase::Written(from)) => node::ack(world, node, from),
            _ => {}
        }
    }
}

/// What a check went through.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// States met, those met before included.
    pub states: usize,
    /// Different states.
    pub unique: usize,
    /// The longest way to one.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
}

/// Goes through every state within the bounds.
///
/// # Panics
/// With the steps that lead there, if a promise is broken or something that should be possible is
/// not.
pub fn check(protocol: Protocol, threads: usize) -> Counts {
    let begun = Instant::now();
    let judged = protocol.bounds.desks;
    let checker = protocol.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    // Whose node is whose matters to a history that names them.
    let checker = if judged { checker } else { checker.symmetry_fn(World::representative) };
    let checker = checker.spawn_dfs().join();
    checker.assert_properties();
    Counts {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
    }
}

/// The shortest way to break this promise, and its last state; none if it cannot be broken.
pub fn counterexample(protocol: Protocol, promise: &'static str) -> Option<(Vec<Step>, String)> {
    let finish = HasDiscoveries::AllOf([promise].into());
    let checker = protocol.checker().finish_when(finish).spawn_bfs().join();
    let path = checker.discovery(promise)?;
    let last = format!("{:?}", path.last_state());
    Some((path.into_actions(), last))
}
