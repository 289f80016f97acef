//! The guard's verbs: a scene is looked at, a plan is made of it, and the plan is written at once.

use crate::rules::{Protocol, Reaction, Rule, Verb};
use crate::seen::Fault;
use crate::words::{
    Chunk, Decided, Deed, End, Endpoint, From, Gate, Id, Incident, Life, Line, Plan, Row, Status,
    Wait, What, again_of, ids, is_broker, release_of, timer_of,
};
use crate::world::World;

/// What a verb would do; `None` when it is refused.
pub(crate) fn plan(world: &World, verb: Verb) -> Option<Plan> {
    let endpoint = world.endpoint;
    let guarded = Endpoint { guard: endpoint.guard + 1, ..endpoint };
    let aside = |id: Id| world.asides[usize::from(id)];
    let incident = |k: u8| world.incidents[usize::from(k)];
    let (endpoint, deed) = match verb {
        Verb::Halt if endpoint.gate == Gate::Halted => (endpoint, Deed::Nothing),
        Verb::Halt => (halted(endpoint), Deed::Nothing),
        Verb::Pause if endpoint.gate == Gate::Halted => return None,
        Verb::Pause => (Endpoint { gate: Gate::Paused, ..endpoint }, Deed::Nothing),
        Verb::Resume => (Endpoint { gate: Gate::Open, ..endpoint }, Deed::Nothing),
        Verb::Purge => {
            let row = world.instance.filter(|row| row.life == Life::Live)?;
            (guarded, Deed::Purge(row))
        }
        Verb::Release(id) if aside(id).status == Status::Held => (guarded, Deed::Release(id)),
        Verb::Unblock(id) if aside(id).blocks => (guarded, Deed::Unblock(id)),
        Verb::Drop(id) if aside(id).status == Status::Held => (endpoint, Deed::Drop(id)),
        Verb::Retry(k) => {
            let kept = incident(k).filter(|incident| incident.end == End::Open)?;
            let stone = |row: &Row| row.life == Life::Purged && row.run == kept.row.run;
            world.instance.filter(stone)?;
            (guarded, Deed::Retry(k))
        }
        Verb::Resolve(k) => {
            incident(k).filter(|incident| incident.end == End::Open)?;
            (guarded, Deed::End(k, End::Resolved))
        }
        Verb::Discard(k) => {
            let may = |incident: &Incident| matches!(incident.end, End::Open | End::Resolved);
            incident(k).filter(may)?;
            (guarded, Deed::End(k, End::Discarded))
        }
        Verb::Release(_) | Verb::Unblock(_) | Verb::Drop(_) => return None,
    };
    Some(Plan { endpoint, deed })
}

fn halted(endpoint: Endpoint) -> Endpoint {
    Endpoint { gate: Gate::Halted, epoch: endpoint.epoch + 1, ..endpoint }
}

/// Writes a plan.
pub(crate) fn carry_out(protocol: &Protocol, world: &mut World, plan: &Plan) {
    world.endpoint = plan.endpoint;
    match plan.deed {
        Deed::Nothing => {}
        Deed::Purge(row) => empty(protocol, world, row, false, None, false),
        Deed::Release(id) => release(protocol, world, id),
        Deed::Unblock(id) => world.asides[usize::from(id)].blocks = false,
        Deed::Drop(id) => world.asides[usize::from(id)].status = Status::Dropped,
        Deed::Retry(k) => restore(world, usize::from(k)),
        Deed::End(k, end) => end_incident(world, usize::from(k), end),
    }
}

/// A purge: the run moves into a snapshot, its row becomes its tombstone.
fn empty(
    protocol: &Protocol,
    world: &mut World,
    row: Row,
    holds: bool,
    failed: Option<Id>,
    aside: bool,
) {
    let mut kept = 0;
    for id in 0..world.rows.len() as Id {
        let timer = id == timer_of(row.run) || id == again_of(timer_of(row.run));
        let parked = is_broker(id) || (6..=11).contains(&id);
        let waits = world.rows[usize::from(id)] != Wait::Absent && Some(id) != failed;
        if waits && (parked || (timer && protocol.keeps(Rule::PurgeTakesTimers))) {
            kept |= 1 << id;
            world.rows[usize::from(id)] = Wait::Absent;
        }
    }
    if let Some(id) = failed {
        let new = is_broker(id) || protocol.keeps(Rule::RetryUnderNewId);
        kept |= 1 << if new { again_of(id) } else { id };
    }
    let chunk = &mut world.outbox[usize::from(row.run)];
    let unsent = matches!(chunk, Chunk::Ready | Chunk::Of(_));
    if unsent {
        *chunk = Chunk::Kept;
    }
    world.withdrawn |= 1 << row.run;
    let stone = Row { life: Life::Purged, version: row.version + 1, holds, ..row };
    if protocol.keeps(Rule::TombstoneInPlace) {
        world.instance = Some(stone);
    } else {
        world.instance = None;
        world.unburied = Some(stone);
    }
    let incident = Incident { end: End::Open, row, kept, unsent, aside };
    let place = world.incidents.iter_mut().find(|place| place.is_none());
    *place.expect("the bounds leave room for every incident") = Some(incident);
}

