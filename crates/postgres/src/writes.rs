//! What the kept slices of a commit write, as the columns of one statement.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::{MessageId, RowId};
use knarr_model::work::{Chunk, ClaimedRow, RowKind};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Failed;
use crate::rows::Query;
use crate::signal::Made;
use crate::{activities, correlation, journal, origins, outbox, parked, quarantine, timers};

const WRITE: &str = include_str!("commit.sql");

/// Statement (d), and what its answer must hold.
#[derive(Debug, Default)]
pub(crate) struct Writes<'a> {
    journal: journal::Columns<'a>,
    origins: origins::Columns,
    keys: correlation::Writes<'a>,
    timers: timers::Columns<'a>,
    cancelled_timers: Vec<Uuid>,
    taken_timers: Taken,
    again_timers: timers::AgainColumns,
    calls: activities::Columns<'a>,
    cancelled_calls: Vec<Uuid>,
    taken_calls: Taken,
    again_calls: timers::AgainColumns,
    parked: parked::Columns<'a>,
    again_parked: parked::AgainColumns<'a>,
    gone_heads: Vec<Uuid>,
    taken_parked: Taken,
    wakes_deferred: Vec<Uuid>,
    heads_gone: Vec<Uuid>,
    wakes_held: Vec<Uuid>,
    chunks: outbox::Columns,
    quarantine: quarantine::Columns,
    /// Messages that must be new to the journal.
    journaled: Vec<MessageId>,
    /// Messages that must be new among the parked.
    parks: Vec<MessageId>,
    /// Internal deliveries that must be there and be the node's.
    owned: Vec<RowId>,
    made: Made,
}

/// Why a commit writes nothing.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The store says no.
    Refused(CommitOutcome),
    /// The store could not be asked.
    Failed(Failed),
}

impl<E: Into<Failed>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

