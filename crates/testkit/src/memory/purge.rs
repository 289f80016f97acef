//! Endpoints and who holds them; the sweeps of finished instances and old journal rows.

use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, Name, NodeId};
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::ports::store::{EndpointRow, EndpointState};

use super::rows::Rows;

/// The row of an endpoint that nobody has stopped yet.
pub(super) fn new_endpoint(name: &Name) -> EndpointRow {
    EndpointRow {
        name: name.clone(),
        state: EndpointState::Open,
        epoch: 1,
        guard_version: 0,
        stop: None,
        holder: None,
        watched_until: None,
        restored_at: None,
    }
}

/// The endpoint's row, made if there is none.
pub(super) fn endpoint<'a>(rows: &'a mut Rows, name: &Name) -> &'a mut EndpointRow {
    rows.endpoint.entry(name.clone()).or_insert_with(|| new_endpoint(name))
}

/// Gives the endpoint to a live node if nobody alive holds it.
pub(super) fn hold(rows: &mut Rows, now: DateTime<Utc>, name: &Name, node: NodeId) -> EndpointRow {
    let holder = endpoint(rows, name).holder;
    let free = holder.is_none_or(|holder| !rows.is_alive(holder, now));
    let takes = free && rows.is_alive(node, now);
    let row = endpoint(rows, name);
    if takes {
        row.holder = Some(node);
    }
    row.clone()
}

/// Deletes old finished instances of which nothing waits; a key that was used again stays, free, so
/// that its next owner does not bear the id of an earlier one.
pub(super) fn sweep_finished(rows: &mut Rows, before: DateTime<Utc>, limit: usize) -> u64 {
    let waits = |saga: &Name, id: InstanceId| {
        rows.parked.values().any(|held| held.row.saga == *saga && held.row.instance == Some(id))
            || rows.timer.values().any(|held| held.row.saga == *saga && held.row.instance == id)
            || rows
                .activity
                .values()
                .any(|held| held.task.saga == *saga && held.task.instance == id)
    };
    let mut old: Vec<_> = rows
        .instance
        .iter()
        .filter(|((saga, id), row)| {
            let instance = &row.instance;
            let finished = instance.state == FINAL && instance.incident.is_none();
            finished && row.updated_at < before && !waits(saga, *id)
        })
        .map(|(place, row)| (row.updated_at, place.clone()))
        .collect();
    old.sort();
    old.truncate(limit);
    for (_, (saga, id)) in &old {
        rows.instance.remove(&(saga.clone(), *id));
        rows.correlation
            .retain(|(of, _), key| of != saga || key.instance != *id || key.generation > 1);
        for ((of, _), key) in &mut rows.correlation {
            key.free |= of == saga && key.instance == *id;
        }
    }
    old.len() as u64
}

pub(super) fn sweep(rows: &mut Rows, before: DateTime<Utc>, limit: usize) -> u64 {
    let mut old: Vec<_> = rows
        .journal
        .iter()
        .filter(|((saga, message), entry)| {
            let row = &entry.row;
            let lives = row.instance.is_some_and(|id| {
                let found = rows.instance.get(&(saga.clone(), id));
                // The row that finished an instance is what a sweep of instances finds it by.
                let finished = row.to_state.as_deref() == Some(FINAL);
                let stays = |state: &str| state != PURGED && (state != FINAL || finished);
                found.is_some_and(|row| stays(&row.instance.state))
            });
            // A parked copy would be decided again.
            let waits = || {
                rows.parked
                    .values()
                    .any(|held| held.row.saga == *saga && held.row.message_id == *message)
            };
            row.at < before && !lives && !waits()
        })
        .map(|(place, entry)| (entry.number, place.clone()))
        .collect();
    old.sort();
    old.truncate(limit);
    for (_, place) in &old {
        rows.journal.remove(place);
    }
    old.len() as u64
}
