//! All that one verb of the guard writes, inside the writer's transaction, all of it or none.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use knarr_model::Slice;
use knarr_model::ids::{InstanceId, Name};
use knarr_model::incident::Whole;
use knarr_model::instance::Instance;
use knarr_model::ports::guard::{Ask, CarriedOut, Decide, Plan, Refusal, Run};
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::rows::{hex, ids, json};
use crate::writer::Ended;
use crate::{
    activities, audit, blocks, correlation, endpoints, incidents, instances, internal, journal,
    outbox, parked, quarantine, scene, snapshots, steps, timers, withdrawn,
};

/// Looks, lets the guard decide, and writes what it planned.
pub(crate) async fn under_fence(
    connection: &mut SqliteConnection,
    ask: &Ask,
    decide: &Decide,
    run: Run,
) -> Result<Ended<Result<CarriedOut, Refusal>>, Error> {
    let seen = scene::look(connection, ask).await?;
    let mut plan = match decide(&seen) {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Ended::Undone(Err(refusal))),
    };
    if let Some(refusal) = settle(connection, &mut plan).await? {
        return Ok(Ended::Undone(Err(refusal)));
    }
    if run == Run::Dry {
        let shown = CarriedOut { plan, steps: Vec::new(), chunks: Vec::new() };
        return Ok(Ended::Undone(Ok(shown)));
    }
    carry_out(connection, ask, plan).await.map(|done| Ended::Kept(Ok(done)))
}

/// Makes of the plan what would be carried out: what is there already keeps its id. Or says what
/// forbids it: a key that another instance took meanwhile cannot come back.
async fn settle(
    connection: &mut SqliteConnection,
    plan: &mut Plan,
) -> Result<Option<Refusal>, Error> {
    let mut kept = Vec::new();
    for row in &plan.set_aside {
        kept.extend(quarantine::same(connection, row).await?.map(|id| (row.id, id)));
    }
    for (drafted, kept) in kept {
        plan.keep_id(drafted, kept);
    }
    let mut joined = Vec::new();
    for drafted in &plan.incidents {
        if incidents::one(connection, drafted.id).await?.is_none() {
            let open = incidents::gathering(connection, drafted).await?;
            joined.extend(open.map(|open| (drafted.id, open)));
        }
    }
    for (drafted, open) in &joined {
        plan.join(*drafted, open);
    }
    let Some(Whole { instance, keys, .. }) = &plan.restore else { return Ok(None) };
    let wanted: Vec<_> =
        keys.iter().filter(|(_, row)| !row.free).map(|(key, _)| key.clone()).collect();
    let now = correlation::find(connection, &instance.saga, &wanted).await?;
    let mut taken = now.iter().filter(|(_, row)| !row.free && row.instance != instance.id);
    Ok(taken.next().map(|(key, row)| Refusal::key_taken(key, row.instance)))
}

async fn carry_out(
    connection: &mut SqliteConnection,
    ask: &Ask,
    mut plan: Plan,
) -> Result<CarriedOut, Error> {
    let mut lines = Lines::default();
    if let Some((saga, id, run)) = &plan.empty {
        empty(connection, &ask.endpoint, saga, (*id, *run)).await?;
    }
    if let Some(instance) = &plan.instance {
        write_instance(connection, instance, ask.now).await?;
    }
    if let Some(whole) = &plan.restore {
        restore(connection, &ask.endpoint, whole).await?;
        lines.changed(&whole.instance.saga, whole.instance.id);
    }
    if let Some((saga, id)) = &plan.wake {
        parked::let_go(connection, saga, *id, ask.now).await?;
        lines.changed(saga, *id);
    }
    write_incidents(connection, &plan).await?;
    write_deliveries(connection, ask, &plan, &mut lines).await?;
    lines.line_up(connection).await?;
    let chunks = plan.chunks(&ask.endpoint);
    if let Some(rows) = outbox::rows(&chunks)? {
        outbox::insert(connection, (&ask.endpoint, plan.saga(ask)), ask.node, &rows).await?;
    }
    let done = steps::run(connection, &plan.steps).await?;
    plan.tell_steps(&done);
    if let Some(incident) = plan.incidents.first().filter(|_| !done.is_empty()) {
        incidents::write(connection, incident).await?;
    }
    if let Some(row) = &plan.endpoint {
        endpoints::write(connection, row).await?;
    }
    if let Some(line) = &plan.audit {
        audit::insert(connection, line).await?;
    }
    Ok(CarriedOut { plan, steps: done, chunks })
}

/// Instances whose parked messages changed: another one may be the first of its line now.
#[derive(Default)]
struct Lines(BTreeSet<(Name, InstanceId)>);

impl Lines {
    fn changed(&mut self, saga: &Name, instance: InstanceId) {
        self.0.insert((saga.clone(), instance));
    }

