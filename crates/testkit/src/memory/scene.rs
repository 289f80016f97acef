//! What a verb of the guard sees of the tables.

use knarr_model::ids::{InstanceId, Name, NodeId};
use knarr_model::incident::{Incident, IncidentStatus, Scope, Whole};
use knarr_model::ports::guard::{Ask, Scene};
use knarr_model::work::{ClaimedRow, EndedCall, Outgoing, RowKind};

use super::purge::new_endpoint;
use super::rows::Rows;

pub(super) fn look(rows: &Rows, ask: &Ask) -> Scene {
    let endpoint = rows.endpoint.get(&ask.endpoint).cloned();
    let incident = match ask.incident {
        Some(id) => rows.incident.get(&id),
        None => oldest(rows, &ask.endpoint),
    };
    let blocks = rows.block.values().filter(|block| ask.quarantined.contains(&block.quarantined));
    let mut audit = rows.audit.values();
    Scene {
        endpoint: endpoint.unwrap_or_else(|| new_endpoint(&ask.endpoint)),
        whole: ask.instance.as_ref().and_then(|(saga, id)| whole(rows, &ask.endpoint, saga, *id)),
        snapshot: incident.and_then(|incident| rows.snapshot.get(&incident.id)).cloned(),
        incident: incident.cloned(),
        quarantined: ask
            .quarantined
            .iter()
            .filter_map(|id| rows.quarantine.get(id))
            .cloned()
            .collect(),
        blocks: blocks.cloned().collect(),
        repeated: ask
            .key
            .as_ref()
            .and_then(|key| audit.find(|line| line.key.as_ref() == Some(key)))
            .cloned(),
        owned: is_own(rows, ask),
    }
}

/// The oldest open incident that stopped the endpoint.
fn oldest<'a>(rows: &'a Rows, endpoint: &Name) -> Option<&'a Incident> {
    rows.incident
        .values()
        .filter(|incident| incident.endpoint == *endpoint && incident.scope == Scope::Endpoint)
        .filter(|incident| incident.status == IncidentStatus::Open)
        .min_by_key(|incident| (incident.opened_at, incident.id))
}

/// Whether the internal delivery asked for, if any, is there and the asking node's.
fn is_own(rows: &Rows, ask: &Ask) -> bool {
    ask.row.is_none_or(|row| owns(rows, ask.node, row))
}

/// Whether a row is there and the node's under this very claim.
pub(super) fn owns(rows: &Rows, node: NodeId, row: ClaimedRow) -> bool {
    let held = match row.kind {
        RowKind::Timer => rows.timer.get(&row.id).map(|held| (held.by, held.row.claims)),
        RowKind::Parked => rows.parked.get(&row.id).map(|held| (held.by, held.row.claims)),
        RowKind::Call => {
            let ended = rows.activity.get(&row.id).filter(|held| held.end.is_some());
            ended.map(|held| (held.by, held.task.claims))
        }
    };
    held == Some((Some(node), row.claims))
}

/// A run with everything around it.
fn whole(rows: &Rows, endpoint: &Name, saga: &Name, id: InstanceId) -> Option<Whole> {
    let instance = rows.instance.get(&(saga.clone(), id))?.instance.clone();
    let run = instance.run;
    let mut whole = Whole::of(instance);
    whole.origin = rows.origin.get(&(saga.clone(), id, run)).cloned();
    let keys = rows.correlation.iter().filter(|((of, _), key)| of == saga && key.instance == id);
    whole.keys = keys.map(|((_, key), row)| (key.clone(), *row)).collect();
    let timers = rows.timer.values().map(|held| &held.row);
    whole.timers = timers.filter(|row| row.saga == *saga && row.instance == id).cloned().collect();
    whole.timers.sort_by_key(|row| (row.due_at, row.id));
    let calls = rows.activity.values();
    for held in calls.filter(|held| held.task.saga == *saga && held.task.instance == id) {
        let task = held.task.clone();
        match held.end.clone() {
            None => whole.calls.push(task),
            Some(end) => {
                let decide_attempt = held.decide_attempt;
                whole.ended.push(EndedCall { task, end, decide_attempt });
            }
        }
    }
    let parked = rows.parked.values().map(|held| &held.row);
    whole.parked =
        parked.filter(|row| row.saga == *saga && row.instance == Some(id)).cloned().collect();
    whole.parked.sort_by_key(|row| (row.seq, row.id));
    whole.unsent = unsent(rows, endpoint, id, run);
    Some(whole)
}

/// Whether a message is of this run.
pub(super) fn is_of_run(message: &Outgoing, id: InstanceId, run: u32) -> bool {
    message.sequence.is_some_and(|sequence| sequence.instance == id && sequence.run == run)
}

/// The run's messages that are still in the outbox, in the order in which they were written.
fn unsent(rows: &Rows, endpoint: &Name, id: InstanceId, run: u32) -> Vec<Outgoing> {
    let mut chunks: Vec<_> =
        rows.outbox.values().filter(|row| row.chunk.endpoint == *endpoint).collect();
    chunks.sort_by_key(|row| row.number);
    chunks
        .into_iter()
        .flat_map(|row| &row.chunk.messages)
        .filter(|message| is_of_run(message, id, run))
        .cloned()
        .collect()
}
