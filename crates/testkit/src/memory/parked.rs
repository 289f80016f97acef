//! Parked messages: those that block an instance come in order behind their head, others alone.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, Name, RowId};
use knarr_model::work::{Claim, Parked, ParkedReason};

use super::claims::{hold, may_claim};
use super::rows::{Claimed, Rows};

/// Rows of one instance, or one row that belongs to none.
type Group = (Name, Name, Option<InstanceId>, Option<RowId>);

fn group(row: &Parked) -> Group {
    let alone = row.instance.is_none().then_some(row.id);
    (row.endpoint.clone(), row.saga.clone(), row.instance, alone)
}

/// All rows by instance, each group in the order of `seq`.
fn groups(rows: &Rows) -> BTreeMap<Group, Vec<&Claimed<Parked>>> {
    let mut groups: BTreeMap<Group, Vec<&Claimed<Parked>>> = BTreeMap::new();
    for held in rows.parked.values() {
        groups.entry(group(&held.row)).or_default().push(held);
    }
    for members in groups.values_mut() {
        members.sort_by_key(|held| (held.row.seq, held.row.id));
    }
    groups
}

/// The rows whose due time counts: those that block nobody, and the first that does.
pub(super) fn heads(rows: &Rows) -> Vec<&Claimed<Parked>> {
    let mut heads = Vec::new();
    for members in groups(rows).values() {
        let (blocking, free): (Vec<_>, Vec<_>) =
            members.iter().copied().partition(|held| held.row.reason.blocks());
        heads.extend(free);
        heads.extend(blocking.first());
    }
    heads
}

pub(super) fn claim(rows: &mut Rows, now: DateTime<Utc>, claim: &Claim) -> Vec<Parked> {
    let mut ready: Vec<(DateTime<Utc>, Vec<RowId>)> = Vec::new();
    for ((endpoint, ..), members) in groups(rows) {
        if !may_claim(rows, now, claim, &endpoint) {
            continue;
        }
        let free = |held: &Claimed<Parked>| hold(rows, now, claim, held.by, held.row.id).is_some();
        let due = |held: &Claimed<Parked>| held.row.due_at.is_some_and(|at| at <= now);
        let mut blocked = false;
        let mut chosen: Vec<&Claimed<Parked>> = Vec::new();
        for held in members {
            if !held.row.reason.blocks() {
                if free(held) && due(held) {
                    chosen.push(held);
                }
                continue;
            }
            // A held row goes with the row before it; as the first, its head is gone and it is due.
            // Without a due time the guard holds it.
            let goes = match held.row.reason {
                ParkedReason::Held => held.row.due_at.is_some(),
                _ => due(held),
            };
            blocked |= !(goes && free(held));
            if !blocked {
                chosen.push(held);
            }
        }
        let earliest = chosen.iter().filter_map(|held| held.row.due_at).min();
        if let Some(at) = earliest {
            ready.push((at, chosen.iter().map(|held| held.row.id).collect()));
        }
    }
    ready.sort();
    let mut taken = Vec::new();
    for id in ready.into_iter().flat_map(|(_, ids)| ids).take(claim.limit) {
        if let Some(held) = rows.parked.get_mut(&id) {
            held.by = Some(claim.node);
            held.row.claims += 1;
            taken.push(held.row.clone());
        }
    }
    taken
}
