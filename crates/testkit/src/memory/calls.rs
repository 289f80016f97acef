//! Calls: claimed for an attempt, recorded, and claimed again once they have ended.

use chrono::{DateTime, Utc};
use knarr_model::ids::{NodeId, RowId};
use knarr_model::work::{ActivityTask, AttemptOutcome, AttemptRecord, Claim, EndedCall};

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
            if how == Hold::Free {
                held.task.attempt += 1;
            }
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
