//! Chunks of outgoing messages: finished, taken over, made smaller.

use chrono::{DateTime, Utc};
use knarr_model::ids::{NodeId, RowId};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{Chunk, Outgoing};

use super::rows::{OutboxRow, Rows};

pub(super) fn finish(rows: &mut Rows, chunks: &[RowId]) {
    for id in chunks {
        rows.outbox.remove(id);
    }
}

fn oldest_first(rows: &Rows, fits: impl Fn(&OutboxRow) -> bool) -> Vec<RowId> {
    let mut found: Vec<_> = rows.outbox.values().filter(|row| fits(row)).collect();
    found.sort_by_key(|row| row.number);
    found.into_iter().map(|row| row.chunk.id).collect()
}

pub(super) fn own(rows: &Rows, node: NodeId, known: &[RowId]) -> Vec<Chunk> {
    oldest_first(rows, |row| row.node == node && !known.contains(&row.chunk.id))
        .iter()
        .filter_map(|id| rows.outbox.get(id))
        .map(|row| row.chunk.clone())
        .collect()
}

pub(super) fn take(rows: &mut Rows, now: DateTime<Utc>, node: NodeId, limit: usize) -> Vec<Chunk> {
    if !rows.is_alive(node, now) {
        return Vec::new();
    }
    let mut ids = oldest_first(rows, |row| !rows.is_alive(row.node, now));
    ids.truncate(limit);
    let mut taken = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(row) = rows.outbox.get_mut(&id) {
            row.node = node;
            taken.push(row.chunk.clone());
        }
    }
    taken
}

pub(super) fn shrink(rows: &mut Rows, chunk: RowId, left: &[Outgoing], set_aside: &[Quarantined]) {
    // A chunk that is gone was dealt with, or withdrawn; and what was withdrawn does not come back.
    let Some(row) = rows.outbox.get_mut(&chunk) else { return };
    let endpoint = row.chunk.endpoint.clone();
    row.chunk.messages = left
        .iter()
        .filter(|message| {
            message
                .sequence
                .is_none_or(|of| !rows.withdrawn.contains(&(endpoint.clone(), of.instance, of.run)))
        })
        .cloned()
        .collect();
    if row.chunk.messages.is_empty() {
        rows.outbox.remove(&chunk);
    }
    for row in set_aside {
        rows.set_aside(row);
    }
}
