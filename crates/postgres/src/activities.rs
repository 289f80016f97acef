//! Calls: claimed for an attempt, recorded, and claimed again by the saga once they have ended.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, RowId};
use knarr_model::ports::StoreError;
use knarr_model::work::{ActivityTask, AttemptOutcome, AttemptRecord, EndedCall, Losses};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::claims::{Asked, claimable, dead, open_endpoints};
use crate::error::Failed;
use crate::rows::{self, Query};

/// An attempt that ended with its node's lease, or never reached its node, stays the one to run:
/// only a row of nobody counts one up. What another node ran is lost; what it held and did not run
/// is acquitted but of one loss. Without losses it is run from now on.
const CLAIM_DUE: &str = concat!(
    "
WITH due AS (
  SELECT found.id, found.due_at
  FROM ",
    open_endpoints!(),
    "
  CROSS JOIN LATERAL (
    SELECT activity.id, activity.due_at FROM activity
    WHERE activity.endpoint = asked.name AND activity.due_at <= statement_timestamp()
      AND activity.ended IS NULL AND activity.call = ANY ($5::text[])
      AND ",
    claimable!("activity"),
    "
    ORDER BY activity.due_at, activity.id LIMIT $3 FOR UPDATE SKIP LOCKED) found
  ORDER BY found.due_at, found.id LIMIT $3)
UPDATE activity
SET node = $1, claims = claims + 1, attempt = attempt + (node IS NULL)::int,
    lost = CASE WHEN node IS NULL OR node = $1 THEN lost
                WHEN run_since IS NULL THEN least(lost, 1) ELSE lost + 1 END,
    lost_at = CASE WHEN node IS NULL OR node = $1 OR run_since IS NULL THEN lost_at
                   ELSE statement_timestamp() END,
    lost_after_us = CASE WHEN node IS NULL OR node = $1 OR run_since IS NULL THEN lost_after_us
                         ELSE extract(epoch FROM statement_timestamp() - run_since) * 1000000 END,
    run_since = CASE WHEN (node IS NULL OR node = $1) AND lost = 0
                     THEN statement_timestamp() END
WHERE id = ANY (ARRAY (SELECT id FROM due))
RETURNING id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims, memo,
          due_at, retry, deadline_us, context, lost, lost_at, lost_after_us"
);

const CLAIM_ENDED: &str = concat!(
    "
WITH due AS (
  SELECT found.id, found.due_at
  FROM ",
    open_endpoints!(),
    "
  CROSS JOIN LATERAL (
    SELECT activity.id, activity.due_at FROM activity
    WHERE activity.endpoint = asked.name AND activity.due_at <= statement_timestamp()
      AND activity.ended IS NOT NULL
      AND ",
    claimable!("activity"),
    "
    ORDER BY activity.due_at, activity.id LIMIT $3 FOR UPDATE SKIP LOCKED) found
  ORDER BY found.due_at, found.id LIMIT $3)
UPDATE activity SET node = $1, claims = claims + 1 WHERE id = ANY (ARRAY (SELECT id FROM due))
RETURNING id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims, memo,
          due_at, retry, deadline_us, context, lost, lost_at, lost_after_us, ended,
          decide_attempt"
);

/// An outcome is taken under its own claim only. An end that is repeated is taken again and
/// changes nothing, for its first answer may have been lost.
const RECORD: &str = "
UPDATE activity
SET ended = coalesce(activity.ended, told.ended),
    due_at = CASE WHEN activity.ended IS NOT NULL THEN activity.due_at
                  ELSE coalesce(told.due_at, statement_timestamp()) END,
    memo = CASE WHEN told.ended IS NULL THEN told.memo ELSE activity.memo END,
    attempt = activity.attempt - (told.ended IS NULL AND NOT told.used)::int,
    node = CASE WHEN told.ended IS NULL THEN NULL ELSE activity.node END,
    lost = 0, lost_at = NULL, lost_after_us = NULL
FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[], $7::bool[])
     AS told (id, claims, ended, due_at, memo, used)
WHERE activity.id = told.id AND activity.id = ANY ($2)
  AND activity.node = $1 AND activity.claims = told.claims
  AND (activity.ended IS NULL OR told.ended IS NOT NULL)
