//! Messages set aside, kept whole until a person decides about them.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_model::ports::StoreError;
use knarr_model::ports::records::QuarantineFilter;
use knarr_model::quarantine::{Quarantined, Status};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Failed;
use crate::rows::{self, Query};

/// The same message set aside twice is one row.
const INSERT: &str = "
INSERT INTO quarantine (id, endpoint, saga, message_id, digest, class, status, at, detail, body)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::text[],
                     $7::text[], $8::timestamptz[], $9::text[], $10::bytea[])
ON CONFLICT (endpoint, message_id, digest) DO NOTHING";

const LIST: &str = "
SELECT id, status, copies, detail, body FROM quarantine
WHERE status = $1 AND ($2::text IS NULL OR endpoint = $2) AND ($3::text IS NULL OR class = $3)
  AND ($4::timestamptz IS NULL OR (at, id) < ($4, $5::uuid))
ORDER BY at DESC, id DESC LIMIT $6";

const ONE: &str = "SELECT id, status, copies, detail, body FROM quarantine WHERE id = $1";

const LOCK: &str = "
SELECT id, status, copies, detail, body FROM quarantine WHERE id = ANY ($1) ORDER BY id FOR UPDATE";

/// Rows of the same messages, with the ids that they were given anew.
const SAME: &str = "
SELECT new.id AS drafted, q.id AS kept
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[])
     AS new (id, endpoint, message_id, digest)
CROSS JOIN LATERAL (
  SELECT id FROM quarantine
  WHERE message_id = new.message_id AND endpoint = new.endpoint AND digest = new.digest
  OFFSET 0) q
WHERE q.id <> new.id";

/// A message that is set aside already is replaced.
const SET_ASIDE: &str = "
INSERT INTO quarantine (id, endpoint, saga, message_id, digest, class, status, at, detail, body,
                        copies)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::text[],
                     $7::text[], $8::timestamptz[], $9::text[], $10::bytea[], $11::bigint[])
ON CONFLICT (endpoint, message_id, digest) DO UPDATE
SET saga = excluded.saga, class = excluded.class, status = excluded.status, at = excluded.at,
    detail = excluded.detail, body = excluded.body, copies = excluded.copies";

const CHANGE: &str = "
UPDATE quarantine q
SET endpoint = new.endpoint, saga = new.saga, message_id = new.message_id, digest = new.digest,
    class = new.class, status = new.status, at = new.at, detail = new.detail, body = new.body,
    copies = new.copies
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::text[], $7::text[],
            $8::timestamptz[], $9::text[], $10::bytea[], $11::bigint[])
     AS new (id, endpoint, saga, message_id, digest, class, status, at, detail, body, copies)
WHERE q.id = new.id AND q.id = ANY ($1)";

/// Rows are locked in the order of their ids, so that two nodes that count queue up.
const COUNT: &str = "
WITH counted AS (
  SELECT id FROM quarantine WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE)
UPDATE quarantine q SET copies = q.copies + new.copies
FROM unnest($1, $2::bigint[]) AS new (id, copies)
WHERE q.id = new.id AND q.id = ANY (ARRAY (SELECT id FROM counted))";

/// Sets messages aside.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    set_aside: &[Quarantined],
) -> Result<(), Failed> {
    if set_aside.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    for row in set_aside {
        columns.push(row)?;
    }
    columns.bind(sqlx::query(INSERT)).execute(connection).await?;
    Ok(())
}

/// Set-aside messages in the order asked for, locked.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<Quarantined>, Failed> {
    let found = sqlx::query(LOCK).bind(ids).fetch_all(connection).await?;
    let found = rows::all(&found, "quarantined message", read)?;
    let of = |id: &Uuid| found.iter().find(|row| row.id == *id).cloned();
    Ok(ids.iter().filter_map(of).collect())
}

