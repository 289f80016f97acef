//! Brings a schema up to date: each file of `migrations/` once, under a lock, in one transaction.

use std::time::Duration;

use knarr_model::statement::Script;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use tokio::time::timeout;

use crate::error::{Error, Failed, classed};
use crate::pools;
use crate::schema::Schema;
use crate::scripts;
use crate::settings::Settings;

/// The files in order; a file that was released is never changed.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_tables.sql")];

/// The schema version that this crate needs.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Large tables may take their time to change; replicas that start together wait for the first.
const LONGEST: Duration = Duration::from_secs(600);

const LOCK: &str = "SELECT pg_advisory_xact_lock($1, $2)";
const SCHEMA_EXISTS: &str = "SELECT to_regnamespace($1) IS NOT NULL";
const SEARCH_PATH: &str = "SELECT set_config('search_path', $1, true)";
const LASTING_SEARCH_PATH: &str = "SELECT set_config('search_path', $1, false)";
const TABLE_EXISTS: &str = "SELECT to_regclass($1) IS NOT NULL";
const CREATE_TABLE: &str = "
CREATE TABLE schema_version (
    version    bigint      PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM schema_version";
const RECORD: &str = "INSERT INTO schema_version (version) VALUES ($1)";

/// Creates the schema if there is none, and applies what is missing. Returns the version it had.
///
/// # Errors
/// [`Error::NewerSchema`] if a newer Knarr was here; else what the server says.
pub async fn migrate(settings: &Settings) -> Result<i64, Error> {
    let schema = Schema::new(&settings.schema)?;
    let options = pools::connect_options(settings)?;
    let work = async {
        let mut connection = connect(&options).await?;
        let found = apply(&mut connection, &schema, &settings.scripts).await;
        let _closed = connection.close().await;
        found
    };
    match timeout(LONGEST, work).await {
        Ok(found) => found,
        Err(_) => Err(classed(&sqlx::Error::PoolTimedOut).into()),
    }
}

/// Refuses a schema that is not at the version of this crate.
pub(crate) async fn verify(settings: &Settings, schema: &Schema) -> Result<(), Error> {
    let mut connection = connect(&pools::connect_options(settings)?).await?;
    let verified = verify_within(&mut connection, schema, &settings.scripts).await;
    let _closed = connection.close().await;
    verified
}

async fn verify_within(
    connection: &mut PgConnection,
    schema: &Schema,
    scripts: &[Script],
) -> Result<(), Error> {
    let found = version(connection, schema).await.map_err(|error| classed(&error))?;
    if found == SCHEMA_VERSION {
        let path = schema.search_path();
        sqlx::query(LASTING_SEARCH_PATH)
            .bind(&path)
            .execute(&mut *connection)
            .await
            .map_err(|error| classed(&error))?;
        return scripts::verify(connection, scripts).await;
    }
    let name = schema.name().to_owned();
    Err(if found > SCHEMA_VERSION {
        Error::NewerSchema { schema: name, found, known: SCHEMA_VERSION }
    } else {
        Error::OlderSchema { schema: name, found, needed: SCHEMA_VERSION }
    })
}

/// Drops the schema with everything in it, if it is there: for benches and tests.
///
/// # Errors
/// What the server says.
pub async fn drop_schema(settings: &Settings) -> Result<(), Error> {
    let schema = Schema::new(&settings.schema)?;
    let mut connection = connect(&pools::connect_options(settings)?).await?;
    // The name was checked: letters, digits and underscores.
    let statement = format!("DROP SCHEMA IF EXISTS {} CASCADE", schema.name());
    let dropped = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await;
    let _closed = connection.close().await;
    dropped.map(drop).map_err(|error| classed(&error).into())
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    options.connect().await.map_err(|error| classed(&error).into())
}

async fn apply(
    connection: &mut PgConnection,
    schema: &Schema,
    scripts: &[Script],
) -> Result<i64, Error> {
    let mut transaction = pools::begin(connection).await.map_err(Failed::classed)?;
    let applied = async {
        let found = apply_within(&mut transaction, schema).await;
        let found = found.map_err(|error| Failed::Sql(error).classed())?;
        if found > SCHEMA_VERSION {
            let schema = schema.name().to_owned();
            return Err(Error::NewerSchema { schema, found, known: SCHEMA_VERSION });
        }
        scripts::apply(&mut transaction, schema, scripts).await?;
        Ok(found)
    };
    match applied.await {
        Ok(found) => pools::end(transaction, Ok(found)).await.map_err(|e| e.classed().into()),
        Err(error) => {
            // What was said matters more; the connection is closed in any case.
            let _undone = transaction.rollback().await;
            Err(error)
        }
    }
}

/// Returns the version found. A newer one is left as it is.
async fn apply_within(connection: &mut PgConnection, schema: &Schema) -> Result<i64, sqlx::Error> {
    let lock = schema.migration();
    sqlx::query(LOCK).bind(lock.class).bind(lock.object).execute(&mut *connection).await?;
    // Asked for first: a role that may not create schemas may still use one made for it.
    let exists: bool =
        sqlx::query_scalar(SCHEMA_EXISTS).bind(schema.name()).fetch_one(&mut *connection).await?;
    if !exists {
        let create = format!("CREATE SCHEMA {}", schema.search_path());
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
    }
    let path = schema.search_path();
    sqlx::query(SEARCH_PATH).bind(&path).execute(&mut *connection).await?;
    if !has_table(connection, schema).await? {
        sqlx::query(CREATE_TABLE).execute(&mut *connection).await?;
    }
    let found = stored_version(connection).await?;
    let missing = usize::try_from(found).unwrap_or(0);
    for (done, sql) in MIGRATIONS.iter().enumerate().skip(missing) {
        sqlx::raw_sql(*sql).execute(&mut *connection).await?;
        let version = done as i64 + 1;
        sqlx::query(RECORD).bind(version).execute(&mut *connection).await?;
        tracing::info!(schema = schema.name(), version, "schema migrated");
    }
    Ok(found)
}

async fn version(connection: &mut PgConnection, schema: &Schema) -> Result<i64, sqlx::Error> {
    if !has_table(connection, schema).await? {
        return Ok(0);
    }
    let path = schema.search_path();
    let mut transaction = connection.begin().await?;
    sqlx::query(SEARCH_PATH).bind(&path).execute(&mut *transaction).await?;
    let found = stored_version(&mut transaction).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn has_table(connection: &mut PgConnection, schema: &Schema) -> Result<bool, sqlx::Error> {
    let name = format!("{}.schema_version", schema.search_path());
    sqlx::query_scalar(TABLE_EXISTS).bind(name).fetch_one(connection).await
}

async fn stored_version(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query(VERSION).fetch_one(connection).await?.try_get(0)
}
