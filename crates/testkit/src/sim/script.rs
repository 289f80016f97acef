//! What is sent in one seed, and when.

use std::sync::Arc;

use knarr_model::{Envelope, InstanceId, MessageId, ids};
use serde_json::value::to_raw_value;
use uuid::Uuid;

use super::dice::Dice;
use super::plan::Plan;
use super::toy::{Close, Count, Disarm, Flaw, Rearm, Start};
use super::world::World;

/// All that is sent.
pub(super) struct Script {
    /// Last first: the wait after it, the message, and how many copies.
    pub(super) lines: Vec<(u64, Arc<Envelope>, u64)>,
    /// The instances that it is for.
    pub(super) instances: Vec<InstanceId>,
}

/// Messages and the times at which they are sent.
type Lines = Vec<(u64, Arc<Envelope>)>;

/// The script of a seed.
pub(super) fn write(world: &World, plan: &Plan) -> Script {
    let mut lines = Lines::new();
    let mut instances = Vec::new();
    for number in 0..plan.instances {
        let id = ids::derived_id(&[b"toy", &plan.seed.to_be_bytes(), &number.to_be_bytes()]);
        instances.push(InstanceId(id));
        one(&world.dice, plan, id, &mut lines);
    }
    lines.sort_by_key(|(at, envelope)| (*at, envelope.message_id));
    let mut script = Vec::with_capacity(lines.len());
    for n in 0..lines.len() {
        let (at, envelope) = &lines[n];
        let next = lines.get(n + 1).map_or(*at, |(at, _)| *at);
        let copies = 1 + u64::from(world.dice.strikes("duplicate", |f| f.duplicate));
        script.push((next - at, envelope.clone(), copies));
    }
    script.reverse();
    Script { lines: script, instances }
}

/// What one instance is sent.
fn one(dice: &Dice, plan: &Plan, correlation_id: Uuid, lines: &mut Lines) {
    let often = if plan.bad_deploy { 2 } else { 10 };
    let dice = |below| dice.below(below);
    let mut say = |at: u64, message: Arc<Envelope>| lines.push((at, message));
    let begins = dice(400);
    let mut at = begins;
    let start = Start {
        correlation_id,
        ticks: dice(4) as u32,
        poison: dice(often) == 0,
        flaw: [Flaw::None, Flaw::None, Flaw::Look, Flaw::Tick][dice(4) as usize],
        lethal: plan.killing_calls && dice(4) == 0,
    };
    let mut number = 0..;
    let mut next = || number.next().unwrap_or_default();
    say(at, envelope(&start, next(), correlation_id));
    for _ in 0..dice(4) {
        // The same content under another id.
        say(begins + 100 + dice(3_000), envelope(&start, next(), correlation_id));
    }
    let poisoned = dice(5) == 0;
    for n in 0..(2 + dice(5)) as u32 {
        at += dice(300);
        let poison = poisoned && n == 2;
        let early = if dice(8) == 0 { at.saturating_sub(600) } else { at };
        let kills = plan.killers && n == 1 && dice(3) == 0;
        let count = Count { correlation_id, n, poison, kills };
        say(early, envelope(&count, next(), correlation_id));
    }
    for _ in 0..dice(5) {
        // Around the time of a tick, so that both are often in one batch.
        let when = begins + 205 + dice(60) + 150 * dice(4);
        let rearm = Rearm { correlation_id, millis: 50 + dice(600) };
        say(when, envelope(&rearm, next(), correlation_id));
    }
    if dice(3) == 0 {
        let when = at.saturating_sub(dice(600));
        say(when, envelope(&Disarm { correlation_id }, next(), correlation_id));
    }
    at += dice(500);
    say(at, envelope(&Close { correlation_id }, next(), correlation_id));
}

/// One more message that ends a run.
pub(super) fn closing(id: InstanceId, round: u64) -> Arc<Envelope> {
    envelope(&Close { correlation_id: id.0 }, 1_000 + round, id.0)
}

fn envelope<M: knarr_model::Message>(message: &M, number: u64, instance: Uuid) -> Arc<Envelope> {
    let id = ids::derived_id(&[b"input", instance.as_bytes(), &number.to_be_bytes()]);
    let raw = to_raw_value(message).expect("a toy message is plain data");
    Arc::new(Envelope::new(MessageId(id), M::urn(), Arc::from(raw)))
}
