//! Who may claim a waiting row, and due timers.

use chrono::{DateTime, Utc};
use knarr_model::ids::{Name, NodeId, RowId};
use knarr_model::work::{Claim, Timer};

use super::rows::Rows;

/// How a row comes to the node that claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody held it.
    Free,
    /// Its holder's lease is past.
    TakenOver,
    /// The node holds it itself, but never heard so.
    Reclaimed,
}

/// Whether a row held `by` comes to the claiming node, and how.
pub(super) fn hold(
    rows: &Rows,
    now: DateTime<Utc>,
    claim: &Claim,
    by: Option<NodeId>,
    id: RowId,
) -> Option<Hold> {
    match by {
        None => Some(Hold::Free),
        Some(node) if node == claim.node => claim
            .reclaim_except
            .as_ref()
            .is_some_and(|held| !held.contains(&id))
            .then_some(Hold::Reclaimed),
        Some(node) => (!rows.is_alive(node, now)).then_some(Hold::TakenOver),
    }
}

/// Whether this claim may have rows of `endpoint` at all. Only a live node claims.
pub(super) fn may_claim(rows: &Rows, now: DateTime<Utc>, claim: &Claim, endpoint: &Name) -> bool {
    rows.is_alive(claim.node, now) && claim.endpoints.contains(endpoint) && rows.gives_out(endpoint)
}

pub(super) fn timers(rows: &mut Rows, now: DateTime<Utc>, claim: &Claim) -> Vec<Timer> {
    let mut due: Vec<(DateTime<Utc>, RowId)> = rows
        .timer
        .values()
        .filter(|held| held.row.due_at <= now)
        .filter(|held| may_claim(rows, now, claim, &held.row.endpoint))
        .filter(|held| hold(rows, now, claim, held.by, held.row.id).is_some())
        .map(|held| (held.row.due_at, held.row.id))
        .collect();
    due.sort();
    due.truncate(claim.limit);
    let mut taken = Vec::with_capacity(due.len());
    for (_, id) in due {
        if let Some(held) = rows.timer.get_mut(&id) {
            held.by = Some(claim.node);
            held.row.claims += 1;
            taken.push(held.row.clone());
        }
    }
    taken
}
