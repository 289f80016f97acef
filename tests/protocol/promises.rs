//! What is promised, as properties of every state, and what must be possible at all.

use stateright::Property;

use crate::rules::{Kind, Protocol, Reaction, Verb};
use crate::seen::Fault;
use crate::words::{
    Chunk, End, Hand, Id, Life, Line, NODES, Phase, Place, RUNS, Status, Wait, again_of, is_broker,
    is_release, release_of, timer_of,
};
use crate::world::World;

type Test = fn(&Protocol, &World) -> bool;

/// Each promise by its name.
const ALWAYS: &[(&str, Test)] = &[
    ("nothing commits at an old epoch", |_, it| !it.seen.has(Fault::OldEpoch)),
    ("a message is applied once in a run", |_, it| !it.seen.has(Fault::Twice)),
    ("only a release begins anew", |_, it| !it.seen.has(Fault::Recreated)),
    ("a blocked copy starts nothing", |_, it| !it.seen.has(Fault::Blocked)),
    ("a release happens once", |_, it| !it.seen.has(Fault::ReleasedTwice)),
    ("what is withdrawn is not sent", |_, it| !it.seen.has(Fault::WithdrawnSent)),
    ("what may have been sent is listed", |_, it| !it.seen.has(Fault::Unlisted)),
    ("the version rises by one", |_, it| !it.seen.has(Fault::Version)),
    ("an old run's timer does nothing", |_, it| !it.seen.has(Fault::OldTimer)),
    ("no commit is undone by another", nothing_undone),
    ("no message is lost", |_, it| (0..2).all(|id| is_accounted_for(it, id))),
    ("a released message is not blocked", |_, it| {
        (0..6).all(|id| !is_release(id) || it.journal[usize::from(id)] != Line::Blocked)
    }),
    ("a live run has its timer", has_its_timer),
    ("what was to be sent is sent or kept", is_sent_or_kept),
    ("the tombstone is there with the purge", has_tombstones),
    ("who is held is held by somebody", held_by_somebody),
    ("nothing is stuck", nothing_stuck),
];

/// Every promise within these bounds.
pub(crate) fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut all: Vec<_> = ALWAYS.iter().map(|(name, test)| Property::always(name, *test)).collect();
    if protocol.bounds.desks {
        all.push(Property::always("there is one history", |_, it: &World| {
            it.history.as_ref().is_none_or(|history| history.is_linear())
        }));
    }
    for (name, within, test) in SOMETIMES {
        if within(protocol) && protocol.broken.is_empty() && !protocol.bounds.desks {
            all.push(Property::sometimes(name, *test));
        }
    }
    all
}

fn nothing_undone(_: &Protocol, it: &World) -> bool {
    it.instance.is_none_or(|row| row.applied == it.seen.commits[usize::from(row.run)])
}

/// Whether a message is somewhere: in the queue, in a lane, as a row, in a snapshot, set aside, or
/// in the journal for good.
fn is_accounted_for(it: &World, id: Id) -> bool {
    let place = usize::from(id);
    let aside = it.asides.get(place).map_or(Status::Never, |aside| aside.status);
    let decided = match aside {
        Status::Held | Status::Dropped => return true,
        Status::Released => return is_accounted_for(it, release_of(id)),
        // It was applied, and its run is back.
        Status::Lifted => return true,
        Status::Never => it.journal[place],
    };
    let waits = it.rows[place] != Wait::Absent || is_kept(it, id) || is_in_hand(it, id);
    match decided {
        Line::Applied | Line::Ignored | Line::Absorbed | Line::Blocked => true,
        Line::Aside => is_accounted_for(it, again_of(id)),
        Line::None => waits || (is_broker(id) && it.queue[place] != Place::Acked),
    }
}

fn is_kept(it: &World, id: Id) -> bool {
    let snapshots = it.incidents.iter().flatten();
    let mut kept = snapshots.filter(|incident| incident.end != End::Retried);
    kept.any(|incident| incident.kept & (1 << id) != 0)
}

fn is_in_hand(it: &World, id: Id) -> bool {
    it.nodes.iter().any(|node| match node.phase {
        Phase::Has(from) => from.id == id,
        Phase::Decided(decided)
        | Phase::Asking(decided, _)
        | Phase::Fenced(decided)
        | Phase::Checked(decided) => decided.from.id == id,
        Phase::Idle | Phase::Written(_) => false,
    })
}

