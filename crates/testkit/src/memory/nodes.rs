//! Nodes and their leases; what a node gives back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::ids::{Name, NodeId};
use knarr_model::ports::store::{HaltReport, Served};

use super::rows::Rows;

pub(super) fn join(rows: &mut Rows, now: DateTime<Utc>, node: NodeId, lease: Duration) {
    rows.node.insert(node, now + lease);
}

pub(super) fn renew(rows: &mut Rows, now: DateTime<Utc>, node: NodeId, lease: Duration) -> bool {
    let alive = rows.is_alive(node, now);
    if alive {
        rows.node.insert(node, now + lease);
    }
    alive
}

/// Without the node's row its chunks are anybody's.
pub(super) fn leave(rows: &mut Rows, node: NodeId) {
    give_back(rows, node, None);
    for row in rows.endpoint.values_mut().filter(|row| row.holder == Some(node)) {
        row.holder = None;
    }
    rows.intent.retain(|(of, _, _), _| *of != node);
    rows.record.remove(&node);
    rows.node.remove(&node);
    rows.served.retain(|(_, of), _| *of != node);
}

/// Notes that a live node serves an endpoint, and what it did at its last stop.
pub(super) fn note_served(
    rows: &mut Rows,
    now: DateTime<Utc>,
    endpoint: &Name,
    node: NodeId,
    report: Option<HaltReport>,
) {
    if rows.is_alive(node, now) {
        let row = rows.served.entry((endpoint.clone(), node)).or_default();
        *row = report.or(*row);
    }
}

/// The live nodes that serve an endpoint.
pub(super) fn served_by(rows: &Rows, now: DateTime<Utc>, endpoint: &Name) -> Vec<Served> {
    let of = rows
        .served
        .iter()
        .filter(|((name, node), _)| name == endpoint && rows.is_alive(*node, now));
    of.map(|((_, node), report)| Served { node: *node, report: *report }).collect()
}

/// Gives back the node's claims, of one endpoint or of all. An attempt given back is none.
pub(super) fn give_back(rows: &mut Rows, node: NodeId, endpoint: Option<&Name>) {
    let meant = |of: &Name| endpoint.is_none_or(|endpoint| endpoint == of);
    for held in rows.timer.values_mut() {
        if held.by == Some(node) && meant(&held.row.endpoint) {
            held.by = None;
        }
    }
    for held in rows.parked.values_mut() {
        if held.by == Some(node) && meant(&held.row.endpoint) {
            held.by = None;
        }
    }
    for held in rows.activity.values_mut() {
        if held.by == Some(node) && meant(&held.task.endpoint) {
            held.by = None;
            if held.end.is_none() {
                held.task.attempt -= 1;
            }
        }
    }
}
