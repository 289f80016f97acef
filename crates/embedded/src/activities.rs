//! Calls: asked for by commits, claimed for an attempt, recorded, and claimed again once ended.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::Slice;
use knarr_model::ids::{InstanceId, NodeId, RowId};
use knarr_model::work::{
    ActivityTask, AttemptOutcome, AttemptRecord, CallEnd, Claim, EndedCall, Losses,
};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::claims::{Ready, free};
use crate::error::Error;
use crate::rows::{
    from_json, get, hex, id, ids, instant, json, micros, name, raw, readable, some_instant,
    some_json, some_json_column, whole,
};

const INSERT: &str = "INSERT INTO activity
        (id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims, memo,
        due_at, retry, deadline, context)
    SELECT unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, unhex(j.value ->> 3), j.value ->> 4,
        j.value ->> 5, j.value ->> 6, unhex(j.value ->> 7), j.value ->> 8, j.value ->> 9,
        j.value ->> 10, j.value ->> 11, j.value ->> 12, j.value ->> 13, j.value ->> 14
    FROM json_each(?1) j";
const CANCEL: &str = "DELETE FROM activity WHERE saga = ?1
    AND id IN (SELECT unhex(value) FROM json_each(?2))";
const FORGET: &str = "DELETE FROM activity WHERE saga = ?1 AND instance = ?2";
const DUE: &str = concat!(
    "SELECT a.id, a.due_at FROM activity a
    WHERE a.endpoint = ?5 AND a.due_at <= ?2 AND a.ended IS NULL
        AND a.call IN (SELECT value FROM json_each(?7)) AND ",
    free!("a"),
    " ORDER BY a.due_at, a.id LIMIT ?6"
);
/// An attempt that ended with its node's lease, or never reached its node, stays the one to run.
/// What another node ran is lost; what it held and did not run is acquitted but of one loss.
/// Without losses it is run from now (?3) on.
const CLAIM: &str = "UPDATE activity
    SET attempt = attempt + (node IS NULL), claims = claims + 1, node = ?1,
        lost = CASE WHEN node IS NULL OR node = ?1 THEN lost
            WHEN run_since IS NULL THEN min(lost, 1) ELSE lost + 1 END,
        lost_at = iif(node IS NULL OR node = ?1 OR run_since IS NULL, lost_at, ?3),
        lost_after = iif(node IS NULL OR node = ?1 OR run_since IS NULL, lost_after,
            ?3 - run_since),
        run_since = iif((node IS NULL OR node = ?1) AND lost = 0, ?3, NULL)
    WHERE id IN (SELECT unhex(value) FROM json_each(?2))
    RETURNING id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims,
        memo, due_at, retry, deadline, context, lost, lost_at, lost_after";
const DUE_ENDED: &str = concat!(
    "SELECT a.id, a.due_at FROM activity a
    WHERE a.endpoint = ?5 AND a.due_at <= ?2 AND a.ended IS NOT NULL AND ",
    free!("a"),
    " ORDER BY a.due_at, a.id LIMIT ?6"
);
const CLAIM_ENDED: &str = "UPDATE activity SET node = ?1, claims = claims + 1
    WHERE id IN (SELECT unhex(value) FROM json_each(?2))
    RETURNING id, endpoint, saga, instance, run, call, payload, idempotency_key, attempt, claims,
        memo, due_at, retry, deadline, context, lost, lost_at, lost_after, ended, decide_attempt";
/// An end repeated under its own claim changes nothing: its first answer may have been lost.
const END: &str = "UPDATE activity
    SET due_at = iif(ended IS NULL, ?5, due_at), ended = coalesce(ended, ?4),
        lost = 0, lost_at = NULL, lost_after = NULL
    WHERE id = ?1 AND node = ?2 AND claims = ?3";