fn has_its_timer(_: &Protocol, it: &World) -> bool {
    let Some(row) = it.instance.filter(|row| row.life == Life::Live) else { return true };
    let timer = timer_of(row.run);
    [timer, again_of(timer)].iter().any(|id| it.rows[usize::from(*id)] != Wait::Absent)
}

fn is_sent_or_kept(_: &Protocol, it: &World) -> bool {
    (1..RUNS).all(|run| match it.outbox[run] {
        Chunk::Gone => it.seen.published & (1 << run) != 0,
        Chunk::Kept => it.is_withdrawn(run as u8),
        Chunk::Never | Chunk::Ready | Chunk::Of(_) => true,
    })
}

fn has_tombstones(_: &Protocol, it: &World) -> bool {
    (1..RUNS as u8).filter(|run| it.is_withdrawn(*run)).all(|run| {
        let stone = |row: &crate::words::Row| row.run == run && row.life == Life::Purged;
        it.instance.is_some_and(|row| row.run > run || stone(&row))
    })
}

fn held_by_somebody(_: &Protocol, it: &World) -> bool {
    let held = it.rows.contains(&Wait::Held);
    let open = it.incidents.iter().flatten().any(|incident| incident.end == End::Open);
    let holds = it.instance.is_some_and(|row| row.holds && row.life == Life::Purged);
    !held || (holds && open)
}

/// What somebody holds, somebody goes on with: no delivery, claim or chunk is forgotten.
fn nothing_stuck(_: &Protocol, it: &World) -> bool {
    (0..NODES as u8).all(|name| {
        let node = &it.nodes[usize::from(name)];
        let idle = node.phase == Phase::Idle && !node.down;
        let with = it.queue.contains(&Place::With(name));
        let claims = it.rows.contains(&Wait::Claimed(name));
        let chunks = it
            .outbox
            .iter()
            .zip(node.hands)
            .all(|(chunk, hand)| *chunk != Chunk::Of(name) || hand != Hand::Empty || node.down);
        !(idle && (with || claims)) && chunks
    })
}

type Within = fn(&Protocol) -> bool;

/// What must be possible, or the checks prove nothing; each where the bounds allow it.
const SOMETIMES: &[(&str, Within, Test)] = &[
    ("a run finishes", |_| true, |_, it| it.instance.is_some_and(|row| row.life == Life::Done)),
    (
        "a failed run halts the endpoint",
        |p| runs_fail(p) && p.bounds.reaction == Reaction::Endpoint,
        |_, it| is_contained(it) && it.endpoint.gate == crate::words::Gate::Halted,
    ),
    (
        "a released run finishes",
        |p| runs_fail(p) && may(p, Verb::Release(0)) && reaches(p, 2),
        |_, it| it.instance.is_some_and(|row| row.life == Life::Done && row.run == 2),
    ),
    (
        "a run that came back finishes",
        |p| runs_fail(p) && may(p, Verb::Retry(0)) && reaches(p, 2),
        |_, it| {
            let back = it.incidents.iter().flatten().any(|it| it.end == End::Retried && it.aside);
            back && it.instance.is_some_and(|row| row.life == Life::Done)
        },
    ),
    (
        "a late message is absorbed",
        |p| may(p, Verb::Purge) && p.bounds.messages[1] == Kind::Next,
        |_, it| it.journal[1] == Line::Absorbed,
    ),
    (
        "a copy is blocked",
        |p| p.bounds.messages[1] == Kind::Copy && p.bounds.faults > 0,
        |_, it| it.journal[1] == Line::Blocked,
    ),
    (
        "a message is held",
        |p| p.bounds.reaction == Reaction::Instance && runs_fail(p),
        |_, it| it.rows.contains(&Wait::Held),
    ),
];

fn may(protocol: &Protocol, verb: Verb) -> bool {
    protocol.bounds.verbs[verb.index()] > 0 && protocol.bounds.orders > 0
}

/// Whether a halted endpoint can be resumed within so many verbs, or is never halted.
fn reaches(protocol: &Protocol, orders: u8) -> bool {
    let flows = protocol.bounds.reaction != Reaction::Endpoint;
    flows || (may(protocol, Verb::Resume) && protocol.bounds.orders >= orders)
}

fn runs_fail(protocol: &Protocol) -> bool {
    let bounds = &protocol.bounds;
    let fails = |kind: &Kind| matches!(kind, Kind::Next | Kind::Timer);
    bounds.faults > 0 && bounds.failing.iter().any(fails)
}

fn is_contained(it: &World) -> bool {
    it.incidents.iter().flatten().any(|incident| incident.aside)
}
