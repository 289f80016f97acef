//! Instances: written by version, read with their data, emptied by a purge.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, Name};
use knarr_model::instance::{FINAL, Instance};
use knarr_model::ports::records::{InstanceSummary, StateCount};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Failed;
use crate::rows;

/// Old finished instances are found by the journal rows that finished them: nothing that changes is
/// indexed here. One that is written meanwhile stays, and so does a key that another instance has
/// taken; a key that was used again becomes free, so that its next owner does not bear the id of an
/// earlier one.
const SWEEP: &str = "
WITH old AS MATERIALIZED (
  SELECT DISTINCT i.saga, i.id
  FROM journal j JOIN instance i ON i.id = j.instance AND i.saga = j.saga
  WHERE j.at < $1 AND j.to_state = $3 AND i.state = $3 AND i.updated_at < $1
    AND i.incident IS NULL
    AND NOT EXISTS (SELECT FROM parked w WHERE w.instance = i.id AND w.saga = i.saga)
    AND NOT EXISTS (SELECT FROM timer w WHERE w.instance = i.id AND w.saga = i.saga)
    AND NOT EXISTS (SELECT FROM activity w WHERE w.instance = i.id AND w.saga = i.saga)
  LIMIT $2),
gone AS (
  DELETE FROM instance i USING old
  WHERE i.id = old.id AND i.saga = old.saga AND i.state = $3 AND i.updated_at < $1
  RETURNING i.saga, i.id),
dropped AS (
  DELETE FROM correlation c USING gone
  WHERE c.instance = gone.id AND c.saga = gone.saga AND c.generation = 1),
freed AS (
  UPDATE correlation c SET free = true FROM gone
  WHERE c.instance = gone.id AND c.saga = gone.saga AND c.generation > 1 AND NOT c.free)
SELECT count(*) FROM gone";

/// Statement (c) of a commit. Rows are locked in the order of their ids, so that two batches that
/// share instances queue up instead of deadlocking. The version check is what makes concurrent
/// starters safe; `inserted` tells an update that found no row, since the row was swept.
const WRITE: &str = "
INSERT INTO instance (saga, id, run, state, version, definition_version, data, book, incident,
                      updated_at)
SELECT $1, new.*, clock_timestamp()
FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
            $8::text[], $9::uuid[])
     AS new (id, run, state, version, definition_version, data, book, incident)
ORDER BY new.id
ON CONFLICT (saga, id) DO UPDATE
SET run = excluded.run, state = excluded.state, version = excluded.version,
    definition_version = excluded.definition_version, data = excluded.data, book = excluded.book,
    incident = excluded.incident, updated_at = excluded.updated_at
WHERE instance.version = excluded.version - 1
RETURNING id, (xmax = 0) AS inserted";

const ONE: &str = "
SELECT id, run, state, version, definition_version, data, book, incident, updated_at
FROM instance WHERE saga = $1 AND id = $2";

const LOCK: &str = "
SELECT id, run, state, version, definition_version, data, book, incident
FROM instance WHERE saga = $1 AND id = $2 FOR UPDATE";

/// Nothing that changes is indexed on this table: the newest change is found by reading it.
const LIST: &str = "
SELECT id, run, state, version, updated_at FROM instance
WHERE saga = $1 AND ($2::text IS NULL OR state = $2)
  AND ($3::timestamptz IS NULL OR (updated_at, id) < ($3, $4::uuid))
ORDER BY updated_at DESC, id DESC LIMIT $5";

const COUNTS: &str = "
SELECT saga, state, count(*) AS number FROM instance
GROUP BY saga, state ORDER BY saga COLLATE \"C\", state COLLATE \"C\"";

/// What became of the instances of a commit.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Those of another version: their slices are left out.
    pub(crate) lost: Vec<InstanceId>,
    /// Those inserted where an update was meant.
    pub(crate) swept: Vec<InstanceId>,
}