RETURNING activity.id";

const OF_INSTANCE: &str = "
SELECT id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims, memo,
       due_at, retry, deadline_us, context, lost, lost_at, lost_after_us
FROM activity WHERE saga = $1 AND instance = $2 ORDER BY id";

const LOCK_OF_INSTANCE: &str = "
SELECT id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims, memo,
       due_at, retry, deadline_us, context, lost, lost_at, lost_after_us, ended, decide_attempt
FROM activity WHERE saga = $1 AND instance = $2 ORDER BY id FOR UPDATE";

const RESTORE: &str = "
INSERT INTO activity (id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt,
                      claims, memo, due_at, retry, deadline_us, context, ended, decide_attempt)
SELECT new.*
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::text[], $7::text[],
            $8::uuid[], $9::bigint[], $10::bigint[], $11::text[], $12::timestamptz[],
            $13::text[], $14::bigint[], $15::text[], $16::text[], $17::bigint[]) AS new
ON CONFLICT (id) DO NOTHING";

/// Those of `$2` that are node `$1`'s.
const OWN: &str = "SELECT id FROM activity WHERE id = ANY ($2) AND node = $1";

const DELETE_OF_INSTANCE: &str = "DELETE FROM activity WHERE saga = $1 AND instance = $2";

/// Of one endpoint, or of all. An attempt that is given back is none.
const GIVE_BACK: &str = "
UPDATE activity SET node = NULL, attempt = attempt - (ended IS NULL)::int
WHERE node = $1 AND ($2::text IS NULL OR endpoint = $2)";

const RUN: &str = "
UPDATE activity SET run_since = statement_timestamp()
WHERE id = $2 AND node = $1 AND claims = $3 AND ended IS NULL";

const PUT_OFF: &str = "
UPDATE activity SET node = NULL, attempt = attempt - 1, due_at = $4
FROM unnest($2::uuid[], $3::bigint[]) AS own (id, claims)
WHERE activity.id = own.id AND activity.id = ANY ($2)
  AND activity.node = $1 AND activity.claims = own.claims AND activity.ended IS NULL";

/// Claims calls of the given types, the longest due first.
pub(crate) async fn claim_due(
    connection: &mut PgConnection,
    asked: Asked,
    calls: &[String],
) -> Result<Vec<ActivityTask>, Failed> {
    let calls: Vec<_> = calls.iter().map(|call| rows::plain(call)).collect();
    let rows = asked.bind(CLAIM_DUE).bind(calls).fetch_all(connection).await?;
    let mut tasks = rows::readable(&rows, "activity", read);
    tasks.sort_by_key(|task| (task.due_at, task.id));
    Ok(tasks)
}

/// Claims ended calls, the longest ended first.
pub(crate) async fn claim_ended(
    connection: &mut PgConnection,
    asked: Asked,
) -> Result<Vec<EndedCall>, Failed> {
    let rows = asked.bind(CLAIM_ENDED).fetch_all(connection).await?;
    let mut ended = rows::readable(&rows, "activity", read_ended);
    ended.sort_by_key(|call| (call.task.due_at, call.task.id));
    Ok(ended)
}

/// Takes outcomes of attempts that are not late; says of each whether it was taken.
pub(crate) async fn record(
    connection: &mut PgConnection,
    node: Uuid,
    records: &[AttemptRecord],
) -> Result<Vec<bool>, Failed> {
    let mut taken = Vec::with_capacity(records.len());
    // One row may be told of twice; a statement updates a row once.
    for round in rounds(records) {
        let mut columns = RecordColumns::default();
        for record in &round {
            columns.push(record)?;
        }
        let query = columns.bind(sqlx::query(RECORD).bind(node));
        let mut found = Vec::new();
        for row in query.fetch_all(&mut *connection).await? {
            found.push(row.try_get::<Uuid, _>(0)?);
        }
        taken.extend(round.iter().map(|record| found.contains(&record.task.0)));
    }
    Ok(taken)
}

