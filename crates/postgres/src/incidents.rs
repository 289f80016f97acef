//! Incidents and what they keep of their runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_model::ids::Name;
use knarr_model::incident::{Incident, IncidentStatus, Scope, Whole};
use knarr_model::ports::StoreError;
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::quarantine::Class;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Failed;
use crate::rows;

const WRITE: &str = "
INSERT INTO incident (id, endpoint, saga, instance, class, scope, status, opened_at, count, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO UPDATE
SET endpoint = excluded.endpoint, saga = excluded.saga, instance = excluded.instance,
    class = excluded.class, scope = excluded.scope, status = excluded.status,
    opened_at = excluded.opened_at, count = excluded.count, detail = excluded.detail";

/// The first message of a class opens the incident that gathers them.
const COUNT: &str = "
INSERT INTO incident (id, endpoint, saga, class, scope, status, opened_at, count, detail)
SELECT new.id, new.endpoint, new.saga, new.class, 'nothing', 'open', new.opened_at, new.count,
       new.detail
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[],
            $7::text[]) AS new (id, endpoint, saga, class, opened_at, count, detail)
ON CONFLICT (class, endpoint, saga)
   WHERE status = 'open' AND scope = 'nothing' AND instance IS NULL
   DO UPDATE SET count = incident.count + excluded.count";

const ONE: &str = "SELECT id, count, detail FROM incident WHERE id = $1";
const LOCK: &str = "SELECT id, count, detail FROM incident WHERE id = $1 FOR UPDATE";

const LOCK_OLDEST: &str = "
SELECT id, count, detail FROM incident
WHERE endpoint = $1 AND status = 'open' AND scope = 'endpoint'
ORDER BY opened_at, id LIMIT 1 FOR UPDATE";

const LOCK_GATHERING: &str = "
SELECT id, count, detail FROM incident
WHERE class = $1 AND endpoint = $2 AND saga = $3 AND id <> $4
  AND status = 'open' AND scope = 'nothing' AND instance IS NULL
FOR UPDATE";

const LIST: &str = "
SELECT id, count, detail FROM incident
WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR endpoint = $2)
  AND ($3::text IS NULL OR class = $3)
  AND ($4::timestamptz IS NULL OR (opened_at, id) < ($4, $5::uuid))
ORDER BY opened_at DESC, id DESC LIMIT $6";

const KEEP: &str = "
INSERT INTO snapshot (incident, whole, directory, bodies) VALUES ($1, $2, $3, $4)
ON CONFLICT (incident) DO UPDATE
SET whole = excluded.whole, directory = excluded.directory, bodies = excluded.bodies";

const KEPT: &str = "SELECT whole, directory, bodies FROM snapshot WHERE incident = $1";

const FORGET: &str = "DELETE FROM snapshot WHERE incident = ANY ($1)";

fn word(scope: Scope) -> &'static str {
    match scope {
        Scope::Endpoint => "endpoint",
        Scope::Instance => "instance",
        Scope::Nothing => "nothing",
    }
}

