//! The audit: one line a verb, in the order in which they took place.

use knarr_model::ids::derived_id;
use knarr_model::incident::Audit;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Failed;
use crate::rows;

const ADD: &str = "INSERT INTO audit (id, at, endpoint, key, detail) VALUES ($1, $2, $3, $4, $5)";

const BY_KEY: &str = "SELECT id, detail FROM audit WHERE key = $1";

const LIST: &str = "
SELECT id, number, detail FROM audit
WHERE ($1::text IS NULL OR endpoint = $1) AND ($2::bigint IS NULL OR number < $2)
ORDER BY number DESC LIMIT $3";

/// A request's key as it is indexed.
fn key_id(key: &str) -> Uuid {
    derived_id(&[b"request", key.as_bytes()])
}

/// Adds a line.
pub(crate) async fn add(connection: &mut PgConnection, line: &Audit) -> Result<(), Failed> {
    sqlx::query(ADD)
        .bind(line.id)
        .bind(line.at)
        .bind(line.endpoint.to_string())
        .bind(line.key.as_deref().map(key_id))
        .bind(rows::to_json(line)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// The request that was carried out under a key.
pub(crate) async fn by_key(
    connection: &mut PgConnection,
    key: &str,
) -> Result<Option<Audit>, Failed> {
    let found = sqlx::query(BY_KEY).bind(key_id(key)).fetch_all(connection).await?;
    Ok(rows::all(&found, "audit", |row| rows::json(row, "detail"))?.pop())
}

/// Lines with their numbers, the last first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    endpoint: Option<&str>,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<(i64, Audit)>, Failed> {
    let query = sqlx::query(LIST).bind(endpoint).bind(before).bind(limit);
    let found = query.fetch_all(connection).await?;
    Ok(rows::readable(&found, "audit", |row| {
        Ok((rows::get(row, "number")?, rows::json(row, "detail")?))
    }))
}
