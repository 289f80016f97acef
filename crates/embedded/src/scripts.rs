//! Migrations of the sagas' own tables: each carried out once, and never changed afterwards.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use knarr_model::Digest;
use knarr_model::statement::Script;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::error::Error;
use crate::rows::micros;

const APPLIED: &str = "SELECT saga, name, hash, at FROM saga_migration";
const RECORD: &str = "INSERT INTO saga_migration (saga, name, hash, at) VALUES (?1, ?2, ?3, ?4)";

/// By saga and name: the hash of the text that was applied, and when.
type Applied = BTreeMap<(String, String), (String, i64)>;

/// Carries out what is missing, in order, each with its record in a transaction.
pub(crate) async fn apply(
    connection: &mut SqliteConnection,
    scripts: &[Script],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let applied = applied(connection).await?;
    for script in scripts {
        if !is_missing(&applied, script)? {
            continue;
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        if let Err(error) = one(connection, script, now).await {
            // After some errors SQLite has rolled back by itself; then this one says so.
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            return Err(Error::of_migration(script, error));
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        let (saga, name) = (&script.saga, &script.name);
        tracing::info!(%saga, name, "the saga's own tables migrated");
    }
    Ok(())
}

async fn one(
    connection: &mut SqliteConnection,
    script: &Script,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let text = AssertSqlSafe(script.text.sqlite.as_str());
    sqlx::raw_sql(text).execute(&mut *connection).await?;
    sqlx::query(RECORD)
        .bind(&*script.saga)
        .bind(&script.name)
        .bind(hash(script))
        .bind(micros(now))
        .execute(connection)
        .await?;
    Ok(())
}

/// Refuses what is missing or was changed.
pub(crate) async fn verify(
    connection: &mut SqliteConnection,
    scripts: &[Script],
) -> Result<(), Error> {
    let applied = applied(connection).await?;
    for script in scripts {
        if is_missing(&applied, script)? {
            let (saga, name) = (script.saga.clone(), script.name.clone());
            return Err(Error::MissingMigration { saga, name });
        }
    }
    Ok(())
}

async fn applied(connection: &mut SqliteConnection) -> Result<Applied, Error> {
    let rows: Vec<(String, String, String, i64)> =
        sqlx::query_as(APPLIED).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(saga, name, hash, at)| ((saga, name), (hash, at))).collect())
}

/// Whether a script is still to be carried out; an error if it was, with another text.
fn is_missing(applied: &Applied, script: &Script) -> Result<bool, Error> {
    match applied.get(&(script.saga.to_string(), script.name.clone())) {
        None => Ok(true),
        Some((have, _)) if *have == hash(script) => Ok(false),
        Some((_, at)) => {
            let at = DateTime::from_timestamp_micros(*at).unwrap_or_default().to_string();
            let (saga, name) = (script.saga.clone(), script.name.clone());
            Err(Error::ChangedMigration { saga, name, at })
        }
    }
}

fn hash(script: &Script) -> String {
    Digest::of_bytes(script.text.sqlite.as_bytes()).to_string()
}
