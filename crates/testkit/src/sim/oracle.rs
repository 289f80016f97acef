//! The history checker: what must be true once everything has come to rest.
//!
//! The numbers are the invariants of the reliability catalogue: I1 nothing lost, I2 applied once,
//! I3 every committed message published, I8 every call ended, I10 everything comes to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use knarr_model::commit::Outcome;
use knarr_model::incident::IncidentStatus;
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::Status;
use knarr_model::{Class, InstanceId, MessageId, Name};

use super::ledger::Ledger;
use super::toy::{ENDPOINT, Toy};
use super::verbs;
use super::world::World;
use crate::memory::{MemoryStore, Rows};

/// What still keeps the world from rest; empty at rest.
pub(super) fn unrest(world: &World, store: &MemoryStore) -> Vec<String> {
    let (ready, unacked) = world.broker.depth();
    store.with_rows(|rows| {
        let stopped = rows.endpoint.values().filter(|row| row.state != EndpointState::Open);
        [
            ("messages in the queue", ready),
            ("messages not acked", unacked),
            ("parked messages", rows.parked.len()),
            ("outbox rows", rows.outbox.len()),
            ("timers", rows.timer.len()),
            ("calls", rows.activity.len()),
            ("endpoints stopped", stopped.count()),
            ("incidents open", verbs::open(rows).count()),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect()
    })
}

/// Instances whose run goes on.
pub(super) fn live(store: &MemoryStore) -> Vec<InstanceId> {
    store.with_rows(|rows| {
        let rows = rows.instance.values().map(|row| &row.instance);
        rows.filter(|instance| !instance.is_over()).map(|instance| instance.id).collect()
    })
}

/// Checks the history of a world at rest.
pub(super) fn check(world: &Arc<World>, store: &MemoryStore) {
    let rows = store.rows();
    world.log(|| format!("rest: {:?} {:?}", rows.parked.values(), rows.activity.values()));
    let saga: Name = ENDPOINT.into();
    world.judge(|ledger, wrong| {
        all_owed_have_an_outcome(ledger, &rows, &saga, wrong);
        released_once(ledger, &rows, &saga, wrong);
        everything_was_published(ledger, &rows, wrong);
        answers_are_in_the_audit(ledger, &rows, wrong);
    });
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
        counts_match_the_journal(world, &rows, &saga, (*id, instance.run), &toy);
    }
    tombstones_are_told(world, &rows);
    nobody_innocent_is_convicted(world, &rows);
    for row in rows.quarantine.values() {
        if row.body.is_empty() && row.status != Status::Discarded {
            world.violation(format!("{} was set aside without its body", row.message_id));
        }
    }
}

/// I1: each message has exactly one recorded outcome, or is kept with the run that it waited for,
/// or a person gave up what was kept.
fn all_owed_have_an_outcome(ledger: &Ledger, rows: &Rows, saga: &Name, wrong: &mut Vec<String>) {
    let kept: BTreeSet<MessageId> = rows
        .snapshot
        .values()
        .flat_map(|whole| whole.parked.iter().map(|parked| parked.message_id))
        .collect();
    for (id, poison) in &ledger.owed {
        match rows.journal.get(&(saga.clone(), *id)) {
            None if kept.contains(id) || ledger.given_up.contains(id) => {}
            None => wrong.push(format!("I1 message {id} has no outcome")),
            Some(entry) if *poison && entry.row.outcome == Outcome::Applied => {
                wrong.push(format!("poison {id} was applied"));
            }
            Some(_) => {}
        }
    }
}

/// A message let go is decided after that, under an id that nothing had.
fn released_once(ledger: &Ledger, rows: &Rows, saga: &Name, wrong: &mut Vec<String>) {
    for (id, written) in &ledger.released {
        let entry = rows.journal.get(&(saga.clone(), *id));
        if entry.is_some_and(|entry| entry.number <= *written) {
            wrong.push(format!("{id} was let go and never decided: its outcome is older"));
        }
    }
    for row in rows.quarantine.values() {
        let decided = row.released_as.is_none_or(|id| ledger.released.contains_key(&id));
        if !decided && row.status == Status::Released {
            wrong.push(format!(
                "{} was let go as {:?}, unheard of",
                row.message_id, row.released_as
            ));
        }
    }
}

