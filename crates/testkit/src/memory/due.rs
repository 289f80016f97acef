//! When the next waiting row is due.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_model::ids::{Name, NodeId};
use knarr_model::ports::store::Unclaimed;

use super::parked;
use super::rows::Rows;

/// When the next row that no live node holds is due.
pub(super) fn next_due(
    rows: &Rows,
    now: DateTime<Utc>,
    endpoints: &[Name],
) -> Option<DateTime<Utc>> {
    let loose = |by: Option<NodeId>| by.is_none_or(|node| !rows.is_alive(node, now));
    let timers = rows
        .timer
        .values()
        .filter(|held| loose(held.by) && endpoints.contains(&held.row.endpoint))
        .map(|held| held.row.due_at);
    let calls = rows
        .activity
        .values()
        .filter(|held| loose(held.by) && endpoints.contains(&held.task.endpoint))
        .map(|held| held.task.due_at);
    let parked = parked::heads(rows)
        .into_iter()
        .filter(|held| loose(held.by) && endpoints.contains(&held.row.endpoint))
        .filter_map(|held| held.row.due_at);
    timers.chain(calls).chain(parked).min()
}

/// Rows due before `before` that no live node holds, by endpoint and call.
pub(super) fn unclaimed(rows: &Rows, now: DateTime<Utc>, before: DateTime<Utc>) -> Vec<Unclaimed> {
    let loose = |by: Option<NodeId>| by.is_none_or(|node| !rows.is_alive(node, now));
    let timers =
        rows.timer.values().map(|held| (&held.row.endpoint, None, held.by, Some(held.row.due_at)));
    let calls = rows.activity.values().map(|held| {
        let call = held.end.is_none().then(|| held.task.call.clone());
        (&held.task.endpoint, call, held.by, Some(held.task.due_at))
    });
    let parked = parked::heads(rows)
        .into_iter()
        .map(|held| (&held.row.endpoint, None, held.by, held.row.due_at));
    let mut found: BTreeMap<(Name, Option<String>), u64> = BTreeMap::new();
    for (endpoint, call, by, due) in timers.chain(calls).chain(parked) {
        if loose(by) && rows.gives_out(endpoint) && due.is_some_and(|due| due < before) {
            *found.entry((endpoint.clone(), call)).or_default() += 1;
        }
    }
    let row = |((endpoint, call), rows)| Unclaimed { endpoint, call, rows };
    found.into_iter().map(row).collect()
}