fn release(protocol: &Protocol, world: &mut World, id: Id) {
    let aside = &mut world.asides[usize::from(id)];
    if aside.status != Status::Held {
        world.seen.note(Fault::ReleasedTwice);
    }
    aside.status = Status::Released;
    let new = if protocol.keeps(Rule::ReleaseUnderNewId) { release_of(id) } else { id };
    world.rows[usize::from(new)] = Wait::Ready;
}

/// The run comes back under the same number, with what was around it.
fn restore(world: &mut World, k: usize) {
    let Some(incident) = &mut world.incidents[k] else { return };
    incident.end = End::Retried;
    let Incident { row, kept, unsent, aside, .. } = *incident;
    let version = world.instance.map_or(0, |stone| stone.version);
    world.instance = Some(Row { version: version + 1, ..row });
    world.withdrawn &= !(1 << row.run);
    for id in ids(kept) {
        world.rows[usize::from(id)] = Wait::Ready;
    }
    wake(world);
    if unsent {
        world.outbox[usize::from(row.run)] = Chunk::Ready;
    }
    if aside {
        let start = &mut world.asides[usize::from(row.origin)];
        if start.status == Status::Held {
            start.status = Status::Lifted;
        }
        start.blocks = false;
    }
}

fn end_incident(world: &mut World, k: usize, end: End) {
    let Some(incident) = &mut world.incidents[k] else { return };
    incident.end = end;
    if incident.aside && end == End::Discarded {
        let start = &mut world.asides[usize::from(incident.row.origin)];
        if start.status == Status::Held {
            start.status = Status::Dropped;
        }
    }
    if let Some(stone) = world.instance.as_mut().filter(|row| row.holds) {
        stone.holds = false;
        stone.version += 1;
        wake(world);
    }
}

/// What the guard held goes now.
pub(crate) fn wake(world: &mut World) {
    for row in &mut world.rows {
        if *row == Wait::Held {
            *row = Wait::Ready;
        }
    }
}

/// A run failed: halt, purge and quarantine at once. False when things changed meanwhile.
pub(crate) fn contain(protocol: &Protocol, world: &mut World, node: u8, decided: Decided) -> bool {
    let What::Fail(run) = decided.what else { return false };
    let From { id, broker } = decided.from;
    let internal = !broker;
    let endpoint = world.endpoint;
    let flows = match endpoint.gate {
        Gate::Open => true,
        Gate::Paused => internal,
        Gate::Halted => false,
    };
    let owned = !internal || world.rows[usize::from(id)] == Wait::Claimed(node);
    let unjournaled = world.journal[usize::from(id)] == Line::None;
    if endpoint.epoch != decided.epoch || !flows || !owned || !unjournaled {
        return false;
    }
    let live =
        |row: &Row| row.run == run && row.version == decided.version && row.life == Life::Live;
    let row = world.instance.filter(live);
    if run > 0 && row.is_none() {
        return false;
    }
    world.left.faults = world.left.faults.saturating_sub(1);
    world.endpoint.guard += 1;
    world.journal[usize::from(id)] = Line::Aside;
    if internal {
        world.rows[usize::from(id)] = Wait::Absent;
    }
    let start = match row {
        Some(row) => {
            let reaction = protocol.bounds.reaction;
            if reaction == Reaction::Endpoint {
                world.endpoint = halted(world.endpoint);
            }
            let holds = reaction == Reaction::Instance;
            empty(protocol, world, row, holds, Some(id), true);
            row.origin
        }
        None => id,
    };
    // A start message that is set aside already is replaced, its row kept.
    let aside = &mut world.asides[usize::from(start)];
    aside.status = Status::Held;
    aside.blocks = true;
    true
}