/// Every verb that was answered is there once, and under a key there is one.
fn answers_are_in_the_audit(ledger: &Ledger, rows: &Rows, wrong: &mut Vec<String>) {
    for (id, key, verb) in &ledger.answered {
        let lines: Vec<_> = rows.audit.values().filter(|line| line.id == *id).collect();
        if lines.len() != 1 || lines[0].verb != *verb || lines[0].key != *key {
            wrong.push(format!("{verb} under {key:?} was answered; the audit has {lines:?}"));
        }
    }
    let mut keys = BTreeSet::new();
    for line in rows.audit.values().filter(|line| line.key.is_some()) {
        if !keys.insert(line.key.clone()) {
            wrong.push(format!("two lines of the audit under {:?}", line.key));
        }
    }
}

/// Each tombstone names its incident, which is over, and what it kept is there unless given up.
fn tombstones_are_told(world: &World, rows: &Rows) {
    for row in rows.instance.values().map(|row| &row.instance) {
        if row.state != PURGED {
            continue;
        }
        let incident = row.incident.and_then(|id| rows.incident.get(&id));
        let fits = incident.is_some_and(|incident| match incident.status {
            IncidentStatus::Resolved => rows.snapshot.contains_key(&incident.id),
            IncidentStatus::Discarded => !rows.snapshot.contains_key(&incident.id),
            IncidentStatus::Open | IncidentStatus::Retried => false,
        });
        if !fits || row.book.holds {
            world.violation(format!("tombstone {row:?} rests with {incident:?}"));
        }
    }
}

/// A message is set aside for killing processes only if it does.
fn nobody_innocent_is_convicted(world: &World, rows: &Rows) {
    for row in rows.quarantine.values().filter(|row| row.class == Class::Poison) {
        world.ledger(|ledger| ledger.did("convicted"));
        let body = String::from_utf8_lossy(&row.body);
        if !body.contains("\"kills\":true") {
            world.violation(format!("{} was convicted and kills nobody", row.message_id));
        }
    }
}

/// I2: the applied messages of an instance are numbered without gap or repeat.
fn journal_is_gapless(world: &World, rows: &Rows) {
    let mut numbers: BTreeMap<_, Vec<i64>> = BTreeMap::new();
    for entry in rows.journal.values() {
        if let (Some(instance), Some(seq)) = (entry.row.instance, entry.row.seq) {
            numbers.entry(instance).or_default().push(seq);
        }
    }
    for (instance, mut seqs) in numbers {
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
    (id, run): (InstanceId, u32),
    toy: &Toy,
) {
    let applied = rows
        .journal
        .iter()
        .filter(|((of, _), entry)| {
            of == saga
                && entry.row.instance == Some(id)
                && entry.row.run == Some(run)
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

/// I3: everything that was committed to leave did, but for what runs that stayed purged had waiting.
fn everything_was_published(ledger: &Ledger, rows: &Rows, wrong: &mut Vec<String>) {
    for (id, (sequence, _)) in &ledger.committed {
        let withdrawn = sequence
            .is_some_and(|of| rows.withdrawn.contains(&(ENDPOINT.into(), of.instance, of.run)));
        if !withdrawn && !ledger.left.contains_key(id) {
            wrong.push(format!("I3 message {id} ({sequence:?}) never left"));
        }
    }
    let mut numbers: BTreeMap<_, BTreeSet<i64>> = BTreeMap::new();
    for sequence in ledger.committed.values().filter_map(|(sequence, _)| *sequence) {
        numbers.entry((sequence.instance, sequence.run)).or_default().insert(sequence.n);
    }
    for row in rows.instance.values().map(|row| &row.instance) {
        let all: BTreeSet<i64> = (1..=row.book.produced).collect();
        let have = numbers.remove(&(row.id, row.run)).unwrap_or_default();
        if have != all {
            wrong.push(format!("I3 {} produced {all:?}, committed were {have:?}", row.id));
        }
    }
}
