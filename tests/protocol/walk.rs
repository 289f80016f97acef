//! No endless cycling: every way through the states ends, and where it ends nothing is left over.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use stateright::Model as _;

use crate::rules::Protocol;
use crate::step::Step;
use crate::words::{Chunk, Gate, Hand, Phase, Place, Wait};
use crate::world::World;

/// What a walk found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// States met.
    pub states: usize,
    /// States from which nothing goes on.
    pub ends: usize,
}

/// Walks every way to its end.
///
/// # Errors
/// The steps to a state from which a way leads back to itself, or to an end where something is left
/// over although the endpoint is open.
pub fn walk(protocol: &Protocol) -> Result<Ends, String> {
    let mut found = Ends::default();
    let mut on_the_way: HashMap<u64, bool> = HashMap::new();
    let mut path: Vec<(World, Vec<Step>, Option<Step>)> = Vec::new();
    for world in protocol.init_states() {
        path.push(enter(protocol, world, None));
        on_the_way.insert(name(&path[0].0), true);
        while let Some((world, steps, _)) = path.last_mut() {
            let Some(step) = steps.pop() else {
                on_the_way.insert(name(world), false);
                path.pop();
                continue;
            };
            let Some(next) = protocol.next_state(world, step) else { continue };
            let next = next.representative();
            match on_the_way.get(&name(&next)) {
                Some(true) => return Err(told("a way leads back here", &path, &next)),
                Some(false) => continue,
                None => {}
            }
            found.states += 1;
            on_the_way.insert(name(&next), true);
            let entered = enter(protocol, next, Some(step));
            if entered.1.is_empty() {
                found.ends += 1;
                if !is_settled(&entered.0) {
                    return Err(told("something is left over here", &path, &entered.0));
                }
            }
            path.push(entered);
        }
    }
    Ok(found)
}

fn enter(protocol: &Protocol, world: World, by: Option<Step>) -> (World, Vec<Step>, Option<Step>) {
    let mut steps = Vec::new();
    protocol.actions(&world, &mut steps);
    (world, steps, by)
}

fn name(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

fn told(what: &str, path: &[(World, Vec<Step>, Option<Step>)], end: &World) -> String {
    let steps: Vec<_> = path.iter().filter_map(|(_, _, step)| *step).collect();
    format!("{what}: {end:?}\nafter {steps:?}")
}

/// Whether nothing is left to do but what an operator stopped or holds.
fn is_settled(it: &World) -> bool {
    let idle = it.nodes.iter().all(|node| {
        let empty = node.hands.iter().all(|hand| *hand == Hand::Empty);
        node.phase == Phase::Idle && empty && !node.down
    });
    let intake = it.endpoint.gate != Gate::Open || it.queue == [Place::Acked; 2];
    let waits = |row: &Wait| matches!(row, Wait::Ready | Wait::Claimed(_));
    let rows = it.endpoint.gate == Gate::Halted || !it.rows.iter().any(waits);
    let unsent = |chunk: &Chunk| matches!(chunk, Chunk::Ready | Chunk::Of(_));
    idle && intake && rows && !it.outbox.iter().any(unsent)
}
