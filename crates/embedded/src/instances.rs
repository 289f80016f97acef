//! Instances: read by id, written by version, turned into tombstones.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_model::ids::InstanceId;
use knarr_model::{Instance, Slice};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::correlation;
use crate::error::Error;
use crate::rows::{
    from_json, get, hex, id, ids, json, micros, name, raw, some_id, some_json, whole,
};

/// Found by the rows that finished them: nothing that changes is indexed.
const OLD: &str = "SELECT DISTINCT i.saga, i.id FROM journal k
    JOIN instance i ON i.saga = k.saga AND i.id = k.instance
    WHERE k.at < ?1 AND k.to_state = 'Final' AND i.state = 'Final' AND i.updated_at < ?1
        AND i.incident IS NULL
        AND NOT EXISTS (SELECT 1 FROM parked p WHERE p.saga = i.saga AND p.instance = i.id)
        AND NOT EXISTS (SELECT 1 FROM timer t WHERE t.saga = i.saga AND t.instance = i.id)
        AND NOT EXISTS (SELECT 1 FROM activity a WHERE a.saga = i.saga AND a.instance = i.id)
    LIMIT ?2";
const DROP: &str = "DELETE FROM instance WHERE (saga, id) IN (
    SELECT j.value ->> 0, unhex(j.value ->> 1) FROM json_each(?1) j)";
const FIND: &str = "SELECT i.saga, i.id, i.run, i.state, i.version, i.definition_version,
        i.data, i.book, i.incident, i.updated_at
    FROM json_each(?2) j
    CROSS JOIN instance i ON i.saga = ?1 AND i.id = unhex(j.value)";
const VERSIONS: &str = "SELECT i.id, i.version
    FROM json_each(?2) j
    CROSS JOIN instance i ON i.saga = ?1 AND i.id = unhex(j.value)";
const WRITE: &str = "INSERT INTO instance
        (saga, id, run, state, version, definition_version, data, book, incident, updated_at)
    SELECT ?1, unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4,
        j.value ->> 5, j.value ->> 6, unhex(j.value ->> 7), ?3
    FROM json_each(?2) j WHERE true
    ON CONFLICT (saga, id) DO UPDATE SET
        run = excluded.run, state = excluded.state, version = excluded.version,
        definition_version = excluded.definition_version, data = excluded.data,
        book = excluded.book, incident = excluded.incident, updated_at = excluded.updated_at";

/// An instance with the time of its last change, or why it cannot be read.
type Found = (InstanceId, Result<(Instance, DateTime<Utc>), Error>);

/// The instances among `wanted` that exist.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    saga: &str,
    wanted: impl IntoIterator<Item = &InstanceId>,
) -> Result<Vec<Found>, Error> {
    let wanted = ids(wanted.into_iter().map(|id| &id.0))?;
    let rows = sqlx::query(FIND).bind(saga).bind(wanted).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((id(row, 1)?, read(row)))).collect()
}

/// Which slices lose because another commit was first, and which instances were swept meanwhile.
pub(crate) async fn conflicts(
    connection: &mut SqliteConnection,
    saga: &str,
    slices: &[Slice],
) -> Result<(Vec<InstanceId>, Vec<InstanceId>), Error> {
    let written: Vec<&Instance> =
        slices.iter().filter_map(|slice| slice.instance.as_ref()).collect();
    if written.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let wanted = ids(written.iter().map(|instance| &instance.id.0))?;
    let rows = sqlx::query(VERSIONS).bind(saga).bind(wanted).fetch_all(connection).await?;
    let mut stored: BTreeMap<InstanceId, i64> = BTreeMap::new();
    for row in &rows {
        stored.insert(id(row, 0)?, get(row, 1)?);
    }
    let (mut lost, mut swept) = (Vec::new(), Vec::new());
    for instance in written {
        match stored.get(&instance.id) {
            Some(version) if *version == instance.version - 1 => {}
            Some(_) => lost.push(instance.id),
            None if instance.version == 1 => {}
            None => swept.push(instance.id),
        }
    }
    Ok((lost, swept))
}

/// The instances that the slices write, as one parameter.
pub(crate) fn rows(slices: &[&Slice]) -> Result<Option<String>, Error> {
    let mut rows = Vec::with_capacity(slices.len());
    for instance in slices.iter().filter_map(|slice| slice.instance.as_ref()) {
        rows.push((
            hex(instance.id.0),
            instance.run,
            &instance.state,
            instance.version,
            instance.definition_version,
            instance.data.get(),
            json(&instance.book)?,
            instance.incident.map(hex),
        ));
    }
    some_json(&rows)
}

/// Writes instances; their versions were checked in the same transaction.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    saga: &str,
    rows: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(WRITE).bind(saga).bind(rows).bind(micros(now)).execute(connection).await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<(Instance, DateTime<Utc>), Error> {
    let instance = Instance {
        saga: name(row, 0)?,
        id: id(row, 1)?,
        run: whole(row, 2)?,
        state: get(row, 3)?,
        version: get(row, 4)?,
        definition_version: whole(row, 5)?,
        data: raw(row, 6)?,
        book: from_json(row, 7)?,
        incident: some_id(row, 8)?,
    };
    Ok((instance, crate::rows::instant(row, 9)?))
}

/// Deletes old finished instances of which nothing waits, and their keys.
pub(crate) async fn sweep(
    connection: &mut SqliteConnection,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<u64, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(OLD).bind(micros(before)).bind(limit);
    let mut old: Vec<(String, String)> = Vec::new();
    for row in &query.fetch_all(&mut *connection).await? {
        old.push((get(row, 0)?, hex(get(row, 1)?).to_string()));
    }
    if old.is_empty() {
        return Ok(0);
    }
    let old = json(&old)?;
    correlation::retire(connection, &old).await?;
    Ok(sqlx::query(DROP).bind(old).execute(connection).await?.rows_affected())
}
