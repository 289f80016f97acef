//! All that one verb of the guard writes, in a fixed order.

use std::collections::BTreeSet;

use knarr_model::commit::{Key, KeyRow};
use knarr_model::incident::Whole;
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::{Ask, CarriedOut, Plan, Refusal};
use knarr_model::work::{Parked, RowKind};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Failed;
use crate::{activities, audit, blocks, correlation, endpoints, incidents, instances, journal};
use crate::{origins, outbox, parked, purge, quarantine, steps, timers};

const TAKE_TIMERS: &str = "DELETE FROM timer WHERE id = ANY ($1)";
const TAKE_CALLS: &str = "DELETE FROM activity WHERE id = ANY ($1)";

/// Why a verb writes nothing.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is refused.
    Refused(Refusal),
    /// The store could not be asked.
    Failed(Failed),
}

impl<E: Into<Failed>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

/// Makes the plan the one that would be carried out: a message that is set aside already keeps its
/// id, an incident of a class joins the one that gathers it, and a run whose key is another's by
/// now does not come back.
pub(crate) async fn settle(connection: &mut PgConnection, plan: &mut Plan) -> Result<(), Stop> {
    if !plan.set_aside.is_empty() {
        for (drafted, kept) in quarantine::same(&mut *connection, &plan.set_aside).await? {
            plan.keep_id(drafted, kept);
        }
    }
    for draft in plan.incidents.clone() {
        if let Some(open) = incidents::lock_gathering(&mut *connection, &draft).await? {
            plan.join(draft.id, &open);
        }
    }
    if let Some(whole) = &plan.restore {
        let instance = &whole.instance;
        let now = correlation::lock(connection, &instance.saga, &whole.keys).await?;
        let wanted = whole.keys.iter().filter(|(_, row)| !row.free);
        for (key, _) in wanted {
            if let Some(row) = now.get(key).filter(|row| !row.free)
                && row.instance != instance.id
            {
                return Err(Stop::Refused(Refusal::key_taken(key, row.instance)));
            }
        }
    }
    Ok(())
}

/// Writes a settled plan.
pub(crate) async fn carry_out(
    connection: &mut PgConnection,
    ask: &Ask,
    mut plan: Plan,
) -> Result<CarriedOut, Stop> {
    write_run(&mut *connection, ask, &plan).await?;
    let steps = steps::run(&mut *connection, &plan.steps).await?;
    plan.tell_steps(&steps);
    write_guard(&mut *connection, &plan).await?;
    write_deliveries(&mut *connection, ask, &plan).await?;
    let chunks = plan.chunks(&ask.endpoint);
    outbox::insert(&mut *connection, ask.node.0, &chunks).await?;
    if let Some(row) = &plan.endpoint {
        endpoints::write(&mut *connection, row).await?;
    }
    if let Some(line) = &plan.audit {
        audit::add(connection, line).await?;
    }
    Ok(CarriedOut { plan, steps, chunks })
}

/// The run: what goes, its row, what comes back, and its mark as withdrawn.
async fn write_run(connection: &mut PgConnection, ask: &Ask, plan: &Plan) -> Result<(), Failed> {
    let endpoint = &ask.endpoint;
    if let Some((saga, id, run)) = &plan.empty {
        purge::delete_around(&mut *connection, endpoint, saga, *id, *run).await?;
        blocks::withdraw(&mut *connection, endpoint, *id, *run).await?;
    }
    if let Some(instance) = &plan.instance {
        let written = instances::write(&mut *connection, &instance.saga, &[instance]).await?;
        if !written.lost.is_empty() {
            return Err(Failed::Other(StoreError::Fatal(format!(
                "a plan writes instance {} at version {}, which does not follow the stored one",
                instance.id, instance.version
            ))));
        }
    }
    if let Some(whole) = &plan.restore {
        restore(&mut *connection, whole).await?;
        let instance = &whole.instance;
        blocks::lift_mark(&mut *connection, endpoint, instance.id, instance.run).await?;
    }
    if let Some((saga, id)) = &plan.wake {
        parked::wake(connection, saga, *id, true).await?;
    }
    Ok(())
}

