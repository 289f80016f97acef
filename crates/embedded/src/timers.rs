//! Timers: set and cancelled by commits, claimed when due.

use chrono::{DateTime, Utc};
use knarr_model::Slice;
use knarr_model::ids::InstanceId;
use knarr_model::work::{Claim, Timer};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::claims::{Ready, free};
use crate::error::Error;
use crate::rows::{
    from_json, get, hex, id, instant, json, micros, name, readable, some_json, whole,
};

const INSERT: &str = "INSERT INTO timer
        (id, endpoint, saga, instance, run, name, due_at, attempt, claims, context)
    SELECT unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, unhex(j.value ->> 3), j.value ->> 4,
        j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8, j.value ->> 9
    FROM json_each(?1) j";
const CANCEL: &str = "DELETE FROM timer WHERE saga = ?1
    AND id IN (SELECT unhex(value) FROM json_each(?2))";
const FORGET: &str = "DELETE FROM timer WHERE saga = ?1 AND instance = ?2";
const DUE: &str = concat!(
    "SELECT t.id, t.due_at FROM timer t
    WHERE t.endpoint = ?5 AND t.due_at <= ?2 AND ",
    free!("t"),
    " ORDER BY t.due_at, t.id LIMIT ?6"
);
const CLAIM: &str = "UPDATE timer SET node = ?1, claims = claims + 1
    WHERE id IN (SELECT unhex(value) FROM json_each(?2))
    RETURNING id, endpoint, saga, instance, run, name, due_at, attempt, claims, context";
const OF_INSTANCE: &str = "SELECT id, endpoint, saga, instance, run, name, due_at, attempt,
        claims, context
    FROM timer WHERE saga = ?1 AND instance = ?2 ORDER BY due_at, id";

/// The timers that the slices set and cancel, as parameters.
pub(crate) fn rows(slices: &[&Slice]) -> Result<(Option<String>, Option<String>), Error> {
    let (mut set, mut cancelled) = (Vec::new(), Vec::new());
    for slice in slices {
        for timer in &slice.timers {
            set.push((
                hex(timer.id.0),
                &timer.endpoint,
                &timer.saga,
                hex(timer.instance.0),
                timer.run,
                &timer.name,
                micros(timer.due_at),
                timer.attempt,
                timer.claims,
                json(&timer.context)?,
            ));
        }
        cancelled.extend(slice.cancelled_timers.iter().map(|row| hex(row.0)));
    }
    Ok((some_json(&set)?, some_json(&cancelled)?))
}

/// Sets timers.
pub(crate) async fn insert(connection: &mut SqliteConnection, rows: &str) -> Result<(), Error> {
    sqlx::query(INSERT).bind(rows).execute(connection).await?;
    Ok(())
}

/// Cancels timers; absent ones do not matter.
pub(crate) async fn cancel(
    connection: &mut SqliteConnection,
    saga: &str,
    rows: &str,
) -> Result<(), Error> {
    sqlx::query(CANCEL).bind(saga).bind(rows).execute(connection).await?;
    Ok(())
}

/// Drops the timers of a purged instance.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Error> {
    sqlx::query(FORGET).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

/// Claims due timers, earliest first.
pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<Vec<Timer>, Error> {
    let Some(ready) = Ready::new(connection, claim, now).await? else { return Ok(Vec::new()) };
    let chosen = ready.earliest(connection, DUE, None).await?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let rows = ready.mark(connection, CLAIM, &chosen).await?;
    let mut timers = readable("timer", &rows, read);
    timers.sort_by_key(|timer| (timer.due_at, timer.id));
    Ok(timers)
}

/// An instance's live timers, earliest first.
pub(crate) async fn of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Timer>, Error> {
    let rows = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).fetch_all(connection).await?;
    Ok(readable("timer", &rows, read))
}

/// Every live timer of an instance: one that cannot be read is an error.
pub(crate) async fn all_of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Timer>, Error> {
    let query = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0);
    query.fetch_all(connection).await?.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<Timer, Error> {
    Ok(Timer {
        id: id(row, 0)?,
        endpoint: name(row, 1)?,
        saga: name(row, 2)?,
        instance: id(row, 3)?,
        run: whole(row, 4)?,
        name: get(row, 5)?,
        due_at: instant(row, 6)?,
        attempt: whole(row, 7)?,
        claims: get(row, 8)?,
        context: from_json(row, 9)?,
    })
}