impl<'a> Writes<'a> {
    /// Gathers the columns of `slices`.
    pub(crate) fn new(slices: &[&'a Slice], now: DateTime<Utc>) -> Result<Writes<'a>, Stop> {
        let mut writes = Writes::default();
        let cancelled = Cancelled::new(slices);
        for slice in slices {
            writes.add(slice, &cancelled, now)?;
        }
        // A row that another part touches is not cancelled on top.
        let owned: BTreeSet<Uuid> = writes.owned.iter().map(|row| row.0).collect();
        writes.cancelled_timers = cancelled.timers.difference(&owned).copied().collect();
        writes.cancelled_calls = cancelled.calls.difference(&owned).copied().collect();
        Ok(writes)
    }

    fn add(
        &mut self,
        slice: &'a Slice,
        cancelled: &Cancelled,
        now: DateTime<Utc>,
    ) -> Result<(), Stop> {
        for row in &slice.journal {
            self.journaled.push(row.message_id);
            self.journal.push(row);
        }
        self.origins.push(slice)?;
        self.keys.push(slice).map_err(Stop::Refused)?;
        // What a commit both makes and removes never existed.
        for timer in slice.timers.iter().filter(|timer| !cancelled.timers.contains(&timer.id.0)) {
            self.made.timers |= timer.due_at <= now;
            self.timers.push(timer)?;
        }
        for task in slice.tasks.iter().filter(|task| !cancelled.calls.contains(&task.id.0)) {
            if task.due_at <= now {
                self.made.calls.insert(task.call.clone());
            }
            self.calls.push(task)?;
        }
        for row in &slice.parked {
            self.made.parked |= row.due_at.is_some_and(|at| at <= now);
            self.parks.push(row.message_id);
            self.parked.push(row)?;
        }
        self.add_internal(slice, cancelled, now);
        for row in &slice.quarantine {
            self.quarantine.push(row)?;
        }
        Ok(())
    }

    /// Internal deliveries that end here or wait again.
    fn add_internal(&mut self, slice: &'a Slice, cancelled: &Cancelled, now: DateTime<Utc>) {
        let mut head_goes = false;
        for again in &slice.again {
            self.owned.push(again.row.id);
            let due = again.due_at.is_some_and(|at| at <= now);
            match again.row.kind {
                RowKind::Timer if cancelled.timers.contains(&again.row.id.0) => {
                    self.taken_timers.push(&again.row);
                }
                RowKind::Timer => {
                    self.made.timers |= due;
                    self.again_timers.push(again);
                }
                RowKind::Call if cancelled.calls.contains(&again.row.id.0) => {
                    self.taken_calls.push(&again.row);
                }
                RowKind::Call => {
                    self.made.ended |= due;
                    self.again_calls.push(again);
                }
                RowKind::Parked => {
                    self.made.parked |= due;
                    if again.reason.is_some_and(|reason| !reason.blocks()) {
                        self.gone_heads.push(again.row.id.0);
                        head_goes = true;
                    }
                    self.again_parked.push(again);
                }
            }
        }
        for row in &slice.taken {
            self.owned.push(row.id);
            match row.kind {
                RowKind::Timer => self.taken_timers.push(row),
                RowKind::Call => self.taken_calls.push(row),
                RowKind::Parked => {
                    self.gone_heads.push(row.id.0);
                    self.taken_parked.push(row);
                    head_goes = true;
                }
            }
        }
        if let Some(instance) = slice.key {
            if slice.wakes_deferred {
                self.wakes_deferred.push(instance.0);
            }
            if slice.wakes_held {
                self.wakes_held.push(instance.0);
            }
            if head_goes {
                self.heads_gone.push(instance.0);
            }
        }
    }

    /// Adds the chunks.
    pub(crate) fn add_chunks(&mut self, chunks: &[Chunk]) -> Result<(), Stop> {
        for chunk in chunks {
            self.chunks.push(chunk)?;
        }
        Ok(())
    }

    /// Carries out (d) and compares the answer. Returns which rows are due now.
    pub(crate) async fn carry_out(
        mut self,
        connection: &mut PgConnection,
        commit: &Commit,
    ) -> Result<Made, Stop> {
        let repeated = repeated(&self.journaled).chain(repeated(&self.parks));
        let repeated: BTreeSet<MessageId> = repeated.collect();
        if !repeated.is_empty() {
            return Err(Stop::Refused(CommitOutcome::Duplicates(repeated.into_iter().collect())));
        }
        let (journaled, parks) =
            (std::mem::take(&mut self.journaled), std::mem::take(&mut self.parks));
        let owned = std::mem::take(&mut self.owned);
        let keys = std::mem::take(&mut self.keys);
        let mut made = std::mem::take(&mut self.made);
        let row = self.bind(&keys, commit).fetch_one(connection).await.map_err(Failed::Sql)?;
        let answer = Answer::read(&row).map_err(Failed::Sql)?;

        let known: BTreeSet<MessageId> =
            missing(&journaled, &answer.journaled).chain(missing(&parks, &answer.parked)).collect();
        if !known.is_empty() {
            return Err(Stop::Refused(CommitOutcome::Duplicates(known.into_iter().collect())));
        }
        let there: BTreeSet<Uuid> = answer.owned.into_iter().collect();
        let gone: Vec<RowId> = owned.into_iter().filter(|row| !there.contains(&row.0)).collect();
        if !gone.is_empty() {
            return Err(Stop::Refused(CommitOutcome::Gone(gone)));
        }
        if let Some(taken) = keys.first_refused(&answer.keys) {
            return Err(Stop::Refused(taken));
        }
        made.parked |= answer.woke;
        Ok(made)
    }

    /// Binds `$1` to `$107` of `commit.sql`, in this order.
    fn bind(self, keys: &correlation::Writes<'_>, commit: &Commit) -> Query {
        let finished: Vec<Uuid> = commit.finished_chunks.iter().map(|chunk| chunk.0).collect();
        let query = sqlx::query(WRITE)
            .bind(commit.saga.to_string())
            .bind(commit.node.0)
            .bind(commit.endpoint.to_string());
        let query = self.origins.bind(self.journal.bind(query));
        let query = self.timers.bind(keys.bind(query));
        let query = self.taken_timers.bind(query.bind(self.cancelled_timers));
        let query = self.calls.bind(self.again_timers.bind(query));
        let query = self.taken_calls.bind(query.bind(self.cancelled_calls));
        let query = self.parked.bind(self.again_calls.bind(query));
        let query = self.again_parked.bind(query);
        let query = self.taken_parked.bind(query.bind(self.gone_heads));
        let query = query.bind(self.wakes_deferred).bind(self.heads_gone);
        let query = self.chunks.bind(query).bind(finished);
        self.quarantine.bind(query).bind(self.wakes_held)
    }
}

/// Internal deliveries that end, as two columns.
#[derive(Debug, Default)]
struct Taken {
    id: Vec<Uuid>,
    claims: Vec<i64>,
}

impl Taken {
    fn push(&mut self, row: &ClaimedRow) {
        self.id.push(row.id.0);
        self.claims.push(row.claims);
    }

    fn bind(self, query: Query) -> Query {
        query.bind(self.id).bind(self.claims)
    }
}

/// Rows that a commit withdraws.
struct Cancelled {
    timers: BTreeSet<Uuid>,
    calls: BTreeSet<Uuid>,
}

impl Cancelled {
    fn new(slices: &[&Slice]) -> Cancelled {
        let ids = |of: fn(&Slice) -> &[RowId]| {
            slices.iter().flat_map(|slice| of(slice)).map(|row| row.0).collect()
        };
        Cancelled { timers: ids(|s| &s.cancelled_timers), calls: ids(|s| &s.cancelled_tasks) }
    }
}

/// The one row that (d) returns.
struct Answer {
    journaled: Vec<Uuid>,
    parked: Vec<Uuid>,
    owned: Vec<Uuid>,
    keys: Vec<Uuid>,
    woke: bool,
}

impl Answer {
    fn read(row: &PgRow) -> Result<Answer, sqlx::Error> {
        Ok(Answer {
            journaled: row.try_get("journaled")?,
            parked: row.try_get("parked")?,
            owned: row.try_get("owned")?,
            keys: row.try_get("keys")?,
            woke: row.try_get("woke")?,
        })
    }
}

/// Messages that occur more than once.
fn repeated(messages: &[MessageId]) -> impl Iterator<Item = MessageId> {
    let mut seen = BTreeSet::new();
    messages.iter().copied().filter(move |message| !seen.insert(*message))
}

/// Messages that the answer does not name.
fn missing(asked: &[MessageId], answered: &[Uuid]) -> impl Iterator<Item = MessageId> {
    let answered: BTreeSet<Uuid> = answered.iter().copied().collect();
    asked.iter().copied().filter(move |message| !answered.contains(&message.0))
}
