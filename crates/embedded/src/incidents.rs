//! Incidents: written by the guard's verbs, counted beside them, listed newest first.

use knarr_model::incident::{Incident, Scope};
use knarr_model::ports::incidents::IncidentFilter;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::Error;
use crate::rows::{from_json, json, micros, readable, whole};

const WRITE: &str = "INSERT INTO incident
        (id, endpoint, saga, class, status, scope, instance, opened_at, count, detail)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (id) DO UPDATE SET endpoint = excluded.endpoint, saga = excluded.saga,
        class = excluded.class, status = excluded.status, scope = excluded.scope,
        instance = excluded.instance, opened_at = excluded.opened_at, count = excluded.count,
        detail = excluded.detail";
const ONE: &str = "SELECT id, detail, count FROM incident WHERE id = ?1";
const OLDEST: &str = "SELECT id, detail, count FROM incident
    WHERE endpoint = ?1 AND status = 'open' AND scope = 'endpoint'
    ORDER BY opened_at, id LIMIT 1";
/// The open incident that gathers messages of a class (`Incident::gathers`).
const GATHERING: &str = "SELECT id, detail, count FROM incident
    WHERE endpoint = ?1 AND status = 'open' AND saga = ?2 AND class = ?3 AND scope = 'nothing'
        AND instance IS NULL
    ORDER BY opened_at, id LIMIT 1";
const COUNT: &str = "UPDATE incident SET count = count + ?2 WHERE id = ?1";
const PAGE: &str = "SELECT id, detail, count, opened_at FROM incident
    WHERE (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR endpoint = ?2)
        AND (?3 IS NULL OR class = ?3) AND (opened_at, id) < (?4, ?5)
    ORDER BY opened_at DESC, id DESC LIMIT ?6";

fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Endpoint => "endpoint",
        Scope::Instance => "instance",
        Scope::Nothing => "nothing",
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Writes an incident: inserted, or replaced.
pub(crate) async fn write(connection: &mut SqliteConnection, row: &Incident) -> Result<(), Error> {
    sqlx::query(WRITE)
        .bind(row.id)
        .bind(&*row.endpoint)
        .bind(&*row.saga)
        .bind(row.class.as_str())
        .bind(row.status.as_str())
        .bind(scope(row.scope))
        .bind(row.instance.map(|id| id.0))
        .bind(micros(row.opened_at))
        .bind(number(row.count))
        .bind(json(row)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// One incident.
pub(crate) async fn one(
    connection: &mut SqliteConnection,
    id: Uuid,
) -> Result<Option<Incident>, Error> {
    let row = sqlx::query(ONE).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// The oldest open incident that stopped the endpoint.
pub(crate) async fn oldest(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<Option<Incident>, Error> {
    let row = sqlx::query(OLDEST).bind(endpoint).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// The open incident that gathers what `drafted` would.
pub(crate) async fn gathering(
    connection: &mut SqliteConnection,
    drafted: &Incident,
) -> Result<Option<Incident>, Error> {
    if !drafted.gathers() {
        return Ok(None);
    }
    let query = sqlx::query(GATHERING).bind(&*drafted.endpoint).bind(&*drafted.saga);
    let row = query.bind(drafted.class.as_str()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// Adds to the open incident that gathers messages of this class, or opens it.
pub(crate) async fn gather(
    connection: &mut SqliteConnection,
    drafted: &Incident,
) -> Result<(), Error> {
    match gathering(connection, drafted).await? {
        Some(open) => {
            let query = sqlx::query(COUNT).bind(open.id).bind(number(drafted.count));
            query.execute(connection).await?;
            Ok(())
        }
        None => write(connection, drafted).await,
    }
}

/// Rows after the place (time, id), newest first, each with its place.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    filter: &IncidentFilter,
    (at, id): (i64, Uuid),
    limit: i64,
) -> Result<Vec<SqliteRow>, Error> {
    let query = sqlx::query(PAGE)
        .bind(filter.status.map(|status| status.as_str()))
        .bind(filter.endpoint.as_deref())
        .bind(filter.class.map(|class| class.as_str()))
        .bind(at)
        .bind(id)
        .bind(limit);
    Ok(query.fetch_all(connection).await?)
}

/// Those of the rows that can be read.
pub(crate) fn read_all(rows: &[SqliteRow]) -> Vec<Incident> {
    readable("incident", rows, read)
}

fn read(row: &SqliteRow) -> Result<Incident, Error> {
    Ok(Incident { count: whole(row, 2)?, ..from_json(row, 1)? })
}
