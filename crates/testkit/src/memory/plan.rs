//! All that one verb of the guard writes: first what could refuse it is asked, then it is written.

use chrono::{DateTime, Utc};
use knarr_model::commit::KeyRow;
use knarr_model::ids::{InstanceId, Name};
use knarr_model::incident::{Incident, StepDone, Whole};
use knarr_model::ports::guard::{Ask, CarriedOut, Plan, Refusal};
use knarr_model::work::{ActivityTask, Losses, ParkedReason, RowKind};

use super::rows::{CallRow, Claimed, InstanceRow, JournalEntry, OutboxRow, Rows};
use super::scene::is_of_run;

/// What would be carried out: set-aside messages that are there already keep their ids.
pub(super) fn settle(rows: &Rows, plan: &mut Plan) -> Result<(), Refusal> {
    let kept: Vec<_> =
        plan.set_aside.iter().filter_map(|row| Some((row.id, rows.same_set_aside(row)?))).collect();
    for (drafted, kept) in kept {
        plan.keep_id(drafted, kept);
    }
    let joined: Vec<_> = plan
        .incidents
        .iter()
        .filter(|drafted| !rows.incident.contains_key(&drafted.id))
        .filter_map(|drafted| Some((drafted.id, gathering(rows, drafted)?.clone())))
        .collect();
    for (drafted, open) in joined {
        plan.join(drafted, &open);
    }
    plan.restore.as_ref().map_or(Ok(()), |whole| keys_are_free(rows, whole))
}

/// A call that comes back starts anew.
fn anew(task: &ActivityTask) -> ActivityTask {
    ActivityTask { lost: Losses::default(), ..task.clone() }
}

/// The open incident that gathers what `drafted` would.
pub(super) fn gathering<'a>(rows: &'a Rows, drafted: &Incident) -> Option<&'a Incident> {
    rows.incident.values().find(|have| have.gathers_with(drafted))
}

/// A key that another instance took meanwhile cannot come back.
fn keys_are_free(rows: &Rows, whole: &Whole) -> Result<(), Refusal> {
    let saga = &whole.instance.saga;
    for (key, _) in whole.keys.iter().filter(|(_, row)| !row.free) {
        if let Some(now) = rows.correlation.get(&(saga.clone(), key.clone()))
            && !now.free
            && now.instance != whole.instance.id
        {
            return Err(Refusal::key_taken(key, now.instance));
        }
    }
    Ok(())
}

/// Writes a settled plan.
pub(super) fn carry_out(
    rows: &mut Rows,
    now: DateTime<Utc>,
    ask: &Ask,
    mut plan: Plan,
) -> CarriedOut {
    let steps: Vec<StepDone> =
        plan.steps.iter().map(|step| StepDone { name: step.name.clone(), rows: 0 }).collect();
    plan.tell_steps(&steps);
    if let Some((saga, id, run)) = &plan.empty {
        empty(rows, &ask.endpoint, saga, *id, *run);
        rows.withdrawn.insert((ask.endpoint.clone(), *id, *run));
    }
    if let Some(instance) = plan.instance.clone() {
        let place = (instance.saga.clone(), instance.id);
        rows.instance.insert(place, InstanceRow { instance, updated_at: now });
    }
    if let Some(whole) = &plan.restore {
        restore(rows, whole);
        let Whole { instance, .. } = whole;
        rows.withdrawn.remove(&(ask.endpoint.clone(), instance.id, instance.run));
    }
    if let Some((saga, id)) = &plan.wake {
        wake(rows, now, saga, *id);
    }
    write_incidents(rows, &plan);
    write_deliveries(rows, ask, &plan);
    let chunks = plan.chunks(&ask.endpoint);
    for chunk in &chunks {
        let number = rows.next_number();
        let row = OutboxRow { chunk: chunk.clone(), node: ask.node, number };
        rows.outbox.insert(chunk.id, row);
    }
    if let Some(row) = &plan.endpoint {
        rows.endpoint.insert(row.name.clone(), row.clone());
    }
    if let Some(line) = &plan.audit {
        let number = rows.next_number();
        rows.audit.insert(number, line.clone());
    }
    CarriedOut { plan, steps, chunks }
}

