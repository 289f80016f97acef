//! One batch's writes: first everything is asked, then everything is written.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use knarr_model::commit::{Again, Commit, CommitOutcome, Key, KeyRow, KeyWrite, Slice};
use knarr_model::ids::{InstanceId, MessageId, Name, NodeId, RowId, derived_id};
use knarr_model::ports::store::EndpointState;
use knarr_model::work::{Chunk, ClaimedRow, ParkedReason, RowKind};

use super::rows::{CallRow, Claimed, InstanceRow, JournalEntry, Mutations, OutboxRow, Rows};
use super::scene::owns;

pub(super) fn commit(
    rows: &mut Rows,
    now: DateTime<Utc>,
    mutations: Mutations,
    commit: Commit,
) -> CommitOutcome {
    if let Some(refused) = fence(rows, mutations, &commit) {
        return refused;
    }
    let lost = match versions(rows, mutations, &commit) {
        Ok(lost) => lost,
        Err(swept) => return CommitOutcome::Swept(swept),
    };
    let Commit { endpoint, saga, node, slices, chunk_ids, finished_chunks, .. } = commit;
    let kept: Vec<Slice> = slices
        .into_iter()
        .filter(|slice| slice.key.is_none_or(|key| !lost.contains(&key)))
        .collect();
    let known = duplicates(rows, &saga, &kept);
    if !known.is_empty() {
        return CommitOutcome::Duplicates(known);
    }
    let gone = gone(rows, node, &kept);
    if !gone.is_empty() && !mutations.skip_taken_check {
        return CommitOutcome::Gone(gone);
    }
    let keys = match keys(rows, &saga, &kept) {
        Ok(keys) => keys,
        Err(taken) => return taken,
    };
    for (key, row) in keys {
        rows.correlation.insert((saga.clone(), key), row);
    }
    let mut outgoing = Vec::new();
    for mut slice in kept {
        outgoing.append(&mut slice.outgoing);
        write(rows, now, mutations, &saga, slice);
    }
    for id in finished_chunks {
        rows.outbox.remove(&id);
    }
    let mut ids = chunk_ids.into_iter();
    let mut last = RowId(uuid::Uuid::nil());
    let chunks = Chunk::split(&endpoint, outgoing, || {
        // Too few ids were given: the rest follow from the last one.
        last = ids.next().unwrap_or_else(|| RowId(derived_id(&[b"chunk", last.as_bytes()])));
        last
    });
    for chunk in &chunks {
        let number = rows.next_number();
        rows.outbox.insert(chunk.id, OutboxRow { chunk: chunk.clone(), node, number });
    }
    CommitOutcome::Committed { lost, chunks }
}

fn fence(rows: &Rows, mutations: Mutations, commit: &Commit) -> Option<CommitOutcome> {
    let row = rows.endpoint.get(&commit.endpoint);
    let open =
        row.is_some_and(|row| row.epoch == commit.epoch && row.state != EndpointState::Halted);
    let held = !commit.ordered || row.is_some_and(|row| row.holder == Some(commit.node));
    if (!open || !held) && !mutations.skip_fence {
        return Some(CommitOutcome::Fenced);
    }
    let same = row.is_none_or(|row| row.guard_version == commit.guard_version);
    (!same).then_some(CommitOutcome::GuardChanged)
}

/// Which slices lose; or, as an error, which instances were swept.
fn versions(
    rows: &Rows,
    mutations: Mutations,
    commit: &Commit,
) -> Result<Vec<InstanceId>, Vec<InstanceId>> {
    let (mut lost, mut swept) = (Vec::new(), Vec::new());
    if mutations.skip_version_check {
        return Ok(lost);
    }
    for instance in commit.slices.iter().filter_map(|slice| slice.instance.as_ref()) {
        match rows.instance.get(&(commit.saga.clone(), instance.id)) {
            Some(row) if row.instance.version == instance.version - 1 => {}
            Some(_) => lost.push(instance.id),
            None if instance.version == 1 => {}
            None => swept.push(instance.id),
        }
    }
    if swept.is_empty() { Ok(lost) } else { Err(swept) }
}

/// Messages that have an outcome, or are parked, already.
fn duplicates(rows: &Rows, saga: &Name, slices: &[Slice]) -> Vec<MessageId> {
    let parked: BTreeSet<MessageId> = rows
        .parked
        .values()
        .filter(|held| held.row.saga == *saga)
        .map(|held| held.row.message_id)
        .collect();
    let mut seen = BTreeSet::new();
    let mut again = BTreeSet::new();
    for slice in slices {
        for row in &slice.journal {
            let known = rows.journal.contains_key(&(saga.clone(), row.message_id));
            if known || !seen.insert(row.message_id) {
                again.insert(row.message_id);
            }
        }
    }
    seen.clear();
    for row in slices.iter().flat_map(|slice| &slice.parked) {
        if parked.contains(&row.message_id) || !seen.insert(row.message_id) {
            again.insert(row.message_id);
        }
    }
    again.into_iter().collect()
}