    async fn line_up(self, connection: &mut SqliteConnection) -> Result<(), Error> {
        for (saga, instance) in self.0 {
            parked::line_up(connection, &saga, &ids([&instance.0])?).await?;
        }
        Ok(())
    }
}

/// Takes away what is around a run and marks it as withdrawn. Its row stays.
async fn empty(
    connection: &mut SqliteConnection,
    endpoint: &Name,
    saga: &Name,
    (instance, run): (InstanceId, u32),
) -> Result<(), Error> {
    timers::forget(connection, saga, instance).await?;
    activities::forget(connection, saga, instance).await?;
    parked::forget(connection, saga, instance).await?;
    correlation::forget(connection, saga, instance).await?;
    journal::end(connection, saga, &json(&[(hex(instance.0), run)])?).await?;
    outbox::withdraw(connection, endpoint, instance, run).await?;
    withdrawn::mark(connection, endpoint, (instance, run)).await
}

async fn write_instance(
    connection: &mut SqliteConnection,
    instance: &Instance,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let slice = Slice { instance: Some(instance.clone()), ..Slice::default() };
    if let Some(rows) = instances::rows(&[&slice])? {
        instances::write(connection, &instance.saga, &rows, now).await?;
    }
    Ok(())
}

/// Puts back what was around a run, claimed by nobody. What was unsent is among the plan's chunks.
async fn restore(
    connection: &mut SqliteConnection,
    endpoint: &Name,
    whole: &Whole,
) -> Result<(), Error> {
    let Whole { instance, origin, keys, timers, calls, ended, parked, unsent: _ } = whole;
    let saga = &*instance.saga;
    let slice = Slice {
        key: Some(instance.id),
        origin: origin.clone(),
        timers: timers.clone(),
        tasks: calls.iter().chain(ended.iter().map(|call| &call.task)).cloned().collect(),
        parked: parked.clone(),
        ..Slice::default()
    };
    let slices = [&slice];
    if let (Some(rows), _) = journal::origins(&slices)? {
        journal::begin(connection, saga, &rows).await?;
    }
    for key in keys {
        correlation::restore(connection, saga, key).await?;
    }
    if let (Some(rows), _) = timers::rows(&slices)? {
        timers::insert(connection, &rows).await?;
    }
    if let (Some(rows), _) = activities::rows(&slices)? {
        activities::insert(connection, &rows).await?;
    }
    for call in ended {
        activities::end(connection, call).await?;
    }
    if let Some(rows) = parked::rows(&slices)? {
        parked::insert(connection, &rows).await?;
    }
    withdrawn::lift(connection, endpoint, (instance.id, instance.run)).await
}

/// Incidents, snapshots, set-aside messages, blocks.
async fn write_incidents(connection: &mut SqliteConnection, plan: &Plan) -> Result<(), Error> {
    for incident in &plan.incidents {
        incidents::write(connection, incident).await?;
    }
    if let Some((incident, whole)) = &plan.snapshot {
        snapshots::write(connection, *incident, whole).await?;
    }
    for incident in &plan.forget_snapshots {
        snapshots::forget(connection, *incident).await?;
    }
    for row in &plan.set_aside {
        if quarantine::change(connection, row).await? {
            continue;
        }
        if let Some(rows) = quarantine::rows([row])? {
            quarantine::insert(connection, &rows).await?;
        }
    }
    for row in &plan.changed {
        quarantine::change(connection, row).await?;
    }
    for block in &plan.blocks {
        blocks::write(connection, block).await?;
    }
    for quarantined in &plan.unblocked {
        blocks::lift(connection, *quarantined).await?;
    }
    Ok(())
}

/// Journal lines, internal deliveries that are done, and new ones.
async fn write_deliveries(
    connection: &mut SqliteConnection,
    ask: &Ask,
    plan: &Plan,
    lines: &mut Lines,
) -> Result<(), Error> {
    for row in &plan.taken {
        if let Some((of, Some(instance))) = internal::forget(connection, *row).await? {
            lines.changed(&of, instance);
        }
    }
    let saga = plan.saga(ask);
    let slice = Slice { journal: plan.journal.clone(), ..Slice::default() };
    if let Some(rows) = journal::rows(&[&slice])? {
        journal::insert(connection, saga, &rows).await?;
    }
    for row in &plan.deliveries {
        if journal::find(connection, &row.saga, &[row.message_id]).await?.is_empty() {
            let slice = Slice { parked: vec![row.clone()], ..Slice::default() };
            if let Some(rows) = parked::rows(&[&slice])? {
                parked::insert(connection, &rows).await?;
            }
            if let Some(instance) = row.instance {
                lines.changed(&row.saga, instance);
            }
        }
    }
    Ok(())
}
