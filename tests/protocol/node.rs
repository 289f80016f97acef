//! A node's lane: takes a delivery, decides, commits, acks; and how it dies or stalls.

use crate::commit::{Written, is_open, passes, write};
use crate::history::{Answer, Asked, Place as Thread};
use crate::look::{look, may_fail};
use crate::plan::contain;
use crate::rules::{Protocol, Rule};
use crate::step::Step;
use crate::words::{
    BEYOND, Chunk, Decided, From, Gate, Hand, Id, NODES, Phase, Place, Wait, What, is_broker,
    is_timer,
};
use crate::world::World;

/// Steps of the lanes that are possible now.
pub(crate) fn steps(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    for node in 0..NODES as u8 {
        let it = &world.nodes[usize::from(node)];
        if it.down {
            steps.push(Step::Expire(node));
            continue;
        }
        match it.phase {
            Phase::Idle => take_steps(protocol, world, node, steps),
            Phase::Has(from) => {
                looks(protocol, world, from, |fails| Step::Look(node, fails), steps)
            }
            Phase::Decided(decided) => {
                let fenced = !protocol.keeps(Rule::Fence);
                if matches!(decided.what, What::Fail(_)) {
                    if fenced || !world.is_shared() {
                        steps.push(Step::Contain(node));
                    }
                } else if protocol.bounds.fine {
                    if world.unburied.is_none() {
                        steps.push(Step::Fence(node));
                    }
                } else if world.unburied.is_none() {
                    steps.push(Step::Commit(node));
                }
            }
            Phase::Fenced(_) | Phase::Asking(..) => {
                if world.unburied.is_none() {
                    steps.push(Step::Check(node));
                }
            }
            Phase::Checked(_) => steps.push(Step::Write(node)),
            Phase::Written(_) => steps.push(Step::Ack(node)),
        }
    }
    if world.left.crashes > 0 {
        crashes(world, steps);
    }
}

fn crashes(world: &World, steps: &mut Vec<Step>) {
    for node in 0..NODES as u8 {
        let it = &world.nodes[usize::from(node)];
        let busy = it.phase != Phase::Idle || it.hands.iter().any(|hand| *hand != Hand::Empty);
        if !it.down && busy {
            steps.push(Step::Crash(node));
            if !is_open(it.phase) {
                steps.push(Step::Stall(node));
            }
        }
    }
}

fn take_steps(protocol: &Protocol, world: &World, node: u8, steps: &mut Vec<Step>) {
    // A history is dear: there no timer fires, and messages alone race the verbs.
    let without = |id: &Id| protocol.bounds.desks && is_timer(*id);
    for id in (0..BEYOND).filter(|id| !without(id)) {
        let queued = is_broker(id) && world.queue[usize::from(id)] == Place::Queued;
        let ready = world.rows[usize::from(id)] == Wait::Ready;
        for (broker, waits) in [(true, queued), (false, ready)] {
            let from = From { id, broker };
            if waits && admits(world, from) {
                looks(protocol, world, from, |fails| Step::Take(node, from, fails), steps);
            }
        }
    }
}

fn looks(
    protocol: &Protocol,
    world: &World,
    from: From,
    step: impl Fn(bool) -> Step,
    steps: &mut Vec<Step>,
) {
    steps.push(step(false));
    if may_fail(protocol, world, from) {
        steps.push(step(true));
    }
}

/// Whether the endpoint takes such a delivery now.
fn admits(world: &World, from: From) -> bool {
    match world.endpoint.gate {
        Gate::Open => true,
        Gate::Paused => !from.broker,
        Gate::Halted => false,
    }
}

/// A lane takes a delivery and decides on it.
pub(crate) fn take(protocol: &Protocol, world: &mut World, node: u8, from: From, fails: bool) {
    let place = usize::from(from.id);
    if from.broker {
        let early = !protocol.keeps(Rule::AckAfterCommit);
        world.queue[place] = if early { Place::Acked } else { Place::With(node) };
    } else {
        world.rows[place] = Wait::Claimed(node);
    }
    look_at(protocol, world, node, from, fails);
}

/// A lane loads and decides on what it has.
pub(crate) fn look_at(protocol: &Protocol, world: &mut World, node: u8, from: From, fails: bool) {
    let decided = look(protocol, world, from, fails);
    if decided.what == What::Seen && from.broker {
        set(world, node, Phase::Written(from));
        return;
    }
    if let Some(history) = world.history.as_mut().filter(|_| is_told(decided)) {
        history.ask(Thread::Node(node), Asked::Commit(decided));
    }
    set(world, node, Phase::Decided(decided));
}

fn set(world: &mut World, node: u8, phase: Phase) {
    world.nodes[usize::from(node)].phase = phase;
}

