//! Runs with everything around them, as hard to keep as they may be.

use knarr_model::commit::{Key, KeyWrite, Slice};
use knarr_model::ids::InstanceId;
use knarr_model::ids::MessageId;
use knarr_model::incident::Whole;
use knarr_model::instance::Instance;
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, Outgoing, ParkedReason, Sequence};

use super::world::GuardWorld;
use crate::conformance::store::exact::hard_slice;
use crate::conformance::store::world::{HARD_TEXT, key, raw};

/// The run that `full` makes.
pub(super) const RUN: u32 = 7;

/// A run that has one of everything.
pub(super) struct Full {
    /// The instance.
    pub(super) id: InstanceId,
    /// Its keys: one that it owns, one that it has freed.
    pub(super) keys: [Key; 2],
    /// What it has sent and nobody has confirmed, in order.
    pub(super) unsent: Vec<MessageId>,
    /// A fault and a message of an earlier run that share its chunk.
    pub(super) others: Vec<MessageId>,
    /// Its messages that are parked, in order.
    pub(super) parked: Vec<MessageId>,
}

/// Makes a run with data, start message, keys, timers, calls (waiting with a memo; ended), parked
/// messages of several kinds, and unsent messages among others'.
pub(super) async fn full(world: &GuardWorld) -> Full {
    let id = InstanceId(world.id());
    let mut slice = hard_slice(world, id);
    slice.quarantine = Vec::new();
    let keys = [key("number", &format!("{id} {HARD_TEXT}")), key("old", &format!("{id}"))];
    slice.keys =
        [(&keys[0], false), (&keys[1], true)].map(|(key, free)| write(&slice, key, free)).to_vec();
    slice.timers.push(world.timer(id, 3_600_000));
    slice.tasks.push(world.call(id, "Look", -2_000));
    slice.timers.iter_mut().for_each(|timer| timer.run = RUN);
    slice.tasks.iter_mut().for_each(|task| task.run = RUN);
    slice.parked.insert(0, world.parked(Some(id), 9, ParkedReason::Held, None));
    slice.parked.push(world.parked(Some(id), 1, ParkedReason::Retry, Some(3_600_000)));
    let (unsent, others) = messages(world, id, &mut slice.outgoing);
    let mut parked: Vec<_> = slice.parked.iter().map(|row| (row.seq, row.message_id)).collect();
    parked.sort_unstable();
    let parked = parked.into_iter().map(|(_, message)| message).collect();
    let ends = slice.tasks[1].id;
    world.commit(vec![slice]).await;
    end_call(world, ends).await;
    Full { id, keys, unsent, others, parked }
}

/// Makes a run that has one of everything.
pub async fn full_run(world: &GuardWorld) -> InstanceId {
    full(world).await.id
}

fn write(slice: &Slice, key: &Key, free: bool) -> KeyWrite {
    let by = slice.journal[0].message_id;
    KeyWrite { key: key.clone(), generation: 1, free, by, by_start: true }
}

/// Two messages of the run, with a fault and a message of the run before between them.
fn messages(
    world: &GuardWorld,
    id: InstanceId,
    outgoing: &mut Vec<Outgoing>,
) -> (Vec<MessageId>, Vec<MessageId>) {
    let of_run = |run, n| Some(Sequence { instance: id, run, n });
    outgoing[0].sequence = of_run(RUN, 1);
    outgoing.push(Outgoing { sequence: None, ..world.outgoing(id, 2) });
    outgoing.push(Outgoing { sequence: of_run(RUN - 1, 5), ..world.outgoing(id, 3) });
    outgoing.push(Outgoing { sequence: of_run(RUN, 2), ..world.outgoing(id, 4) });
    let id = |n: usize| outgoing[n].id;
    (vec![id(0), id(3)], vec![id(1), id(2)])
}

/// Claims the calls, ends one, and gives the others back with a memo.
async fn end_call(world: &GuardWorld, ends: knarr_model::RowId) {
    let claimed = world.claim_calls(world.store(), world.node).await;
    let records: Vec<_> = claimed
        .iter()
        .map(|task| {
            let outcome = if task.id == ends {
                AttemptOutcome::Ended(CallEnd::Done(raw("{ \"a\" : 1.0 }")))
            } else {
                let memo = Some(serde_json::json!({"left": HARD_TEXT}));
                AttemptOutcome::Again { due_at: world.at(-500), memo, used: true }
            };
            AttemptRecord { task: task.id, claims: task.claims, outcome }
        })
        .collect();
    let taken = world.store().record(world.node, &records).await.expect("it is recorded");
    assert!(!taken.is_empty() && taken.iter().all(|taken| *taken));
}

/// Everything about a run as text and bytes, but for its version, which rises.
pub(super) fn told(whole: &Whole) -> (String, String, Vec<u8>) {
    let instance = Instance { version: 0, ..whole.instance.clone() };
    Whole { instance, ..whole.clone() }.encode().expect("it can be written")
}

/// The messages of all chunks of both nodes, in order.
pub(super) async fn leaving(world: &GuardWorld) -> Vec<MessageId> {
    let mut messages = Vec::new();
    for node in [world.node, world.other] {
        let chunks = world.store().own_chunks(node, &[]).await.expect("chunks are read");
        messages.extend(chunks.iter().flat_map(|chunk| &chunk.messages).map(|message| message.id));
    }
    messages
}
