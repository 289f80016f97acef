//! Whether something in the store still happens by itself.

use chrono::{DateTime, Utc};
use knarr_testkit::memory::Rows;

/// What still happens by itself.
pub(super) fn still_due(rows: &Rows, now: DateTime<Utc>, running: usize) -> Option<String> {
    if rows.timer.values().any(|held| held.row.due_at <= now && rows.gives_out(&held.row.endpoint))
    {
        return Some("a timer is due".to_owned());
    }
    let is_due = |due: Option<DateTime<Utc>>| due.is_some_and(|due| due <= now);
    let mut parked = rows.parked.values().filter(|held| rows.gives_out(&held.row.endpoint));
    if parked.any(|held| is_due(held.row.due_at)) {
        return Some("a message that waited is due".to_owned());
    }
    let due: Vec<_> = rows
        .activity
        .values()
        .filter(|held| held.task.due_at <= now && rows.gives_out(&held.task.endpoint))
        .collect();
    if due.iter().any(|held| held.end.is_some()) {
        return Some("a call has ended".to_owned());
    }
    if due.len() > running {
        return Some("a call is due".to_owned());
    }
    (!rows.outbox.is_empty()).then(|| "a message leaves".to_owned())
}
