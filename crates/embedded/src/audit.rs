//! Who did what: lines in the order in which they were written, found again by a request's key.

use knarr_model::incident::Audit;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{from_json, json, readable};

const INSERT: &str = "INSERT INTO audit (endpoint, key, line) VALUES (?1, ?2, ?3)";
const BY_KEY: &str = "SELECT line FROM audit WHERE key = ?1 ORDER BY n LIMIT 1";
const PAGE: &str = "SELECT line, n FROM audit
    WHERE n < ?1 AND (?2 IS NULL OR endpoint = ?2) ORDER BY n DESC LIMIT ?3";

/// Writes a line.
pub(crate) async fn insert(connection: &mut SqliteConnection, line: &Audit) -> Result<(), Error> {
    let query = sqlx::query(INSERT).bind(&*line.endpoint).bind(&line.key);
    query.bind(json(line)?).execute(connection).await?;
    Ok(())
}

/// The line of the request that was carried out under this key.
pub(crate) async fn by_key(
    connection: &mut SqliteConnection,
    key: &str,
) -> Result<Option<Audit>, Error> {
    let row = sqlx::query(BY_KEY).bind(key).fetch_optional(connection).await?;
    row.as_ref().map(|row| from_json(row, 0)).transpose()
}

/// Lines before the number, newest first, each with its number.
pub(crate) async fn page(
    connection: &mut SqliteConnection,
    endpoint: Option<&str>,
    before: i64,
    limit: i64,
) -> Result<Vec<SqliteRow>, Error> {
    let query = sqlx::query(PAGE).bind(before).bind(endpoint).bind(limit);
    Ok(query.fetch_all(connection).await?)
}

/// Those of the lines that can be read.
pub(crate) fn read_all(rows: &[SqliteRow]) -> Vec<Audit> {
    readable("line of the audit", rows, |row| from_json(row, 0))
}
