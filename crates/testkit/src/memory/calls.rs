//! Calls: claimed for an attempt, recorded, and claimed again once they have ended.

use chrono::{DateTime, Utc};
use knarr_model::ids::{NodeId, RowId};
use knarr_model::work::{ActivityTask, AttemptOutcome, AttemptRecord, Claim, EndedCall, Losses};

use super::claims::{Hold, hold, may_claim};
use super::rows::{CallRow, Rows};

/// Rows of this claim that are due and fit, earliest first.
fn due(
    rows: &Rows,
    now: DateTime<Utc>,
    claim: &Claim,
    fits: impl Fn(&CallRow) -> bool,
) -> Vec<(RowId, Hold)> {
    let mut due: Vec<(DateTime<Utc>, RowId, Hold)> = rows
        .activity
        .values()
        .filter(|held| held.task.due_at <= now && fits(held))
        .filter(|held| may_claim(rows, now, claim, &held.task.endpoint))
        .filter_map(|held| {
            let how = hold(rows, now, claim, held.by, held.task.id)?;
            Some((held.task.due_at, held.task.id, how))
        })
        .collect();
    due.sort_by_key(|(at, id, _)| (*at, *id));
    due.truncate(claim.limit);
    due.into_iter().map(|(_, id, how)| (id, how)).collect()
}

pub(super) fn claim_due(
    rows: &mut Rows,
    now: DateTime<Utc>,
    claim: &Claim,
    calls: &[String],
) -> Vec<ActivityTask> {
    let ids = due(rows, now, claim, |held| held.end.is_none() && calls.contains(&held.task.call));
    let mut taken = Vec::with_capacity(ids.len());
    for (id, how) in ids {
        if let Some(held) = rows.activity.get_mut(&id) {
            held.by = Some(claim.node);
            held.task.claims += 1;
            // An attempt that ended with its node's lease, or never reached its node, stays the
            // one to run.
            match (how, held.since) {
                (Hold::Free, _) => held.task.attempt += 1,
                (Hold::TakenOver, Some(since)) => {
                    let after = (now - since).to_std().ok();
                    let count = held.task.lost.count + 1;
                    held.task.lost = Losses { count, last: Some(now), after };
                }
                // Its node died without it.
                (Hold::TakenOver, None) => held.task.lost.count = held.task.lost.count.min(1),
                (Hold::Reclaimed, _) => {}
            }
            held.since = (held.task.lost.count == 0).then_some(now);
            taken.push(held.task.clone());
        }
    }
    taken
}

pub(super) fn claim_ended(rows: &mut Rows, now: DateTime<Utc>, claim: &Claim) -> Vec<EndedCall> {
    let ids = due(rows, now, claim, |held| held.end.is_some());
    let mut taken = Vec::with_capacity(ids.len());
    for (id, _) in ids {
        if let Some(held) = rows.activity.get_mut(&id)
            && let Some(end) = held.end.clone()
        {
            held.by = Some(claim.node);
            held.task.claims += 1;
            let decide_attempt = held.decide_attempt;
            taken.push(EndedCall { task: held.task.clone(), end, decide_attempt });
        }
    }
    taken
}

/// Takes the outcome of an attempt unless it is late. An end repeated under its own claim is taken
/// again and changes nothing, for its first answer may have been lost.
pub(super) fn record(
    rows: &mut Rows,
    now: DateTime<Utc>,
    node: NodeId,
    record: &AttemptRecord,
) -> bool {
    let Some(held) = rows.activity.get_mut(&record.task) else { return false };
    if held.by != Some(node) || held.task.claims != record.claims {
        return false;
    }
    if held.end.is_none() {
        held.task.lost = Losses::default();
    }
    match (&record.outcome, held.end.is_some()) {
        (AttemptOutcome::Ended(_), true) => true,
        (AttemptOutcome::Again { .. }, true) => false,
        (AttemptOutcome::Ended(end), false) => {
            held.end = Some(end.clone());
            held.task.due_at = now;
            true
        }
        (AttemptOutcome::Again { due_at, memo, used }, false) => {
            held.task.due_at = *due_at;
            held.task.memo = memo.clone();
            held.task.attempt -= u32::from(!used);
            held.by = None;
            true
        }
    }
}

/// A call that has not ended and is the node's under this claim.
fn own(rows: &mut Rows, node: NodeId, call: RowId, claims: i64) -> Option<&mut CallRow> {
    let held = rows.activity.get_mut(&call)?;
    let own = held.by == Some(node) && held.task.claims == claims && held.end.is_none();
    own.then_some(held)
}

/// From now on the node runs a call that it has claimed.
pub(super) fn run(
    rows: &mut Rows,
    now: DateTime<Utc>,
    node: NodeId,
    (call, claims): (RowId, i64),
) -> bool {
    let own = own(rows, node, call, claims);
    own.map(|held| held.since = Some(now)).is_some()
}

/// Gives back a call that the node did not run.
pub(super) fn put_off(
    rows: &mut Rows,
    node: NodeId,
    (call, claims): (RowId, i64),
    until: DateTime<Utc>,
) {
    if let Some(held) = own(rows, node, call, claims) {
        held.by = None;
        held.task.attempt -= 1;
        held.task.due_at = until;
    }
}