/// From now on the node runs a call that it has claimed.
pub(crate) async fn run(
    connection: &mut PgConnection,
    node: Uuid,
    call: RowId,
    claims: i64,
) -> Result<bool, Failed> {
    let query = sqlx::query(RUN).bind(node).bind(call.0).bind(claims);
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// Gives back calls that the node did not run.
pub(crate) async fn put_off(
    connection: &mut PgConnection,
    node: Uuid,
    calls: &[(RowId, i64)],
    until: DateTime<Utc>,
) -> Result<(), Failed> {
    let (ids, claims): (Vec<_>, Vec<_>) = calls.iter().map(|(id, claims)| (id.0, *claims)).unzip();
    let query = sqlx::query(PUT_OFF).bind(node).bind(ids).bind(claims).bind(until);
    query.execute(connection).await?;
    Ok(())
}

/// The records in runs without a repeated row.
fn rounds(records: &[AttemptRecord]) -> Vec<Vec<&AttemptRecord>> {
    let mut rounds: Vec<Vec<&AttemptRecord>> = Vec::new();
    let mut seen: BTreeSet<RowId> = BTreeSet::new();
    for record in records {
        if rounds.is_empty() || !seen.insert(record.task) {
            rounds.push(Vec::new());
            seen = BTreeSet::from([record.task]);
        }
        if let Some(round) = rounds.last_mut() {
            round.push(record);
        }
    }
    rounds
}

/// The calls of an instance.
pub(crate) async fn of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<ActivityTask>, Failed> {
    let rows = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).fetch_all(connection).await?;
    Ok(rows::readable(&rows, "activity", read))
}

/// The calls of an instance, all of them, locked: those that have not ended, and those that have.
pub(crate) async fn lock_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(Vec<ActivityTask>, Vec<EndedCall>), Failed> {
    let query = sqlx::query(LOCK_OF_INSTANCE).bind(saga).bind(instance.0);
    let found = query.fetch_all(connection).await?;
    let (mut calls, mut ended) = (Vec::new(), Vec::new());
    for row in found {
        let has_ended = row.try_get::<Option<&str>, _>("ended")?.is_some();
        let row = std::slice::from_ref(&row);
        if has_ended {
            ended.extend(rows::all(row, "activity", read_ended)?);
        } else {
            calls.extend(rows::all(row, "activity", read)?);
        }
    }
    calls.sort_by_key(|call: &ActivityTask| call.id);
    ended.sort_by_key(|call: &EndedCall| call.task.id);
    Ok((calls, ended))
}

/// Puts calls back, claimed by nobody.
pub(crate) async fn restore(
    connection: &mut PgConnection,
    calls: &[ActivityTask],
    ended: &[EndedCall],
) -> Result<(), Failed> {
    let mut columns = Columns::default();
    let (mut ends, mut attempts) = (Vec::new(), Vec::new());
    for call in calls {
        columns.push(call)?;
        ends.push(None);
        attempts.push(0);
    }
    for call in ended {
        columns.push(&call.task)?;
        ends.push(Some(rows::to_json(&call.end)?));
        attempts.push(i64::from(call.decide_attempt));
    }
    columns.bind(sqlx::query(RESTORE)).bind(ends).bind(attempts).execute(connection).await?;
    Ok(())
}

/// Of these calls those whose rows are there and the node's.
pub(crate) async fn own(
    connection: &mut PgConnection,
    node: Uuid,
    calls: &[Uuid],
) -> Result<Vec<Uuid>, Failed> {
    Ok(sqlx::query_scalar(OWN).bind(node).bind(calls).fetch_all(connection).await?)
}

/// Deletes the calls of an instance.
pub(crate) async fn delete_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Failed> {
    sqlx::query(DELETE_OF_INSTANCE).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

/// Gives back a node's claims.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    node: Uuid,
    endpoint: Option<&str>,
) -> Result<(), Failed> {
    sqlx::query(GIVE_BACK).bind(node).bind(endpoint).execute(connection).await?;
    Ok(())
}

fn read_ended(row: &PgRow) -> Result<EndedCall, String> {
    Ok(EndedCall {
        task: read(row)?,
        end: rows::json(row, "ended")?,
        decide_attempt: rows::count(row, "decide_attempt")?,
    })
}