/// Takes away what is around a run. Its row stays.
fn empty(rows: &mut Rows, endpoint: &Name, saga: &Name, id: InstanceId, run: u32) {
    rows.timer.retain(|_, held| held.row.saga != *saga || held.row.instance != id);
    rows.activity.retain(|_, held| held.task.saga != *saga || held.task.instance != id);
    rows.parked.retain(|_, held| held.row.saga != *saga || held.row.instance != Some(id));
    rows.correlation.retain(|(of, _), key| of != saga || key.instance != id);
    rows.origin.remove(&(saga.clone(), id, run));
    rows.outbox.retain(|_, row| {
        if row.chunk.endpoint == *endpoint {
            row.chunk.messages.retain(|message| !is_of_run(message, id, run));
        }
        !row.chunk.messages.is_empty()
    });
}

/// Puts back what was around a run, claimed by nobody. What was unsent is among the plan's chunks.
fn restore(rows: &mut Rows, whole: &Whole) {
    let Whole { instance, origin, keys, timers, calls, ended, parked, unsent: _ } = whole;
    let saga = &instance.saga;
    if let Some(origin) = origin {
        rows.origin.insert((saga.clone(), instance.id, origin.run), origin.clone());
    }
    for (key, row) in keys {
        let place = (saga.clone(), key.clone());
        let after = match rows.correlation.get(&place) {
            Some(other) if other.instance != row.instance && row.free => *other,
            Some(other) if other.instance != row.instance => {
                KeyRow { generation: row.generation.max(other.generation + 1), ..*row }
            }
            _ => *row,
        };
        rows.correlation.insert(place, after);
    }
    for row in timers {
        rows.timer.insert(row.id, Claimed { row: row.clone(), by: None });
    }
    for task in calls {
        rows.activity.insert(task.id, CallRow::asked(anew(task)));
    }
    for call in ended {
        let row = CallRow {
            end: Some(call.end.clone()),
            decide_attempt: call.decide_attempt,
            ..CallRow::asked(anew(&call.task))
        };
        rows.activity.insert(call.task.id, row);
    }
    for row in parked {
        let mut waiting = rows.parked.values().map(|held| &held.row);
        if !waiting.any(|other| other.saga == row.saga && other.message_id == row.message_id) {
            rows.parked.insert(row.id, Claimed { row: row.clone(), by: None });
        }
    }
}

/// What waited, `held`, for this instance goes now.
fn wake(rows: &mut Rows, now: DateTime<Utc>, saga: &Name, id: InstanceId) {
    for held in rows.parked.values_mut() {
        let row = &mut held.row;
        if row.saga == *saga && row.instance == Some(id) && row.reason == ParkedReason::Held {
            row.due_at = Some(now);
        }
    }
}

/// Incidents, snapshots, set-aside messages, blocks.
fn write_incidents(rows: &mut Rows, plan: &Plan) {
    for incident in &plan.incidents {
        rows.incident.insert(incident.id, incident.clone());
    }
    if let Some((incident, whole)) = &plan.snapshot {
        rows.snapshot.insert(*incident, whole.clone());
    }
    for incident in &plan.forget_snapshots {
        rows.snapshot.remove(incident);
    }
    for row in &plan.set_aside {
        rows.quarantine.insert(row.id, row.clone());
    }
    for row in &plan.changed {
        if let Some(have) = rows.quarantine.get_mut(&row.id) {
            have.clone_from(row);
        }
    }
    for block in &plan.blocks {
        rows.block.insert(block.quarantined, block.clone());
    }
    for id in &plan.unblocked {
        rows.block.remove(id);
    }
}

/// Journal lines, internal deliveries that are done, and new ones.
fn write_deliveries(rows: &mut Rows, ask: &Ask, plan: &Plan) {
    let saga = plan.saga(ask);
    for row in &plan.journal {
        let number = rows.next_number();
        let place = (saga.clone(), row.message_id);
        rows.journal.entry(place).or_insert_with(|| JournalEntry { row: row.clone(), number });
    }
    for (kind, id) in &plan.taken {
        match kind {
            RowKind::Timer => drop(rows.timer.remove(id)),
            RowKind::Call => drop(rows.activity.remove(id)),
            RowKind::Parked => drop(rows.parked.remove(id)),
        }
    }
    for row in &plan.deliveries {
        if !rows.knows(&row.saga, row.message_id) {
            rows.parked.insert(row.id, Claimed { row: row.clone(), by: None });
        }
    }
}
