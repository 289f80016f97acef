//! Messages set aside, kept whole until a person decides about them.

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
SELECT id, status, detail, body FROM quarantine
WHERE status = $1 AND ($2::text IS NULL OR endpoint = $2) AND ($3::text IS NULL OR class = $3)
  AND ($4::timestamptz IS NULL OR (at, id) < ($4, $5::uuid))
ORDER BY at DESC, id DESC LIMIT $6";

const ONE: &str = "SELECT id, status, detail, body FROM quarantine WHERE id = $1";

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
    quarantined.status = rows::word(row, "status")?;
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
