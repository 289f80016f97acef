//! Load and decide: what a node makes of a delivery, from what the store shows without any lock.

use crate::rules::{Kind, Protocol, Rule};
use crate::words::{
    Decided, From, Id, Life, Line, Row, Wait, What, is_broker, is_release, release_of, run_of_timer,
};
use crate::world::World;

/// What a node decides now; `fails` is chance.
pub(crate) fn look(protocol: &Protocol, world: &World, from: From, fails: bool) -> Decided {
    let mut what = decide(protocol, world, from);
    if fails {
        what = match what {
            What::Begin(_) => What::Fail(0),
            _ => What::Fail(world.instance.map_or(0, |row| row.run)),
        };
    }
    Decided {
        from,
        epoch: world.endpoint.epoch,
        guard: world.endpoint.guard,
        version: world.version(),
        what,
    }
}

/// Whether deciding on it now may fail.
pub(crate) fn may_fail(protocol: &Protocol, world: &World, from: From) -> bool {
    world.left.faults > 0
        && protocol.bounds.failing.contains(&protocol.kind(from.id))
        && matches!(decide(protocol, world, from), What::Begin(_) | What::Apply | What::Finish)
}

fn decide(protocol: &Protocol, world: &World, from: From) -> What {
    let From { id, broker } = from;
    if world.journal[usize::from(id)] != Line::None {
        return What::Seen;
    }
    if broker && world.rows[usize::from(id)] != Wait::Absent {
        return What::Seen;
    }
    match protocol.kind(id) {
        Kind::Start | Kind::Copy => start(protocol, world, id),
        Kind::Next => next(world, id),
        Kind::Timer => timer(protocol, world, id),
    }
}

fn start(protocol: &Protocol, world: &World, id: Id) -> What {
    if is_blocked(protocol, world, id) {
        return What::Blocked;
    }
    match world.instance {
        None => What::Begin(1),
        Some(Row { life: Life::Live | Life::Done, .. }) => What::Ignore,
        Some(row) if is_release(id) => What::Begin(row.run + 1),
        Some(row) => late(row, id),
    }
}

fn next(world: &World, id: Id) -> What {
    match world.instance {
        None => What::Missing,
        Some(Row { life: Life::Live, .. }) => What::Apply,
        Some(Row { life: Life::Done, .. }) => What::Ignore,
        Some(row) => late(row, id),
    }
}

fn timer(protocol: &Protocol, world: &World, id: Id) -> What {
    let other_run = |row: &Row| row.run != run_of_timer(id);
    match world.instance {
        Some(row) if protocol.keeps(Rule::TimerNamesRun) && other_run(&row) => What::Absorb,
        Some(Row { life: Life::Live, .. }) => What::Finish,
        _ => What::Absorb,
    }
}

/// A message that meets a tombstone.
fn late(row: Row, id: Id) -> What {
    if row.holds && is_broker(id) { What::Hold } else { What::Absorb }
}

/// Whether a start message may not start, as the block set stands.
pub(crate) fn is_blocked(protocol: &Protocol, world: &World, id: Id) -> bool {
    if is_release(id) && protocol.keeps(Rule::ReleasePassesBlocks) {
        return false;
    }
    let lets = |aside: Id| release_of(aside) == id;
    let mut blocks = (0..world.asides.len()).filter(|aside| world.asides[*aside].blocks);
    // Of several blocks one is asked, and it lets its own release go, not another's.
    blocks.next().is_some_and(|aside| !lets(aside as Id))
}
