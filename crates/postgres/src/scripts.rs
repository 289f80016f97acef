//! Migrations of the sagas' own tables: each carried out once, and never changed afterwards.

use std::collections::BTreeMap;

use knarr_model::Digest;
use knarr_model::statement::Script;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::{Error, Failed, classed, is_infrastructure, told};
use crate::schema::Schema;

const APPLIED: &str = "SELECT saga, name, hash, at::text FROM saga_migration";
const RECORD: &str = "INSERT INTO saga_migration (saga, name, hash) VALUES ($1, $2, $3)";
/// A script may have changed it.
const SEARCH_PATH: &str = "SELECT set_config('search_path', $1, true)";

/// By saga and name: the hash of the text that was applied, and when.
type Applied = BTreeMap<(String, String), (String, String)>;

/// Carries out what is missing, in order, within the transaction that holds the migration lock.
pub(crate) async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    scripts: &[Script],
) -> Result<(), Error> {
    let applied = applied(connection).await?;
    for script in scripts {
        if !is_missing(&applied, script)? {
            continue;
        }
        let text = AssertSqlSafe(script.text.postgres.as_str());
        let done = sqlx::raw_sql(text).execute(&mut *connection).await;
        done.map_err(|error| bad(script, &error))?;
        let rest = async {
            let path = schema.search_path();
            sqlx::query(SEARCH_PATH).bind(path).execute(&mut *connection).await?;
            sqlx::query(RECORD)
                .bind(&*script.saga)
                .bind(&script.name)
                .bind(hash(script))
                .execute(&mut *connection)
                .await
        };
        rest.await.map_err(|error| bad(script, &error))?;
        let (saga, name) = (&script.saga, &script.name);
        tracing::info!(schema = schema.name(), %saga, name, "the saga's own tables migrated");
    }
    Ok(())
}

/// Refuses what is missing or was changed.
pub(crate) async fn verify(connection: &mut PgConnection, scripts: &[Script]) -> Result<(), Error> {
    let applied = applied(connection).await?;
    for script in scripts {
        if is_missing(&applied, script)? {
            let (saga, name) = (script.saga.clone(), script.name.clone());
            return Err(Error::MissingMigration { saga, name });
        }
    }
    Ok(())
}

async fn applied(connection: &mut PgConnection) -> Result<Applied, Error> {
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(APPLIED)
        .fetch_all(connection)
        .await
        .map_err(|error| Failed::Sql(error).classed())?;
    Ok(rows.into_iter().map(|(saga, name, hash, at)| ((saga, name), (hash, at))).collect())
}

/// Whether a script is still to be carried out; an error if it was, with another text.
fn is_missing(applied: &Applied, script: &Script) -> Result<bool, Error> {
    match applied.get(&(script.saga.to_string(), script.name.clone())) {
        None => Ok(true),
        Some((have, _)) if *have == hash(script) => Ok(false),
        Some((_, at)) => {
            let (saga, name) = (script.saga.clone(), script.name.clone());
            Err(Error::ChangedMigration { saga, name, at: at.clone() })
        }
    }
}

fn hash(script: &Script) -> String {
    Digest::of_bytes(script.text.postgres.as_bytes()).to_string()
}

fn bad(script: &Script, error: &sqlx::Error) -> Error {
    if is_infrastructure(error) {
        return classed(error).into();
    }
    let (saga, name) = (script.saga.clone(), script.name.clone());
    Error::BadMigration { saga, name, why: told(error) }
}
