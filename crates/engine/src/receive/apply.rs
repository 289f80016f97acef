//! What an applied decision writes: its journal row, its run's beginning or end, keys, effects.

use knarr_model::commit::{JournalRow, Key, KeyRow, KeyWrite, Origin, Outcome};
use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::{Instance, InstanceId, digest};
use knarr_saga::definition::{Decision, Target};

use super::effects;
use super::fold::Fold;
use crate::delivery::{Body, Incoming};

/// Folds an applied decision: journal, effects, and what begins or ends with it.
pub(super) fn apply(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    decision: Decision,
) {
    let key = Some(instance);
    let Some(saved) = fold.saved_after(incoming, instance) else { return };
    let begins = decision.from == INITIAL;
    let ends = decision.to == FINAL && decision.from != FINAL;
    let journal = JournalRow {
        message_id: incoming.id,
        digest: incoming.digest,
        instance: key,
        run: Some(saved.run),
        seq: Some(saved.book.applied),
        event: decision.event.clone(),
        from_state: Some(decision.from.clone()),
        to_state: Some(decision.to.clone()),
        outcome: Outcome::Applied,
        at: fold.at.now,
    };
    fold.finish(incoming, key, Some(journal));
    if begins {
        begin(fold, incoming, &saved);
    }
    take_keys(fold, incoming, &saved, begins);
    if ends {
        free_keys(fold, incoming, &saved);
    }
    let moved = decision.from != decision.to;
    let draft = fold.draft(key);
    draft.changed = true;
    draft.last_applied = Some(incoming.id);
    if ends {
        draft.slice.forget_origin = Some(saved.run);
    }
    if moved {
        fold.wake_deferred(instance);
    }
    effects::fold(fold, incoming, &saved, decision.effects);
}

/// A run begins: its start message is kept until it ends.
fn begin(fold: &mut Fold<'_>, incoming: &Incoming, saved: &Instance) {
    let Body::Message { envelope, correlated } = &incoming.body else { return };
    let saga = fold.at.saga.name().clone();
    let fingerprint = digest::fingerprint(&saga, &correlated.urn, &envelope.message);
    let origin =
        Origin { run: saved.run, message_id: incoming.id, fingerprint, envelope: envelope.clone() };
    fold.draft(Some(saved.id)).slice.origin = Some(origin);
}

/// Business keys that are in the book and not yet this instance's are taken, by the start message
/// or by a behaviour that asked for one.
fn take_keys(fold: &mut Fold<'_>, incoming: &Incoming, saved: &Instance, begins: bool) {
    let stored = fold.at.loaded.instances.get(&saved.id);
    let owned = stored.map(|instance| instance.book.keys.clone()).unwrap_or_default();
    for (name, value) in &saved.book.keys {
        let key = Key { name: name.clone(), value: value.clone() };
        let known = fold.keys.get(&key).copied();
        let ours = known.is_some_and(|row| row.instance == saved.id && !row.free);
        if ours || owned.contains(&(name.clone(), value.clone())) {
            continue;
        }
        let generation = known.map_or(0, |row| row.generation) + 1;
        let taken = KeyRow { instance: saved.id, generation, free: false };
        fold.keys.insert(key.clone(), taken);
        let by = incoming.id;
        // Only the key that the message itself names can be lost to another starter.
        let by_start = begins && names(incoming, &key);
        let write = KeyWrite { key, generation, free: false, by, by_start };
        fold.draft(Some(saved.id)).slice.keys.push(write);
    }
}

/// Whether a message finds its instance by this key.
fn names(incoming: &Incoming, key: &Key) -> bool {
    matches!(&incoming.body, Body::Message { correlated, .. }
        if matches!(&correlated.target, Target::Key(of) if of == key))
}

/// A run ends: keys that may be used again are freed.
fn free_keys(fold: &mut Fold<'_>, incoming: &Incoming, saved: &Instance) {
    for (name, value) in &saved.book.keys {
        let key = Key { name: name.clone(), value: value.clone() };
        if !fold.at.saga.key_is_reusable(name) {
            continue;
        }
        let Some(row) = fold.keys.get_mut(&key) else { continue };
        row.free = true;
        let generation = row.generation;
        let write = KeyWrite { key, generation, free: true, by: incoming.id, by_start: false };
        let slice = &mut fold.draft(Some(saved.id)).slice;
        slice.keys.retain(|earlier| earlier.key != write.key);
        slice.keys.push(write);
    }
}