/// Internal deliveries that are not the node's (any more).
fn gone(rows: &Rows, node: NodeId, slices: &[Slice]) -> Vec<RowId> {
    slices
        .iter()
        .flat_map(|slice| {
            let again = slice.again.iter().map(|again| again.row);
            slice.taken.iter().copied().chain(again)
        })
        .filter(|row| !owns(rows, node, *row))
        .map(|row| row.id)
        .collect()
}

/// The keys as they will be; or the first that is another's.
fn keys(
    rows: &Rows,
    saga: &Name,
    slices: &[Slice],
) -> Result<BTreeMap<Key, KeyRow>, CommitOutcome> {
    let mut after: BTreeMap<Key, KeyRow> = BTreeMap::new();
    for slice in slices {
        let Some(instance) = slice.key else { continue };
        let last: BTreeMap<&Key, &KeyWrite> =
            slice.keys.iter().map(|write| (&write.key, write)).collect();
        for (key, write) in last {
            let stored = rows.correlation.get(&(saga.clone(), key.clone()));
            let allowed = !after.contains_key(key)
                && stored.is_none_or(|row| {
                    (row.free && row.generation == write.generation - 1)
                        || (row.instance == instance && row.generation == write.generation)
                });
            if !allowed {
                let (by, by_start) = (write.by, write.by_start);
                return Err(CommitOutcome::KeyTaken { by, key: key.clone(), by_start });
            }
            let row = KeyRow { instance, generation: write.generation, free: write.free };
            after.insert(key.clone(), row);
        }
    }
    Ok(after)
}

/// Writes a slice, all of whose conditions hold. What it both makes and removes never existed.
fn write(rows: &mut Rows, now: DateTime<Utc>, mutations: Mutations, saga: &Name, slice: Slice) {
    // Rows parked, or parked again, by this very slice already know what they wait for.
    for (wakes, reason) in
        [(slice.wakes_deferred, ParkedReason::Deferred), (slice.wakes_held, ParkedReason::Held)]
    {
        for held in rows.parked.values_mut().filter(|_| wakes) {
            let meant = held.row.saga == *saga && held.row.instance == slice.key;
            let again = slice.again.iter().any(|again| again.row.id == held.row.id);
            if meant && !again && held.row.reason == reason {
                held.row.due_at = Some(now);
            }
        }
    }
    if let Some(id) = slice.key {
        let place = |run: u32| (saga.clone(), id, run);
        if let Some(origin) = slice.origin.filter(|o| slice.forget_origin != Some(o.run)) {
            rows.origin.insert(place(origin.run), origin);
        }
        if let Some(run) = slice.forget_origin {
            rows.origin.remove(&place(run));
        }
    }
    if let Some(instance) = slice.instance {
        let place = (saga.clone(), instance.id);
        rows.instance.insert(place, InstanceRow { instance, updated_at: now });
    }
    if !mutations.skip_journal_insert {
        for row in slice.journal {
            let number = rows.next_number();
            rows.journal.insert((saga.clone(), row.message_id), JournalEntry { row, number });
        }
    }
    rows.timer.extend(slice.timers.into_iter().map(|row| (row.id, Claimed { row, by: None })));
    rows.activity.extend(slice.tasks.into_iter().map(|task| (task.id, CallRow::asked(task))));
    for id in slice.cancelled_timers {
        rows.timer.remove(&id);
    }
    for id in slice.cancelled_tasks {
        rows.activity.remove(&id);
    }
    rows.parked.extend(slice.parked.into_iter().map(|row| (row.id, Claimed { row, by: None })));
    for again in slice.again {
        wait_again(rows, again);
    }
    for ClaimedRow { kind, id, .. } in slice.taken {
        match kind {
            RowKind::Timer => drop(rows.timer.remove(&id)),
            RowKind::Call => drop(rows.activity.remove(&id)),
            RowKind::Parked => drop(rows.parked.remove(&id)),
        }
    }
    for row in &slice.quarantine {
        rows.set_aside(row);
    }
    // It knows no SQL: cases and stories look at what would have been carried out.
    rows.statements.extend(slice.statements);
}

fn wait_again(rows: &mut Rows, again: Again) {
    let Again { row: ClaimedRow { kind, id, .. }, due_at, attempt, error, reason, place } = again;
    match kind {
        RowKind::Timer => {
            if let Some(held) = rows.timer.get_mut(&id) {
                held.by = None;
                held.row.attempt = attempt;
                held.row.due_at = due_at.unwrap_or(held.row.due_at);
            }
        }
        RowKind::Call => {
            if let Some(held) = rows.activity.get_mut(&id) {
                held.by = None;
                held.decide_attempt = attempt;
                held.task.due_at = due_at.unwrap_or(held.task.due_at);
            }
        }
        RowKind::Parked => {
            if let Some(held) = rows.parked.get_mut(&id) {
                held.by = None;
                held.row.attempt = attempt;
                held.row.due_at = due_at;
                held.row.error = error;
                held.row.reason = reason.unwrap_or(held.row.reason);
                if let Some((instance, seq)) = place {
                    (held.row.instance, held.row.seq) = (Some(instance), seq);
                }
            }
        }
    }
}