/// Of messages to be set aside, those that are there under another id: the drafted and that one.
pub(crate) async fn same(
    connection: &mut PgConnection,
    drafts: &[Quarantined],
) -> Result<Vec<(Uuid, Uuid)>, Failed> {
    Ok(sqlx::query_as(SAME)
        .bind(drafts.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(drafts.iter().map(|row| row.endpoint.to_string()).collect::<Vec<_>>())
        .bind(drafts.iter().map(|row| row.message_id.0).collect::<Vec<_>>())
        .bind(drafts.iter().map(|row| row.digest.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?)
}

/// Sets messages aside; one that is there already is replaced.
pub(crate) async fn set_aside(
    connection: &mut PgConnection,
    drafts: &[Quarantined],
) -> Result<(), Failed> {
    write(connection, SET_ASIDE, drafts).await
}

/// Replaces set-aside messages by id.
pub(crate) async fn change(
    connection: &mut PgConnection,
    changed: &[Quarantined],
) -> Result<(), Failed> {
    write(connection, CHANGE, changed).await
}

async fn write(
    connection: &mut PgConnection,
    sql: &'static str,
    written: &[Quarantined],
) -> Result<(), Failed> {
    let mut columns = Columns::default();
    for row in written {
        columns.push(row)?;
    }
    let copies: Vec<_> = written.iter().map(|row| row.copies.cast_signed()).collect();
    columns.bind(sqlx::query(sql)).bind(copies).execute(connection).await?;
    Ok(())
}

/// Adds to the copies met of each message; each is named once.
pub(crate) async fn count(
    connection: &mut PgConnection,
    copies: &BTreeMap<Uuid, u64>,
) -> Result<(), Failed> {
    sqlx::query(COUNT)
        .bind(copies.keys().copied().collect::<Vec<_>>())
        .bind(copies.values().map(|count| count.cast_signed()).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// Messages set aside, newest first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &QuarantineFilter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Quarantined>, Failed> {
    let found = sqlx::query(LIST)
        .bind(filter.status.unwrap_or(Status::Held).as_str())
        .bind(filter.endpoint.as_deref())
        .bind(filter.class.map(|class| class.as_str()))
        .bind(after.map(|(at, _)| at))
        .bind(after.map(|(_, id)| id))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows::readable(&found, "quarantine", read))
}

/// One message set aside.
pub(crate) async fn one(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Quarantined>, Failed> {
    let row = sqlx::query(ONE).bind(id).fetch_optional(connection).await?;
    row.map(|row| read(&row))
        .transpose()
        .map_err(|error| rows::unreadable("quarantined message", id, &error).into())
}

/// The body is a column of its own: as JSON it would lose bytes that are no text.
fn read(row: &PgRow) -> Result<Quarantined, String> {
    let mut quarantined: Quarantined = rows::json(row, "detail")?;
    quarantined.body = Bytes::from(rows::get::<Vec<u8>>(row, "body")?);
    quarantined.id = rows::get(row, "id")?;
    quarantined.status = rows::word(row, "status")?;
    quarantined.copies = rows::get::<i64>(row, "copies")?.unsigned_abs();
    Ok(quarantined)
}

/// Set-aside messages as the columns that a commit writes.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    id: Vec<Uuid>,
    endpoint: Vec<String>,
    saga: Vec<String>,
    message_id: Vec<Uuid>,
    digest: Vec<[u8; 16]>,
    class: Vec<&'static str>,
    status: Vec<&'static str>,
    at: Vec<DateTime<Utc>>,
    detail: Vec<String>,
    body: Vec<Vec<u8>>,
}

impl Columns {
    pub(crate) fn push(&mut self, row: &Quarantined) -> Result<(), StoreError> {
        self.detail.push(rows::to_json(&Quarantined { body: Bytes::new(), ..row.clone() })?);
        self.id.push(row.id);
        self.endpoint.push(row.endpoint.to_string());
        self.saga.push(row.saga.to_string());
        self.message_id.push(row.message_id.0);
        self.digest.push(row.digest.0);
        self.class.push(row.class.as_str());
        self.status.push(row.status.as_str());
        self.at.push(row.at);
        self.body.push(row.body.to_vec());
        Ok(())
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query
            .bind(self.id)
            .bind(self.endpoint)
            .bind(self.saga)
            .bind(self.message_id)
            .bind(self.digest)
            .bind(self.class)
            .bind(self.status)
            .bind(self.at)
            .bind(self.detail)
            .bind(self.body)
    }
}
