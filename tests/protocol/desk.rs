//! The operators: whatever can be asked for, at any time, within the bounds.

use crate::history::{Answer, Asked, Place as Thread};
use crate::plan::{carry_out, plan};
use crate::rules::{Protocol, Rule, Verb};
use crate::step::Step;
use crate::words::Id;
use crate::world::World;

/// Every verb with everything it could be asked for.
fn all() -> impl Iterator<Item = Verb> {
    let plain = [Verb::Halt, Verb::Pause, Verb::Resume, Verb::Purge];
    let asides = (0..4 as Id).flat_map(|id| [Verb::Release(id), Verb::Unblock(id), Verb::Drop(id)]);
    let incidents = (0..3).flat_map(|k| [Verb::Retry(k), Verb::Resolve(k), Verb::Discard(k)]);
    plain.into_iter().chain(asides).chain(incidents)
}

/// Steps of the operators that are possible now. What would be refused, or change nothing, is left
/// out unless its answer is judged.
pub(crate) fn steps(protocol: &Protocol, world: &World, steps: &mut Vec<Step>) {
    if world.unburied.is_some() {
        steps.push(Step::Bury);
        return;
    }
    let closes = !world.is_shared() || !protocol.keeps(Rule::Fence);
    let desks = protocol.bounds.desks;
    if closes && desks {
        for desk in 0..2 {
            if world.orders[usize::from(desk)].is_some() {
                steps.push(Step::Do(desk));
            }
        }
    }
    if world.left.orders == 0 || (!closes && !desks) {
        return;
    }
    for verb in all().filter(|verb| world.left.verbs[verb.index()] > 0) {
        if desks {
            // The desks are alike, so the first free one is enough.
            let free = (0..2u8).find(|desk| world.orders[usize::from(*desk)].is_none());
            if !matches!(verb, Verb::Release(1..) | Verb::Unblock(1..) | Verb::Drop(1..)) {
                steps.extend(free.map(|desk| Step::Ask(desk, verb)));
            }
            continue;
        }
        let changes = |made: &crate::words::Plan| {
            made.endpoint != world.endpoint || made.deed != crate::words::Deed::Nothing
        };
        if plan(world, verb).as_ref().is_some_and(changes) {
            steps.push(Step::Order(verb));
        }
    }
}

fn spend(world: &mut World, verb: Verb) {
    world.left.orders -= 1;
    world.left.verbs[verb.index()] -= 1;
}

/// A verb, asked for and carried out at once.
pub(crate) fn order(protocol: &Protocol, world: &mut World, verb: Verb) {
    spend(world, verb);
    if let Some(made) = plan(world, verb) {
        carry_out(protocol, world, &made);
    }
}

/// A verb is asked for at a desk; where the rule is broken the scene is looked at here already.
pub(crate) fn ask(protocol: &Protocol, world: &mut World, desk: u8, verb: Verb) {
    spend(world, verb);
    let early = if protocol.keeps(Rule::SceneUnderFence) { None } else { plan(world, verb) };
    world.orders[usize::from(desk)] = Some((verb, early));
    if let Some(history) = &mut world.history {
        history.ask(Thread::Desk(desk), Asked::Verb(verb));
    }
}

/// It is carried out, and answered.
pub(crate) fn carry(protocol: &Protocol, world: &mut World, desk: u8) {
    let Some((verb, early)) = world.orders[usize::from(desk)].take() else { return };
    let made = early.or_else(|| plan(world, verb));
    if let Some(made) = &made {
        carry_out(protocol, world, made);
    }
    let answer = match made {
        Some(made) => Answer::Done(made.endpoint.gate, made.endpoint.epoch),
        None => Answer::Refused,
    };
    if let Some(history) = &mut world.history {
        history.answer(Thread::Desk(desk), answer);
    }
}
