//! What a commit may and must have done, looked at in the instant in which it is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_model::commit::{Commit, JournalRow, Origin, Outcome, Slice};
use knarr_model::incident::BlockBy;
use knarr_model::instance::PURGED;
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::{Instance, InstanceId};

use super::world::World;
use crate::memory::{MemoryStore, Rows};

/// What a commit finds.
pub(super) struct Before {
    endpoint: Option<EndpointRow>,
    instances: BTreeMap<InstanceId, Instance>,
}

/// What the store has of all that a commit is about.
pub(super) fn before(store: &MemoryStore, commit: &Commit) -> Before {
    store.with_rows(|rows| {
        let found = |id: InstanceId| {
            let row = rows.instance.get(&(commit.saga.clone(), id))?;
            Some((id, row.instance.clone()))
        };
        Before {
            endpoint: rows.endpoint.get(&commit.endpoint).cloned(),
            instances: commit.slices.iter().filter_map(|slice| found(slice.key?)).collect(),
        }
    })
}

/// Looks at a commit that was carried out.
pub(super) fn check(
    world: &Arc<World>,
    store: &MemoryStore,
    commit: &Commit,
    lost: &[InstanceId],
    before: &Before,
) {
    let mut said = Vec::new();
    if let Some(row) = &before.endpoint {
        if row.epoch != commit.epoch {
            said.push(format!("I5 a commit at old epoch {}", commit.epoch));
        }
        if row.state == EndpointState::Halted {
            said.push("I5 a commit while the endpoint was halted".to_owned());
        }
        if row.state == EndpointState::Probing && row.holder != Some(commit.node) {
            said.push(format!(
                "{} committed while {:?} tried the endpoint",
                commit.node, row.holder
            ));
        }
        if row.guard_version != commit.guard_version {
            said.push(format!("a commit at old guard version {}", commit.guard_version));
        }
    }
    store.with_rows(|rows| {
        world.judge(|ledger, wrong| {
            wrong.append(&mut said);
            for slice in commit.slices.iter().filter(|s| s.key.is_none_or(|id| !lost.contains(&id)))
            {
                let of_release = |origin: &Origin| ledger.released.contains_key(&origin.message_id);
                blocked(rows, slice, slice.origin.as_ref().is_some_and(of_release), wrong);
                let Some(id) = slice.key else { continue };
                let was = before.instances.get(&id);
                let version = was.map_or(0, |was| was.version);
                ledger.versioned(id, version, wrong);
                let row = rows.instance.get(&(commit.saga.clone(), id));
                let is = row.map_or(0, |row| row.instance.version);
                let written = i64::from(slice.instance.is_some());
                if is != version + written {
                    wrong.push(format!("I4 {id} went from version {version} to {is}"));
                }
                ledger.versioned(id, is, wrong);
                after_purge(slice, was, wrong);
                let by_release = |row: &JournalRow| ledger.released.contains_key(&row.message_id);
                let released = slice.journal.iter().any(by_release);
                next_run(slice, was, released, wrong);
                let restarts =
                    was.is_some() && slice.instance.as_ref().is_some_and(|is| is.run > 1);
                if restarts && was.is_some_and(Instance::is_over) {
                    ledger.did("run begun by a release");
                }
            }
            for row in commit.slices.iter().flat_map(|slice| &slice.journal) {
                let blocked = row.outcome == Outcome::Quarantined && row.from_state.is_none();
                let set_aside = commit.slices.iter().flat_map(|slice| &slice.quarantine);
                let own = set_aside.filter(|kept| kept.message_id == row.message_id).count();
                if blocked && own == 0 {
                    ledger.did("blocked copy");
                    if ledger.released.contains_key(&row.message_id) {
                        wrong.push(format!("{} was let go and then blocked", row.message_id));
                    }
                }
                if row.outcome == Outcome::Absorbed {
                    ledger.did("absorbed");
                }
            }
        });
    });
}

/// Nothing that is blocked starts a run.
fn blocked(rows: &Rows, slice: &Slice, released: bool, wrong: &mut Vec<String>) {
    let Some(origin) = &slice.origin else { return };
    if rows.block.values().any(|block| block.lets == Some(origin.message_id)) {
        return;
    }
    let print: String = origin.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    for block in rows.block.values().filter(|_| !released) {
        let meets = match block.by {
            BlockBy::Fingerprint => block.value == print,
            BlockBy::Id => block.value == origin.message_id.to_string(),
            BlockBy::Off => false,
        };
        if meets {
            wrong.push(format!("{} started a run though {block:?}", origin.message_id));
        }
    }
}

/// I6: a purged run gets no transition; only the guard changes its tombstone.
fn after_purge(slice: &Slice, was: Option<&Instance>, wrong: &mut Vec<String>) {
    let Some(stone) = was.filter(|was| was.state == PURGED) else { return };
    let applied = |row: &&JournalRow| row.outcome == Outcome::Applied && row.run == Some(stone.run);
    for row in slice.journal.iter().filter(applied) {
        wrong.push(format!("I6 purged run {} of {} took {}", stone.run, stone.id, row.event));
    }
    let changed = slice.instance.as_ref().filter(|is| is.run == stone.run);
    if changed.is_some_and(|is| is.state != PURGED || is.incident != stone.incident) {
        wrong.push(format!("I6 a commit changed the tombstone of {}", stone.id));
    }
}

/// A run is followed by the next one only, when it is over, by a release.
fn next_run(slice: &Slice, was: Option<&Instance>, released: bool, wrong: &mut Vec<String>) {
    let (Some(was), Some(is)) = (was, &slice.instance) else { return };
    if is.run == was.run {
        return;
    }
    if is.run != was.run + 1 || !was.is_over() || !released {
        wrong.push(format!(
            "run {} of {} ({}) was followed by run {}, by a release: {released}",
            was.run, was.id, was.state, is.run
        ));
    }
}
