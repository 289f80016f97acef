//! Timers: rows that become internal deliveries when they are due.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use knarr_model::commit::Again;
use knarr_model::ids::{InstanceId, RowId};
use knarr_model::ports::StoreError;
use knarr_model::work::Timer;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::claims::{Asked, claimable, dead, open_endpoints};
use crate::error::Failed;
use crate::rows::{self, Query};

/// The time of the statement, not `clock_timestamp()`, so that the index can be used; the array,
/// not a join, so that no plan can read the whole table.
const CLAIM: &str = concat!(
    "
WITH due AS (
  SELECT found.id, found.due_at
  FROM ",
    open_endpoints!(),
    "
  CROSS JOIN LATERAL (
    SELECT timer.id, timer.due_at FROM timer
    WHERE timer.endpoint = asked.name AND timer.due_at <= statement_timestamp()
      AND ",
    claimable!("timer"),
    "
    ORDER BY timer.due_at, timer.id LIMIT $3 FOR UPDATE SKIP LOCKED) found
  ORDER BY found.due_at, found.id LIMIT $3)
UPDATE timer SET node = $1, claims = claims + 1 WHERE id = ANY (ARRAY (SELECT id FROM due))
RETURNING id, endpoint, saga, instance, run, name, due_at, attempt, claims, context"
);

const OF_INSTANCE: &str = "
SELECT id, endpoint, saga, instance, run, name, due_at, attempt, claims, context
FROM timer WHERE saga = $1 AND instance = $2 ORDER BY due_at, id";

const LOCK_OF_INSTANCE: &str = "
SELECT id, endpoint, saga, instance, run, name, due_at, attempt, claims, context
FROM timer WHERE saga = $1 AND instance = $2 ORDER BY id FOR UPDATE";

const RESTORE: &str = "
INSERT INTO timer (id, endpoint, saga, instance, run, name, due_at, attempt, claims, context)
SELECT new.*
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::text[],
            $7::timestamptz[], $8::bigint[], $9::bigint[], $10::text[]) AS new
ON CONFLICT (id) DO NOTHING";

const DELETE_OF_INSTANCE: &str = "DELETE FROM timer WHERE saga = $1 AND instance = $2";

/// Of one endpoint, or of all.
const GIVE_BACK: &str =
    "UPDATE timer SET node = NULL WHERE node = $1 AND ($2::text IS NULL OR endpoint = $2)";

/// Claims due timers, the longest due first.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    asked: Asked,
) -> Result<Vec<Timer>, Failed> {
    let rows = asked.bind(CLAIM).fetch_all(connection).await?;
    let mut timers = rows::readable(&rows, "timer", read);
    timers.sort_by_key(|timer| (timer.due_at, timer.id));
    Ok(timers)
}

/// The timers of an instance.
pub(crate) async fn of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Timer>, Failed> {
    let rows = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).fetch_all(connection).await?;
    Ok(rows::readable(&rows, "timer", read))
}

/// The timers of an instance, all of them, locked.
pub(crate) async fn lock_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Timer>, Failed> {
    let query = sqlx::query(LOCK_OF_INSTANCE).bind(saga).bind(instance.0);
    let found = query.fetch_all(connection).await?;
    let mut timers = rows::all(&found, "timer", read)?;
    timers.sort_by_key(|timer| (timer.due_at, timer.id));
    Ok(timers)
}

/// Puts timers back, claimed by nobody.
pub(crate) async fn restore(connection: &mut PgConnection, timers: &[Timer]) -> Result<(), Failed> {
    let mut columns = Columns::default();
    for timer in timers {
        columns.push(timer)?;
    }
    columns.bind(sqlx::query(RESTORE)).execute(connection).await?;
    Ok(())
}

/// Deletes the timers of an instance.
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

fn read(row: &PgRow) -> Result<Timer, String> {
    Ok(Timer {
        id: RowId(rows::get(row, "id")?),
        endpoint: rows::get::<&str>(row, "endpoint")?.into(),
        saga: rows::get::<&str>(row, "saga")?.into(),
        instance: InstanceId(rows::get(row, "instance")?),
        run: rows::count(row, "run")?,
        name: rows::text(row, "name")?,
        due_at: rows::get(row, "due_at")?,
        attempt: rows::count(row, "attempt")?,
        claims: rows::get(row, "claims")?,
        context: rows::json(row, "context")?,
    })
}

/// Timers as the columns that a commit writes.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    id: Vec<Uuid>,
    endpoint: Vec<&'a str>,
    saga: Vec<&'a str>,
    instance: Vec<Uuid>,
    run: Vec<i64>,
    name: Vec<Cow<'a, str>>,
    due_at: Vec<DateTime<Utc>>,
    attempt: Vec<i64>,
    claims: Vec<i64>,
    context: Vec<String>,
}

impl<'a> Columns<'a> {
    pub(crate) fn push(&mut self, timer: &'a Timer) -> Result<(), StoreError> {
        self.context.push(rows::to_json(&timer.context)?);
        self.id.push(timer.id.0);
        self.endpoint.push(&timer.endpoint);
        self.saga.push(&timer.saga);
        self.instance.push(timer.instance.0);
        self.run.push(timer.run.into());
        self.name.push(rows::plain(&timer.name));
        self.due_at.push(timer.due_at);
        self.attempt.push(timer.attempt.into());
        self.claims.push(timer.claims);
        Ok(())
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query
            .bind(self.id)
            .bind(self.endpoint)
            .bind(self.saga)
            .bind(self.instance)
            .bind(self.run)
            .bind(self.name)
            .bind(self.due_at)
            .bind(self.attempt)
            .bind(self.claims)
            .bind(self.context)
    }
}

/// Claimed timers and calls that wait again; without a due time they keep theirs.
#[derive(Debug, Default)]
pub(crate) struct AgainColumns {
    id: Vec<Uuid>,
    claims: Vec<i64>,
    due_at: Vec<Option<DateTime<Utc>>>,
    attempt: Vec<i64>,
}

impl AgainColumns {
    pub(crate) fn push(&mut self, again: &Again) {
        self.id.push(again.row.id.0);
        self.claims.push(again.row.claims);
        self.due_at.push(again.due_at);
        self.attempt.push(again.attempt.into());
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query.bind(self.id).bind(self.claims).bind(self.due_at).bind(self.attempt)
    }
}