const AGAIN: &str = "UPDATE activity
    SET due_at = ?4, memo = ?5, attempt = attempt - ?6, node = NULL,
        lost = 0, lost_at = NULL, lost_after = NULL
    WHERE id = ?1 AND node = ?2 AND claims = ?3 AND ended IS NULL";
const RUN: &str = "UPDATE activity SET run_since = ?4
    WHERE id = ?1 AND node = ?2 AND claims = ?3 AND ended IS NULL";
const PUT_OFF: &str = "UPDATE activity SET node = NULL, attempt = attempt - 1, due_at = ?4
    WHERE id = ?1 AND node = ?2 AND claims = ?3 AND ended IS NULL";
const ENDED: &str = "UPDATE activity SET ended = ?2, decide_attempt = ?3 WHERE id = ?1";
const ALL_OF_INSTANCE: &str = "SELECT id, endpoint, saga, instance, run, call, payload,
        idempotency_key, attempt, claims, memo, due_at, retry, deadline, context, lost,
        lost_at, lost_after, ended, decide_attempt
    FROM activity WHERE saga = ?1 AND instance = ?2 ORDER BY id";
const OF_INSTANCE: &str = "SELECT id, endpoint, saga, instance, run, call, payload,
        idempotency_key, attempt, claims, memo, due_at, retry, deadline, context, lost,
        lost_at, lost_after
    FROM activity WHERE saga = ?1 AND instance = ?2 ORDER BY id";

/// The calls that the slices ask for and withdraw, as parameters.
pub(crate) fn rows(slices: &[&Slice]) -> Result<(Option<String>, Option<String>), Error> {
    let (mut asked, mut withdrawn) = (Vec::new(), Vec::new());
    for slice in slices {
        for call in &slice.tasks {
            asked.push((
                hex(call.id.0),
                &call.endpoint,
                &call.saga,
                hex(call.instance.0),
                call.run,
                &call.call,
                call.payload.get(),
                hex(call.idempotency_key),
                call.attempt,
                call.claims,
                call.memo.as_ref().map(json).transpose()?,
                micros(call.due_at),
                call.retry.as_ref().map(json).transpose()?,
                call.deadline.map(whole_micros),
                json(&call.context)?,
            ));
        }
        withdrawn.extend(slice.cancelled_tasks.iter().map(|row| hex(row.0)));
    }
    Ok((some_json(&asked)?, some_json(&withdrawn)?))
}

fn whole_micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Asks for calls.
pub(crate) async fn insert(connection: &mut SqliteConnection, rows: &str) -> Result<(), Error> {
    sqlx::query(INSERT).bind(rows).execute(connection).await?;
    Ok(())
}

/// Withdraws calls; absent ones do not matter.
pub(crate) async fn cancel(
    connection: &mut SqliteConnection,
    saga: &str,
    rows: &str,
) -> Result<(), Error> {
    sqlx::query(CANCEL).bind(saga).bind(rows).execute(connection).await?;
    Ok(())
}

/// Drops the calls of a purged instance.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Error> {
    sqlx::query(FORGET).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

/// Claims calls that are due, of the given types.
pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    claim: &Claim,
    calls: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<ActivityTask>, Error> {
    let Some(ready) = Ready::new(connection, claim, now).await? else { return Ok(Vec::new()) };
    let chosen = ready.earliest(connection, DUE, Some(&json(calls)?)).await?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query(CLAIM).bind(claim.node.0).bind(ids(&chosen)?).bind(ready.now);
    let rows = query.fetch_all(connection).await?;
    let mut calls = readable("call", &rows, read);
    calls.sort_by_key(|call| (call.due_at, call.id));
    Ok(calls)
}