/// Carries out (c).
pub(crate) async fn write(
    connection: &mut PgConnection,
    saga: &str,
    instances: &[&Instance],
) -> Result<Written, Failed> {
    if instances.is_empty() {
        return Ok(Written::default());
    }
    let mut books = Vec::with_capacity(instances.len());
    for instance in instances {
        books.push(rows::to_json(&instance.book)?);
    }
    let column = |of: fn(&Instance) -> i64| instances.iter().map(|i| of(i)).collect::<Vec<_>>();
    let found = sqlx::query(WRITE)
        .bind(saga)
        .bind(instances.iter().map(|i| i.id.0).collect::<Vec<_>>())
        .bind(column(|i| i.run.into()))
        .bind(instances.iter().map(|i| rows::plain(&i.state)).collect::<Vec<_>>())
        .bind(column(|i| i.version))
        .bind(column(|i| i.definition_version.into()))
        .bind(instances.iter().map(|i| i.data.get()).collect::<Vec<_>>())
        .bind(books)
        .bind(instances.iter().map(|i| i.incident).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut inserted = BTreeMap::new();
    for row in &found {
        inserted.insert(row.try_get::<Uuid, _>(0)?, row.try_get::<bool, _>(1)?);
    }
    let mut written = Written::default();
    for instance in instances {
        match inserted.get(&instance.id.0) {
            None => written.lost.push(instance.id),
            Some(true) if instance.version > 1 => written.swept.push(instance.id),
            Some(_) => {}
        }
    }
    Ok(written)
}

/// One instance, and when it was last written.
pub(crate) async fn one(
    connection: &mut PgConnection,
    saga: &Name,
    id: InstanceId,
) -> Result<Option<(Instance, DateTime<Utc>)>, Failed> {
    let row = sqlx::query(ONE).bind(&**saga).bind(id.0).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let read = || Ok((read(saga, &row)?, rows::get(&row, "updated_at")?));
    read().map(Some).map_err(|error: String| rows::unreadable("instance", id, &error).into())
}

/// One instance, locked.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    saga: &Name,
    id: InstanceId,
) -> Result<Option<Instance>, Failed> {
    let row = sqlx::query(LOCK).bind(&**saga).bind(id.0).fetch_optional(connection).await?;
    let row = row.map(|row| read(saga, &row)).transpose();
    row.map_err(|error| rows::unreadable("instance", id, &error).into())
}

/// Instances of a saga, the newest change first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    saga: &Name,
    state: Option<&str>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<InstanceSummary>, Failed> {
    let found = sqlx::query(LIST)
        .bind(&**saga)
        .bind(state.map(rows::plain))
        .bind(after.map(|(at, _)| at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows::readable(&found, "instance", |row| {
        Ok(InstanceSummary {
            saga: Arc::clone(saga),
            id: InstanceId(rows::get(row, "id")?),
            run: rows::count(row, "run")?,
            state: rows::text(row, "state")?,
            version: rows::get(row, "version")?,
            updated_at: rows::get(row, "updated_at")?,
        })
    }))
}

/// How many instances are in each state.
pub(crate) async fn counts(connection: &mut PgConnection) -> Result<Vec<StateCount>, Failed> {
    let found = sqlx::query(COUNTS).fetch_all(connection).await?;
    Ok(rows::readable(&found, "instance", |row| {
        Ok(StateCount {
            saga: rows::get::<&str>(row, "saga")?.into(),
            state: rows::text(row, "state")?,
            count: rows::get::<i64>(row, "number")?.unsigned_abs(),
        })
    }))
}

/// Reads a row with the columns of the table but for the saga.
pub(crate) fn read(saga: &Name, row: &PgRow) -> Result<Instance, String> {
    Ok(Instance {
        saga: Arc::clone(saga),
        id: InstanceId(rows::get(row, "id")?),
        run: rows::count(row, "run")?,
        state: rows::text(row, "state")?,
        version: rows::get(row, "version")?,
        definition_version: rows::count(row, "definition_version")?,
        data: rows::raw(row, "data")?,
        book: rows::json(row, "book")?,
        incident: rows::get(row, "incident")?,
    })
}

/// Deletes old finished instances of which nothing waits, and lets go of their keys.
pub(crate) async fn sweep(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Failed> {
    let swept = sqlx::query(SWEEP).bind(before).bind(limit).bind(FINAL).fetch_one(connection);
    let count: i64 = swept.await?.try_get(0)?;
    Ok(count.unsigned_abs())
}