/// The lock; where the rule is broken, the epoch too, before the lock is there.
pub(crate) fn fence(protocol: &Protocol, world: &mut World, node: u8, decided: Decided) {
    let phase = if protocol.keeps(Rule::EpochAfterLock) {
        Phase::Fenced(decided)
    } else {
        Phase::Asking(decided, passes(protocol, world, decided))
    };
    set(world, node, phase);
}

/// The check of the endpoint's row.
pub(crate) fn checked(world: &mut World, node: u8, decided: Decided, passes: bool) {
    if passes {
        set(world, node, Phase::Checked(decided));
    } else {
        refused(world, node, decided);
    }
}

/// The rest of the transaction.
pub(crate) fn written(protocol: &Protocol, world: &mut World, node: u8, decided: Decided) {
    let from = decided.from;
    match write(protocol, world, node, decided) {
        Written::Yes => {
            answer(world, node, decided, Answer::Written);
            committed(protocol, world, node, from);
        }
        Written::Lost => refused(world, node, decided),
        Written::Gone => {
            answer(world, node, decided, Answer::Refused);
            set(world, node, Phase::Idle);
        }
    }
}

/// What follows a commit. A history tells nothing of acks, so there they are no steps.
fn committed(protocol: &Protocol, world: &mut World, node: u8, from: From) {
    if !from.broker {
        set(world, node, Phase::Idle);
    } else if protocol.bounds.desks {
        ack(world, node, from);
    } else {
        set(world, node, Phase::Written(from));
    }
}

/// Halt, purge and quarantine.
pub(crate) fn contained(protocol: &Protocol, world: &mut World, node: u8, decided: Decided) {
    let from = decided.from;
    if contain(protocol, world, node, decided) {
        answer(world, node, decided, Answer::Written);
        committed(protocol, world, node, from);
    } else {
        refused(world, node, decided);
    }
}

/// The batch is decided again, or given back.
fn refused(world: &mut World, node: u8, decided: Decided) {
    answer(world, node, decided, Answer::Refused);
    let from = decided.from;
    let place = usize::from(from.id);
    if !from.broker && world.rows[place] != Wait::Claimed(node) {
        set(world, node, Phase::Idle);
        return;
    }
    let goes_on = world.endpoint.gate != Gate::Halted && world.endpoint.epoch == decided.epoch;
    if goes_on && admits(world, from) {
        set(world, node, Phase::Has(from));
        return;
    }
    if !from.broker {
        world.rows[place] = Wait::Ready;
    } else if world.queue[place] == Place::With(node) {
        world.queue[place] = Place::Queued;
    }
    set(world, node, Phase::Idle);
}

/// Whether the history tells of such a commit: the others leave no trace in the guard's ledger.
fn is_told(decided: Decided) -> bool {
    !matches!(decided.what, What::Seen | What::Ignore)
}

fn answer(world: &mut World, node: u8, decided: Decided, answer: Answer) {
    if let Some(history) = world.history.as_mut().filter(|_| is_told(decided)) {
        history.answer(Thread::Node(node), answer);
    }
}

/// The ack; one of an old generation does nothing.
pub(crate) fn ack(world: &mut World, node: u8, from: From) {
    let place = &mut world.queue[usize::from(from.id)];
    if *place == Place::With(node) {
        *place = Place::Acked;
    }
    set(world, node, Phase::Idle);
}

/// The process dies: its memory is gone, the broker takes its deliveries back, its claims remain.
pub(crate) fn crash(world: &mut World, node: u8) {
    let it = &mut world.nodes[usize::from(node)];
    it.phase = Phase::Idle;
    it.hands.fill(Hand::Empty);
    it.down = true;
    requeue(world, node);
    world.left.crashes -= 1;
}

/// The process stands still until its lease is past and its channel closed, then goes on.
pub(crate) fn stall(world: &mut World, node: u8) {
    for hand in &mut world.nodes[usize::from(node)].hands {
        if *hand == Hand::First {
            *hand = Hand::Later;
        }
    }
    requeue(world, node);
    give_up_claims(world, node);
    world.left.crashes -= 1;
}

/// The lease of a dead node is past; a new process takes its place.
pub(crate) fn expire(world: &mut World, node: u8) {
    give_up_claims(world, node);
    world.nodes[usize::from(node)].down = false;
}

fn requeue(world: &mut World, node: u8) {
    for place in &mut world.queue {
        if *place == Place::With(node) {
            *place = Place::Queued;
        }
    }
}

fn give_up_claims(world: &mut World, node: u8) {
    for row in &mut world.rows {
        if *row == Wait::Claimed(node) {
            *row = Wait::Ready;
        }
    }
    for chunk in &mut world.outbox {
        if *chunk == Chunk::Of(node) {
            *chunk = Chunk::Ready;
        }
    }
}
