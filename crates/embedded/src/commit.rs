//! One batch's writes in the order of engine.md ("The road"), all of them or none.

use knarr_model::Slice;
use knarr_model::commit::{Commit, CommitOutcome};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::ports::Clock;
use knarr_model::statement::Statement;
use knarr_model::work::{Chunk, ParkedReason, RowKind};
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::rows::ids;
use crate::writer::Ended;
use crate::{
    activities, correlation, endpoints, instances, internal, journal, outbox, parked, quarantine,
    statements, timers,
};

/// Everything the statements of a commit are given. Made before the writer is asked, since making
/// it takes longer than the writer should be held up.
struct Plan {
    instances: Option<String>,
    journal: Option<(String, Vec<MessageId>)>,
    origins: (Option<String>, Option<String>),
    keys: correlation::Writes,
    timers: (Option<String>, Option<String>),
    calls: (Option<String>, Option<String>),
    wakes: Option<String>,
    wakes_held: Option<String>,
    parked: Option<(String, Vec<MessageId>)>,
    lines: Option<String>,
    internal: internal::Steps,
    quarantine: Option<quarantine::Rows>,
    chunks: Vec<Chunk>,
    statements: Vec<Statement>,
    outbox: Option<outbox::Rows>,
}

impl Plan {
    fn of(commit: &Commit, lost: &[InstanceId], clock: &dyn Clock) -> Result<Plan, Error> {
        let slices: Vec<&Slice> = commit
            .slices
            .iter()
            .filter(|slice| slice.key.is_none_or(|key| !lost.contains(&key)))
            .collect();
        let outgoing = slices.iter().flat_map(|slice| slice.outgoing.iter().cloned()).collect();
        let mut given = commit.chunk_ids.iter().copied();
        let chunks = Chunk::split(&commit.endpoint, outgoing, || {
            // Large bodies can make more chunks than the caller could foresee.
            given.next().unwrap_or_else(|| RowId(clock.new_id()))
        });
        Ok(Plan {
            instances: instances::rows(&slices)?,
            journal: journal::rows(&slices)?,
            origins: journal::origins(&slices)?,
            keys: correlation::rows(&slices)?,
            timers: timers::rows(&slices)?,
            calls: activities::rows(&slices)?,
            wakes: keys_of(&slices, |slice| slice.wakes_deferred)?,
            wakes_held: keys_of(&slices, |slice| slice.wakes_held)?,
            parked: parked::rows(&slices)?,
            lines: keys_of(&slices, changes_line)?,
            internal: internal::steps(&slices)?,
            quarantine: quarantine::rows_of(&slices)?,
            outbox: outbox::rows(&chunks)?,
            statements: slices.iter().flat_map(|slice| slice.statements.iter().cloned()).collect(),
            chunks,
        })
    }
}

/// The instances of those slices that `meant` is true of.
fn keys_of(slices: &[&Slice], meant: fn(&Slice) -> bool) -> Result<Option<String>, Error> {
    let keys: Vec<InstanceId> =
        slices.iter().filter(|slice| meant(slice)).filter_map(|slice| slice.key).collect();
    if keys.is_empty() { Ok(None) } else { ids(keys.iter().map(|key| &key.0)).map(Some) }
}

/// Whether another message may now be the first that an instance's messages wait behind.
fn changes_line(slice: &Slice) -> bool {
    slice.wakes_held
        || slice.parked.iter().any(|row| row.reason == ParkedReason::Held)
        || slice.again.iter().any(|again| again.row.kind == RowKind::Parked)
        || slice.taken.iter().any(|row| row.kind == RowKind::Parked)
}

/// A commit with its plan made.
pub(crate) struct Ready {
    commit: Commit,
    plan: Plan,
}

impl Ready {
    /// Makes the plan, hoping that no slice is lost.
    pub(crate) fn new(commit: Commit, clock: &dyn Clock) -> Result<Ready, Error> {
        let plan = Plan::of(&commit, &[], clock)?;
        Ok(Ready { commit, plan })
    }

    /// Carries the commit out inside the writer's transaction.
    pub(crate) async fn run(
        self,
        connection: &mut SqliteConnection,
        clock: &dyn Clock,
    ) -> Result<Ended<CommitOutcome>, Error> {
        let Ready { commit, mut plan } = self;
        if let Some(refused) = endpoints::fence(connection, &commit).await? {
            return Ok(Ended::Undone(refused));
        }
        let (lost, swept) = instances::conflicts(connection, &commit.saga, &commit.slices).await?;
        if !swept.is_empty() {
            return Ok(Ended::Undone(CommitOutcome::Swept(swept)));
        }
        if !lost.is_empty() {
            plan = Plan::of(&commit, &lost, clock)?;
        }
        if let Some(refused) = asked(connection, &commit, &plan).await? {
            return Ok(Ended::Undone(refused));
        }
        write(connection, &commit, &plan).await?;
        Ok(Ended::Kept(CommitOutcome::Committed { lost, chunks: plan.chunks }))
    }
}

/// The writes that may find that the batch must be decided again.
async fn asked(
    connection: &mut SqliteConnection,
    commit: &Commit,
    plan: &Plan,
) -> Result<Option<CommitOutcome>, Error> {
    let saga = &*commit.saga;
    let mut known = Vec::new();
    if let Some(rows) = &plan.journal {
        known.extend(journal::insert(connection, saga, rows).await?);
    }
    if let Some(instances) = &plan.wakes {
        // Before new rows are parked: they already know what they wait for.
        parked::wake(connection, saga, instances, commit.now).await?;
    }
    if let Some(instances) = &plan.wakes_held {
        parked::wake_held(connection, saga, instances, commit.now).await?;
    }
    if let Some(rows) = &plan.parked {
        known.extend(parked::insert(connection, rows).await?);
    }
    if !known.is_empty() {
        return Ok(Some(CommitOutcome::Duplicates(known)));
    }
    let gone = internal::run(connection, commit.node, &plan.internal).await?;
    if !gone.is_empty() {
        return Ok(Some(CommitOutcome::Gone(gone)));
    }
    correlation::write(connection, saga, &plan.keys).await
}

/// Everything that cannot be refused. What a slice both makes and removes goes again.
async fn write(
    connection: &mut SqliteConnection,
    commit: &Commit,
    plan: &Plan,
) -> Result<(), Error> {
    let Commit { endpoint, saga, node, finished_chunks, now, .. } = commit;
    if let Some(rows) = &plan.instances {
        instances::write(connection, saga, rows, *now).await?;
    }
    if let Some(rows) = &plan.origins.0 {
        journal::begin(connection, saga, rows).await?;
    }
    if let Some(rows) = &plan.origins.1 {
        journal::end(connection, saga, rows).await?;
    }
    if let Some(rows) = &plan.timers.0 {
        timers::insert(connection, rows).await?;
    }
    if let Some(rows) = &plan.timers.1 {
        timers::cancel(connection, saga, rows).await?;
    }
    if let Some(rows) = &plan.calls.0 {
        activities::insert(connection, rows).await?;
    }
    if let Some(rows) = &plan.calls.1 {
        activities::cancel(connection, saga, rows).await?;
    }
    if let Some(instances) = &plan.lines {
        parked::line_up(connection, saga, instances).await?;
    }
    if let Some(rows) = &plan.quarantine {
        quarantine::insert(connection, rows).await?;
    }
    outbox::finish(connection, finished_chunks).await?;
    if let Some(rows) = &plan.outbox {
        outbox::insert(connection, (endpoint, saga), *node, rows).await?;
    }
    for statement in &plan.statements {
        statements::carry_out(connection, statement).await?;
    }
    Ok(())
}