/// Writes an incident, or replaces it by id.
pub(crate) async fn write(
    connection: &mut PgConnection,
    incident: &Incident,
) -> Result<(), Failed> {
    sqlx::query(WRITE)
        .bind(incident.id)
        .bind(incident.endpoint.to_string())
        .bind(incident.saga.to_string())
        .bind(incident.instance.map(|id| id.0))
        .bind(incident.class.as_str())
        .bind(word(incident.scope))
        .bind(incident.status.as_str())
        .bind(incident.opened_at)
        .bind(incident.count.cast_signed())
        .bind(rows::to_json(incident)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Drafts by what they gather, in the order in which rows are locked: each named once.
pub(crate) fn gathered(drafts: &[Incident]) -> Vec<Incident> {
    let mut gathered: BTreeMap<(Class, &Name, &Name), Incident> = BTreeMap::new();
    for draft in drafts {
        let own = Incident {
            status: IncidentStatus::Open,
            scope: Scope::Nothing,
            instance: None,
            count: 0,
            ..draft.clone()
        };
        let place = (draft.class, &draft.endpoint, &draft.saga);
        gathered.entry(place).or_insert(own).count += draft.count;
    }
    gathered.into_values().collect()
}

/// Adds to the open incidents that gather, or opens them.
pub(crate) async fn count(
    connection: &mut PgConnection,
    drafts: &[Incident],
) -> Result<(), Failed> {
    let details = drafts.iter().map(rows::to_json).collect::<Result<Vec<_>, StoreError>>()?;
    sqlx::query(COUNT)
        .bind(drafts.iter().map(|draft| draft.id).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.endpoint.to_string()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.saga.to_string()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.class.as_str()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.opened_at).collect::<Vec<_>>())
        .bind(drafts.iter().map(|draft| draft.count.cast_signed()).collect::<Vec<_>>())
        .bind(details)
        .execute(connection)
        .await?;
    Ok(())
}

/// One incident.
pub(crate) async fn one(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Incident>, Failed> {
    Ok(first(&sqlx::query(ONE).bind(id).fetch_all(connection).await?)?)
}

/// One incident, locked.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Incident>, Failed> {
    Ok(first(&sqlx::query(LOCK).bind(id).fetch_all(connection).await?)?)
}

/// The endpoint's oldest open incident that stops it, locked.
pub(crate) async fn lock_oldest(
    connection: &mut PgConnection,
    endpoint: &str,
) -> Result<Option<Incident>, Failed> {
    Ok(first(&sqlx::query(LOCK_OLDEST).bind(endpoint).fetch_all(connection).await?)?)
}

/// If the draft would gather messages of a class: the other open incident that does, locked.
pub(crate) async fn lock_gathering(
    connection: &mut PgConnection,
    draft: &Incident,
) -> Result<Option<Incident>, Failed> {
    if !draft.gathers() {
        return Ok(None);
    }
    let query = sqlx::query(LOCK_GATHERING)
        .bind(draft.class.as_str())
        .bind(draft.endpoint.to_string())
        .bind(draft.saga.to_string())
        .bind(draft.id);
    Ok(first(&query.fetch_all(connection).await?)?)
}

/// Incidents, newest first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &IncidentFilter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Incident>, Failed> {
    let found = sqlx::query(LIST)
        .bind(filter.status.map(IncidentStatus::as_str))
        .bind(filter.endpoint.as_deref())
        .bind(filter.class.map(Class::as_str))
        .bind(after.map(|(at, _)| at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows::readable(&found, "incident", read))
}

/// Keeps a run for an incident.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    incident: Uuid,
    whole: &Whole,
) -> Result<(), Failed> {
    let (json, directory, bodies) =
        whole.encode().map_err(|error| StoreError::Data(format!("snapshot: {error}")))?;
    let query = sqlx::query(KEEP).bind(incident).bind(json).bind(directory).bind(bodies);
    query.execute(connection).await?;
    Ok(())
}

/// What an incident keeps.
pub(crate) async fn snapshot(
    connection: &mut PgConnection,
    incident: Uuid,
) -> Result<Option<Whole>, Failed> {
    let row = sqlx::query(KEPT).bind(incident).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let whole = Whole::decode(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(Some(whole.map_err(|error| rows::unreadable("snapshot of", incident, &error))?))
}

/// Deletes what incidents keep.
pub(crate) async fn forget(connection: &mut PgConnection, of: &[Uuid]) -> Result<(), Failed> {
    sqlx::query(FORGET).bind(of).execute(connection).await?;
    Ok(())
}

fn first(found: &[PgRow]) -> Result<Option<Incident>, StoreError> {
    Ok(rows::all(found, "incident", read)?.pop())
}

/// The count is a column of its own: it is added to.
fn read(row: &PgRow) -> Result<Incident, String> {
    let mut incident: Incident = rows::json(row, "detail")?;
    incident.count = rows::get::<i64>(row, "count")?.unsigned_abs();
    Ok(incident)
}
