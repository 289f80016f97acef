//! The relay: publishes what commits produced, in the round after the commit or in a later one.

use crate::rules::{Protocol, Rule};
use crate::seen::Fault;
use crate::step::Step;
use crate::words::{Chunk, Hand, NODES, RUNS};
use crate::world::World;

/// Steps of the relays that are possible now.
pub(crate) fn steps(world: &World, steps: &mut Vec<Step>) {
    for node in 0..NODES as u8 {
        let it = &world.nodes[usize::from(node)];
        if it.down {
            continue;
        }
        for run in 1..RUNS as u8 {
            match it.hands[usize::from(run)] {
                Hand::Empty => {
                    if world.outbox[usize::from(run)] == Chunk::Ready {
                        steps.push(Step::Adopt(node, run));
                    }
                }
                Hand::First => {
                    steps.push(Step::Publish(node, run));
                    if world.left.away > 0 {
                        steps.push(Step::Away(node, run));
                    }
                }
                Hand::Later => steps.push(Step::Round(node, run)),
                Hand::Round(_) => steps.push(Step::Publish(node, run)),
                Hand::Sent => steps.push(Step::Confirm(node, run)),
            }
        }
    }
}

fn set(world: &mut World, node: u8, run: u8, hand: Hand) {
    world.nodes[usize::from(node)].hands[usize::from(run)] = hand;
}

/// Takes over a chunk that nobody is publishing.
pub(crate) fn adopt(world: &mut World, node: u8, run: u8) {
    world.outbox[usize::from(run)] = Chunk::Of(node);
    set(world, node, run, Hand::Later);
}

/// The broker was away.
pub(crate) fn away(world: &mut World, node: u8, run: u8) {
    world.left.away -= 1;
    set(world, node, run, Hand::Later);
}

/// A later round begins: it reads whether the run is withdrawn.
pub(crate) fn round(protocol: &Protocol, world: &mut World, node: u8, run: u8) {
    let withdrawn = world.is_withdrawn(run);
    let drops = withdrawn && protocol.keeps(Rule::RelayAsks);
    set(world, node, run, if drops { Hand::Empty } else { Hand::Round(withdrawn) });
}

/// The message goes to the broker.
pub(crate) fn publish(world: &mut World, node: u8, run: u8) {
    match world.nodes[usize::from(node)].hands[usize::from(run)] {
        Hand::Round(true) => world.seen.note(Fault::WithdrawnSent),
        Hand::First if world.is_withdrawn(run) => {
            let mut of_run = world.incidents.iter().flatten().filter(|it| it.row.run == run);
            if !of_run.any(|incident| incident.unsent) {
                world.seen.note(Fault::Unlisted);
            }
        }
        _ => {}
    }
    world.seen.published |= 1 << run;
    set(world, node, run, Hand::Sent);
}

/// The broker has confirmed it: its row is deleted, if it is still this node's.
pub(crate) fn confirm(world: &mut World, node: u8, run: u8) {
    if world.outbox[usize::from(run)] == Chunk::Of(node) {
        world.outbox[usize::from(run)] = Chunk::Gone;
    }
    set(world, node, run, Hand::Empty);
}