/// Puts back what was around a run, claimed by nobody. What was unsent is among the plan's chunks.
async fn restore(connection: &mut PgConnection, whole: &Whole) -> Result<(), Failed> {
    let Whole { instance, origin, keys, timers, calls, ended, parked, unsent: _ } = whole;
    let saga = &instance.saga;
    if let Some(origin) = origin {
        origins::put(&mut *connection, saga, instance.id, origin).await?;
    }
    let now = correlation::lock(&mut *connection, saga, keys).await?;
    let keys: Vec<_> = keys.iter().filter_map(|key| owned_again(key, now.get(&key.0))).collect();
    correlation::put(&mut *connection, saga, &keys).await?;
    timers::restore(&mut *connection, timers).await?;
    activities::restore(&mut *connection, calls, ended).await?;
    parked::insert(connection, parked).await
}

/// The key as it comes back; a key that was used meanwhile goes on from its generation, and one
/// that the run had freed stays the other's.
fn owned_again((key, row): &(Key, KeyRow), now: Option<&KeyRow>) -> Option<(Key, KeyRow)> {
    let row = match now {
        Some(now) if now.instance != row.instance && row.free => return None,
        Some(now) if now.instance != row.instance => {
            KeyRow { generation: row.generation.max(now.generation + 1), ..*row }
        }
        _ => *row,
    };
    Some((key.clone(), row))
}

/// Incidents, what they keep, what is set aside, blocks.
async fn write_guard(connection: &mut PgConnection, plan: &Plan) -> Result<(), Failed> {
    for incident in &plan.incidents {
        incidents::write(&mut *connection, incident).await?;
    }
    if let Some((incident, whole)) = &plan.snapshot {
        incidents::keep(&mut *connection, *incident, whole).await?;
    }
    if !plan.forget_snapshots.is_empty() {
        incidents::forget(&mut *connection, &plan.forget_snapshots).await?;
    }
    if !plan.set_aside.is_empty() {
        quarantine::set_aside(&mut *connection, &plan.set_aside).await?;
    }
    if !plan.changed.is_empty() {
        quarantine::change(&mut *connection, &plan.changed).await?;
    }
    for block in &plan.blocks {
        blocks::write(&mut *connection, block).await?;
    }
    if !plan.unblocked.is_empty() {
        blocks::lift(connection, &plan.unblocked).await?;
    }
    Ok(())
}

/// Journal lines, internal deliveries that are done, and new ones.
async fn write_deliveries(
    connection: &mut PgConnection,
    ask: &Ask,
    plan: &Plan,
) -> Result<(), Failed> {
    if !plan.journal.is_empty() {
        journal::add(&mut *connection, plan.saga(ask), &plan.journal).await?;
    }
    let taken = |kind| -> Vec<Uuid> {
        plan.taken.iter().filter(|(of, _)| *of == kind).map(|(_, row)| row.0).collect()
    };
    for (kind, sql) in [(RowKind::Timer, TAKE_TIMERS), (RowKind::Call, TAKE_CALLS)] {
        sqlx::query(sql).bind(taken(kind)).execute(&mut *connection).await?;
    }
    parked::take(&mut *connection, &taken(RowKind::Parked)).await?;
    if plan.deliveries.is_empty() {
        return Ok(());
    }
    let messages: Vec<_> = plan.deliveries.iter().map(|row| row.message_id.0).collect();
    let known: BTreeSet<(String, Uuid)> =
        journal::known(&mut *connection, &messages).await?.into_iter().collect();
    let is_new = |row: &&Parked| !known.contains(&(row.saga.to_string(), row.message_id.0));
    let fresh: Vec<_> = plan.deliveries.iter().filter(is_new).cloned().collect();
    parked::insert(connection, &fresh).await
}
