//! When the next waiting row is due.

use chrono::{DateTime, Utc};
use knarr_model::ids::{Name, NodeId};

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
