//! Messages set aside: written once per (endpoint, message, content), listed newest first.

use bytes::Bytes;
use knarr_model::Slice;
use knarr_model::ports::records::QuarantineFilter;
use knarr_model::quarantine::{Quarantined, Status};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::Error;
use crate::rows::{from_json, get, hex, hex_bytes, json, micros, readable, whole, word};

const INSERT: &str = "INSERT INTO quarantine
        (id, endpoint, saga, message_id, digest, class, status, at, detail, body, copies)
    SELECT unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, unhex(j.value ->> 3),
        unhex(j.value ->> 4), j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8,
        CAST(substr(?2, (j.value ->> 9) + 1, j.value ->> 10) AS BLOB), j.value ->> 11
    FROM json_each(?1) j WHERE true
    ON CONFLICT (endpoint, message_id, digest) DO NOTHING";
const ONE: &str = "SELECT id, status, detail, body, at, copies FROM quarantine WHERE id = ?1";
const PAGE: &str = "SELECT id, status, detail, body, at, copies FROM quarantine
    WHERE status = ?1 AND (?2 IS NULL OR endpoint = ?2) AND (?3 IS NULL OR class = ?3)
        AND (at, id) < (?4, ?5)
    ORDER BY at DESC, id DESC LIMIT ?6";

const SAME: &str = "SELECT id FROM quarantine
    WHERE endpoint = ?1 AND message_id = ?2 AND digest = ?3";
const CHANGE: &str = "UPDATE quarantine
    SET saga = ?2, class = ?3, status = ?4, at = ?5, detail = ?6, body = ?7, copies = ?8
    WHERE id = ?1";
const COUNT: &str = "UPDATE quarantine SET copies = copies + ?2 WHERE id = ?1";

/// Rows as two parameters: the rows, and their bodies laid end to end.
pub(crate) struct Rows {
    rows: String,
    bodies: Vec<u8>,
}

/// What is set aside, as parameters; `None` if nothing is.
pub(crate) fn rows<'a>(
    set_aside: impl IntoIterator<Item = &'a Quarantined>,
) -> Result<Option<Rows>, Error> {
    let (mut rows, mut bodies) = (Vec::new(), Vec::new());
    for row in set_aside {
        // The body is kept as bytes beside the detail, which would turn it into text.
        let detail = Quarantined { body: Bytes::new(), ..row.clone() };
        rows.push((
            hex(row.id),
            &row.endpoint,
            &row.saga,
            hex(row.message_id.0),
            hex_bytes(&row.digest.0),
            row.class.as_str(),
            row.status.as_str(),
            micros(row.at),
            json(&detail)?,
            bodies.len(),
            row.body.len(),
            row.copies,
        ));
        bodies.extend_from_slice(&row.body);
    }
    Ok(if rows.is_empty() { None } else { Some(Rows { rows: json(&rows)?, bodies }) })
}

/// What the slices set aside, as parameters.
pub(crate) fn rows_of(slices: &[&Slice]) -> Result<Option<Rows>, Error> {
    rows(slices.iter().flat_map(|slice| &slice.quarantine))
}

/// Sets messages aside; one that is already stays as it is.
pub(crate) async fn insert(connection: &mut SqliteConnection, rows: &Rows) -> Result<(), Error> {
    sqlx::query(INSERT).bind(&rows.rows).bind(&rows.bodies[..]).execute(connection).await?;
    Ok(())
}

/// The set-aside message that is the same one as `row`.
pub(crate) async fn same(
    connection: &mut SqliteConnection,
    row: &Quarantined,
) -> Result<Option<Uuid>, Error> {
    let query = sqlx::query(SAME).bind(&*row.endpoint).bind(row.message_id.0);
    let found = query.bind(&row.digest.0[..]).fetch_optional(connection).await?;
    found.as_ref().map(|found| get(found, 0)).transpose()
}

/// Replaces what is stored under the row's id; `false` if nothing is.
pub(crate) async fn change(
    connection: &mut SqliteConnection,
    row: &Quarantined,
) -> Result<bool, Error> {
    let detail = Quarantined { body: Bytes::new(), ..row.clone() };
    let query = sqlx::query(CHANGE)
        .bind(row.id)
        .bind(&*row.saga)
        .bind(row.class.as_str())
        .bind(row.status.as_str())
        .bind(micros(row.at))
        .bind(json(&detail)?)
        .bind(&row.body[..])
        .bind(i64::try_from(row.copies).unwrap_or(i64::MAX));
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// Adds to the copies of a message that were met since.
pub(crate) async fn count(
    connection: &mut SqliteConnection,
    id: Uuid,
    copies: u64,
) -> Result<(), Error> {
    let copies = i64::try_from(copies).unwrap_or(i64::MAX);
    sqlx::query(COUNT).bind(id).bind(copies).execute(connection).await?;
    Ok(())
}

/// One message.
pub(crate) async fn one(
    connection: &mut SqliteConnection,
    id: Uuid,
) -> Result<Option<Quarantined>, Error> {
    let row = sqlx::query(ONE).bind(id).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// Rows after the place (time, id), newest first, each with its place.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    filter: &QuarantineFilter,
    (at, id): (i64, Uuid),
    limit: i64,
) -> Result<Vec<SqliteRow>, Error> {
    let query = sqlx::query(PAGE)
        .bind(filter.status.unwrap_or(Status::Held).as_str())
        .bind(filter.endpoint.as_deref())
        .bind(filter.class.map(|class| class.as_str()))
        .bind(at)
        .bind(id)
        .bind(limit);
    Ok(query.fetch_all(connection).await?)
}

/// Those of the rows that can be read.
pub(crate) fn read_all(rows: &[SqliteRow]) -> Vec<Quarantined> {
    readable("quarantine row", rows, read)
}

fn read(row: &SqliteRow) -> Result<Quarantined, Error> {
    let body: Vec<u8> = get(row, 3)?;
    let status = word(row, 1)?;
    let mut stored: Quarantined = from_json(row, 2)?;
    (stored.body, stored.status, stored.copies) = (body.into(), status, whole(row, 5)?);
    Ok(stored)
}