/// Claims calls that have ended and wait for their saga.
pub(crate) async fn claim_ended(
    connection: &mut SqliteConnection,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<Vec<EndedCall>, Error> {
    let Some(ready) = Ready::new(connection, claim, now).await? else { return Ok(Vec::new()) };
    let chosen = ready.earliest(connection, DUE_ENDED, None).await?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let rows = ready.mark(connection, CLAIM_ENDED, &chosen).await?;
    let mut ended = readable("ended call", &rows, |row| {
        let end: CallEnd = from_json(row, 18)?;
        Ok(EndedCall { task: read(row)?, end, decide_attempt: whole(row, 19)? })
    });
    ended.sort_by_key(|call| (call.task.due_at, call.task.id));
    Ok(ended)
}

/// Takes the outcome of one attempt unless it is late.
pub(crate) async fn record(
    connection: &mut SqliteConnection,
    node: NodeId,
    record: &AttemptRecord,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let query = match &record.outcome {
        AttemptOutcome::Ended(end) => sqlx::query(END)
            .bind(record.task.0)
            .bind(node.0)
            .bind(record.claims)
            .bind(json(end)?)
            .bind(micros(now)),
        AttemptOutcome::Again { due_at, memo, used } => sqlx::query(AGAIN)
            .bind(record.task.0)
            .bind(node.0)
            .bind(record.claims)
            .bind(micros(*due_at))
            .bind(memo.as_ref().map(json).transpose()?)
            .bind(!used),
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// From now on the node runs a call that it has claimed.
pub(crate) async fn run(
    connection: &mut SqliteConnection,
    node: NodeId,
    (call, claims): (RowId, i64),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let query = sqlx::query(RUN).bind(call.0).bind(node.0).bind(claims).bind(micros(now));
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// Gives back a call that the node did not run.
pub(crate) async fn put_off(
    connection: &mut SqliteConnection,
    node: NodeId,
    (call, claims): (RowId, i64),
    until: DateTime<Utc>,
) -> Result<(), Error> {
    let query = sqlx::query(PUT_OFF).bind(call.0).bind(node.0).bind(claims).bind(micros(until));
    query.execute(connection).await?;
    Ok(())
}

/// An instance's calls, in the order of their ids.
pub(crate) async fn of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<ActivityTask>, Error> {
    let rows = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).fetch_all(connection).await?;
    Ok(readable("call", &rows, read))
}

/// Every call of an instance: those that have not ended, and those that have.
pub(crate) async fn all_of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(Vec<ActivityTask>, Vec<EndedCall>), Error> {
    let query = sqlx::query(ALL_OF_INSTANCE).bind(saga).bind(instance.0);
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for row in &query.fetch_all(connection).await? {
        let task = read(row)?;
        match some_json_column(row, 18)? {
            Some(end) => ended.push(EndedCall { task, end, decide_attempt: whole(row, 19)? }),
            None => open.push(task),
        }
    }
    Ok((open, ended))
}

/// A call that was inserted had ended already.
pub(crate) async fn end(connection: &mut SqliteConnection, call: &EndedCall) -> Result<(), Error> {
    sqlx::query(ENDED)
        .bind(call.task.id.0)
        .bind(json(&call.end)?)
        .bind(call.decide_attempt)
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<ActivityTask, Error> {
    let deadline: Option<i64> = get(row, 13)?;
    let lost_after: Option<i64> = get(row, 17)?;
    Ok(ActivityTask {
        id: id(row, 0)?,
        endpoint: name(row, 1)?,
        saga: name(row, 2)?,
        instance: id(row, 3)?,
        run: whole(row, 4)?,
        call: get(row, 5)?,
        payload: raw(row, 6)?,
        idempotency_key: id(row, 7)?,
        attempt: whole(row, 8)?,
        claims: get(row, 9)?,
        memo: some_json_column(row, 10)?,
        due_at: instant(row, 11)?,
        retry: some_json_column(row, 12)?,
        deadline: deadline.map(|micros| Duration::from_micros(micros.unsigned_abs())),
        context: from_json(row, 14)?,
        lost: Losses {
            count: whole(row, 15)?,
            last: some_instant(row, 16)?,
            after: lost_after.map(|micros| Duration::from_micros(micros.max(0).unsigned_abs())),
        },
    })
}