fn read(row: &PgRow) -> Result<ActivityTask, String> {
    let deadline: Option<i64> = rows::get(row, "deadline_us")?;
    let lost_after: Option<i64> = rows::get(row, "lost_after_us")?;
    Ok(ActivityTask {
        id: RowId(rows::get(row, "id")?),
        endpoint: rows::get::<&str>(row, "endpoint")?.into(),
        saga: rows::get::<&str>(row, "saga")?.into(),
        instance: InstanceId(rows::get(row, "instance")?),
        run: rows::count(row, "run")?,
        call: rows::text(row, "call")?,
        payload: rows::raw(row, "payload")?,
        idempotency_key: rows::get(row, "idempotency_key")?,
        attempt: rows::count(row, "attempt")?,
        claims: rows::get(row, "claims")?,
        memo: rows::maybe_json(row, "memo")?,
        due_at: rows::get(row, "due_at")?,
        retry: rows::maybe_json(row, "retry")?,
        deadline: deadline.map(|micros| Duration::from_micros(micros.unsigned_abs())),
        context: rows::json(row, "context")?,
        lost: Losses {
            count: rows::count(row, "lost")?,
            last: rows::get(row, "lost_at")?,
            after: lost_after.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())),
        },
    })
}

/// Calls as the columns that a commit writes.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    id: Vec<Uuid>,
    endpoint: Vec<&'a str>,
    saga: Vec<&'a str>,
    instance: Vec<Uuid>,
    run: Vec<i64>,
    call: Vec<Cow<'a, str>>,
    payload: Vec<&'a str>,
    idempotency_key: Vec<Uuid>,
    attempt: Vec<i64>,
    claims: Vec<i64>,
    memo: Vec<Option<String>>,
    due_at: Vec<DateTime<Utc>>,
    retry: Vec<Option<String>>,
    deadline_us: Vec<Option<i64>>,
    context: Vec<String>,
}

impl<'a> Columns<'a> {
    pub(crate) fn push(&mut self, task: &'a ActivityTask) -> Result<(), StoreError> {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.memo.push(task.memo.as_ref().map(rows::to_json).transpose()?);
        self.retry.push(task.retry.as_ref().map(rows::to_json).transpose()?);
        self.context.push(rows::to_json(&task.context)?);
        self.id.push(task.id.0);
        self.endpoint.push(&task.endpoint);
        self.saga.push(&task.saga);
        self.instance.push(task.instance.0);
        self.run.push(task.run.into());
        self.call.push(rows::plain(&task.call));
        self.payload.push(task.payload.get());
        self.idempotency_key.push(task.idempotency_key);
        self.attempt.push(task.attempt.into());
        self.claims.push(task.claims);
        self.due_at.push(task.due_at);
        self.deadline_us.push(task.deadline.map(micros));
        Ok(())
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query
            .bind(self.id)
            .bind(self.endpoint)
            .bind(self.saga)
            .bind(self.instance)
            .bind(self.run)
            .bind(self.call)
            .bind(self.payload)
            .bind(self.idempotency_key)
            .bind(self.attempt)
            .bind(self.claims)
            .bind(self.memo)
            .bind(self.due_at)
            .bind(self.retry)
            .bind(self.deadline_us)
            .bind(self.context)
    }
}

/// Outcomes of attempts as columns.
#[derive(Debug, Default)]
struct RecordColumns {
    id: Vec<Uuid>,
    claims: Vec<i64>,
    ended: Vec<Option<String>>,
    due_at: Vec<Option<DateTime<Utc>>>,
    memo: Vec<Option<String>>,
    used: Vec<bool>,
}

impl RecordColumns {
    fn push(&mut self, record: &AttemptRecord) -> Result<(), StoreError> {
        let (ended, due_at, memo, used) = match &record.outcome {
            AttemptOutcome::Ended(end) => (Some(rows::to_json(end)?), None, None, true),
            AttemptOutcome::Again { due_at, memo, used } => {
                (None, Some(*due_at), memo.as_ref().map(rows::to_json).transpose()?, *used)
            }
        };
        self.id.push(record.task.0);
        self.claims.push(record.claims);
        self.ended.push(ended);
        self.due_at.push(due_at);
        self.memo.push(memo);
        self.used.push(used);
        Ok(())
    }

    fn bind(self, query: Query) -> Query {
        query
            .bind(self.id)
            .bind(self.claims)
            .bind(self.ended)
            .bind(self.due_at)
            .bind(self.memo)
            .bind(self.used)
    }
}
