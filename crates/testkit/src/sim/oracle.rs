//! The history checker: what must be true once everything has come to rest.
//!
//! The numbers are the invariants of the reliability catalogue: I1 nothing lost, I2 applied once,
//! I3 every committed message published, I8 every call ended, I10 everything comes to rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_model::commit::Outcome;
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::{MessageId, Name};

use super::toy::{ENDPOINT, Toy};
use super::world::World;
use crate::memory::{MemoryStore, Rows};

/// What still keeps the world from rest; empty at rest.
pub(super) fn unrest(world: &World, store: &MemoryStore) -> Vec<String> {
    let (ready, unacked) = world.broker.depth();
    store.with_rows(|rows| {
        [
            ("messages in the queue", ready),
            ("messages not acked", unacked),
            ("parked messages", rows.parked.len()),
            ("outbox rows", rows.outbox.len()),
            ("timers", rows.timer.len()),
            ("calls", rows.activity.len()),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect()
    })
}

/// Checks the history of a world at rest.
pub(super) fn check(world: &Arc<World>, store: &MemoryStore, inputs: &BTreeMap<MessageId, bool>) {
    let rows = store.rows();
    world.log(|| format!("rest: {:?} {:?}", rows.parked.values(), rows.activity.values()));
    let saga: Name = ENDPOINT.into();
    inputs_have_one_outcome(world, &rows, &saga, inputs);
    journal_is_gapless(world, &rows);
    for ((_, id), row) in &rows.instance {
        let instance = &row.instance;
        if instance.state == PURGED {
            continue;
        }
        if instance.state != FINAL {
            world.violation(format!("I10 {id} rests in state {}", instance.state));
        }
        let Ok(toy) = serde_json::from_str::<Toy>(instance.data.get()) else {
            world.violation(format!("{id} has unreadable data"));
            continue;
        };
        for wrong in &toy.wrong {
            world.violation(format!("{id}: {wrong}"));
        }
        if toy.ends.len() != 2 || toy.joined != 1 {
            world.violation(format!("I8 {id} ended with {:?}, joined {}", toy.ends, toy.joined));
        }
        counts_match_the_journal(world, &rows, &saga, *id, &toy);
    }
    everything_was_published(world, &rows);
    for row in rows.quarantine.values() {
        if row.body.is_empty() {
            world.violation(format!("{} was set aside without its body", row.message_id));
        }
    }
}

/// I1: each input has exactly one recorded outcome.
fn inputs_have_one_outcome(
    world: &World,
    rows: &Rows,
    saga: &Name,
    inputs: &BTreeMap<MessageId, bool>,
) {
    for (id, poison) in inputs {
        match rows.journal.get(&(saga.clone(), *id)) {
            None => world.violation(format!("I1 message {id} has no outcome")),
            Some(entry) => {
                if *poison && entry.row.outcome == Outcome::Applied {
                    world.violation(format!("poison {id} was applied"));
                }
            }
        }
    }
}

/// I2: the applied messages of an instance are numbered without gap or repeat.
fn journal_is_gapless(world: &World, rows: &Rows) {
    let mut numbers: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for entry in rows.journal.values() {
        if let (Some(instance), Some(seq)) = (entry.row.instance, entry.row.seq) {
            numbers.entry((instance, entry.row.run)).or_default().push(seq);
        }
    }
    for ((instance, _), mut seqs) in numbers {
        seqs.sort_unstable();
        let expected: Vec<i64> = (1..=seqs.len() as i64).collect();
        if seqs != expected {
            world.violation(format!("I2 the journal of {instance} is numbered {seqs:?}"));
        }
    }
}

/// I2: the data of an instance agree with its journal.
fn counts_match_the_journal(
    world: &World,
    rows: &Rows,
    saga: &Name,
    id: knarr_model::InstanceId,
    toy: &Toy,
) {
    let applied = rows
        .journal
        .iter()
        .filter(|((of, _), entry)| {
            of == saga
                && entry.row.instance == Some(id)
                && entry.row.outcome == Outcome::Applied
                && entry.row.event == "Toy:Count"
        })
        .count();
    if applied != toy.counted.len() {
        world.violation(format!(
            "I2 {id} counted {:?} but its journal has {applied} counts applied",
            toy.counted
        ));
    }
}

/// I3: every number of every run reached the outside.
fn everything_was_published(world: &World, rows: &Rows) {
    let outside = world.outside();
    for ((_, id), row) in &rows.instance {
        let instance = &row.instance;
        for n in 1..=instance.book.produced {
            let sequence = knarr_model::work::Sequence { instance: *id, run: instance.run, n };
            if !outside.contains_key(&sequence) {
                world.violation(format!("I3 message {n} of {id} never left"));
            }
        }
    }
    for sequence in outside.keys() {
        let produced = rows
            .instance
            .get(&(ENDPOINT.into(), sequence.instance))
            .map_or(0, |row| row.instance.book.produced);
        if sequence.n > produced {
            world.violation(format!("I3 message {sequence:?} left but was never committed"));
        }
    }
}
