//! The commit: statement by statement, under the shared fence.

use crate::look::is_blocked;
use crate::plan::wake;
use crate::rules::{Protocol, Rule};
use crate::seen::Fault;
use crate::words::{
    Aside, Chunk, Decided, From, Gate, Hand, Life, Line, Phase, Row, Status, Wait, What,
    is_release, run_of_timer, timer_of,
};
use crate::world::World;

/// Whether the endpoint's row lets what was decided commit.
pub(crate) fn passes(protocol: &Protocol, world: &World, decided: Decided) -> bool {
    let endpoint = world.endpoint;
    let same_guard = endpoint.guard == decided.guard || !protocol.keeps(Rule::GuardCompared);
    endpoint.epoch == decided.epoch && endpoint.gate != Gate::Halted && same_guard
}

/// How a commit's writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is committed.
    Yes,
    /// Somebody was faster: look again.
    Lost,
    /// The internal delivery is gone, or another's.
    Gone,
}

/// The statements behind the check, and the commit.
pub(crate) fn write(protocol: &Protocol, world: &mut World, node: u8, decided: Decided) -> Written {
    let Decided { from: From { id, broker }, what, .. } = decided;
    let place = usize::from(id);
    let compares = match what {
        What::Begin(_) | What::Apply | What::Finish => protocol.keeps(Rule::VersionCompared),
        What::Hold => protocol.keeps(Rule::HoldCompared),
        _ => false,
    };
    if compares && world.version() != decided.version {
        return Written::Lost;
    }
    let owned = broker || world.rows[place] == Wait::Claimed(node);
    if !owned {
        return Written::Gone;
    }
    let journals = !matches!(what, What::Seen | What::Hold);
    if journals && world.journal[place] != Line::None {
        return Written::Lost;
    }
    if what == What::Hold && world.rows[place] != Wait::Absent {
        return Written::Lost;
    }
    let endpoint = world.endpoint;
    if endpoint.epoch != decided.epoch || endpoint.gate == Gate::Halted {
        world.seen.note(Fault::OldEpoch);
    }
    if !broker {
        world.rows[place] = Wait::Absent;
    }
    if let Some(line) = line(what) {
        world.journal[place] = line;
    }
    match what {
        What::Begin(run) => begin(protocol, world, node, decided, run),
        What::Apply | What::Finish => change(world, decided),
        What::Missing => world.asides[place] = Aside { status: Status::Held, blocks: false },
        What::Hold => world.rows[place] = Wait::Held,
        _ => {}
    }
    Written::Yes
}

fn line(what: What) -> Option<Line> {
    match what {
        What::Begin(_) | What::Apply | What::Finish => Some(Line::Applied),
        What::Ignore => Some(Line::Ignored),
        What::Absorb => Some(Line::Absorbed),
        What::Blocked => Some(Line::Blocked),
        What::Missing => Some(Line::Aside),
        What::Seen | What::Hold | What::Fail(_) => None,
    }
}

fn begin(protocol: &Protocol, world: &mut World, node: u8, decided: Decided, run: u8) {
    let id = decided.from.id;
    let before = world.instance;
    let after_a_run = world.withdrawn != 0 || before.is_some();
    let recreated = after_a_run && (!is_release(id) || before.is_none_or(|row| run != row.run + 1));
    if recreated {
        world.seen.note(Fault::Recreated);
    }
    if is_blocked(protocol, world, id) {
        world.seen.note(Fault::Blocked);
    }
    if decided.version != world.version() {
        world.seen.note(Fault::Version);
    }
    if before.is_some_and(|row| row.holds) && protocol.keeps(Rule::HeldGoWithNewRun) {
        wake(world);
    }
    let version = decided.version + 1;
    world.instance =
        Some(Row { run, life: Life::Live, version, applied: 1, origin: id, holds: false });
    world.rows[usize::from(timer_of(run))] = Wait::Ready;
    // A history tells of the guard only: there the relay would but multiply the states.
    if !protocol.bounds.desks {
        world.outbox[usize::from(run)] = Chunk::Of(node);
        world.nodes[usize::from(node)].hands[usize::from(run)] = Hand::First;
    }
    world.seen.apply(run, id);
}

fn change(world: &mut World, decided: Decided) {
    let id = decided.from.id;
    let Some(row) = world.instance else { return };
    let late =
        decided.what == What::Finish && (row.run != run_of_timer(id) || row.life != Life::Live);
    if late {
        world.seen.note(Fault::OldTimer);
    }
    if decided.version != row.version {
        world.seen.note(Fault::Version);
    }
    world.seen.apply(row.run, id);
    let life = if decided.what == What::Finish { Life::Done } else { row.life };
    // What is written was made of what was loaded, so a commit that was not seen is undone.
    let unseen = row.version.saturating_sub(decided.version);
    let applied = row.applied.saturating_sub(unseen) + 1;
    world.instance = Some(Row { life, version: decided.version + 1, applied, ..row });
}

/// Whether a node's phase is a transaction that its death rolls back.
pub(crate) fn is_open(phase: Phase) -> bool {
    matches!(phase, Phase::Asking(..) | Phase::Fenced(_) | Phase::Checked(_))
}
