//! The settings of a connection: what it waits for at most, and how its statements are planned.

use std::time::Duration;

use sqlx::PgConnection;

use crate::error::Failed;
use crate::schema::Schema;
use crate::settings::Settings;

/// One row of settings for a fresh connection; `false` makes them last beyond the transaction.
const SETTINGS: &str = "
SELECT set_config('search_path', $1, false),
       set_config('lock_timeout', $2, false),
       set_config('statement_timeout', $3, false),
       set_config('idle_in_transaction_session_timeout', $4, false),
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('tcp_user_timeout', '19000', false),
       set_config('TimeZone', 'UTC', false)";

/// What the hot statements need on top. A cached plan made while a table was empty keeps its
/// sequential scan after the table has grown; without sequential scans the cached generic plans
/// are the right ones at every size (tests/plans.rs). Planning `commit.sql` anew each time instead
/// (`force_custom_plan`) made one message a commit a quarter slower, and 256 no quicker. Compiling
/// plans costs more than running them.
const HOT_SETTINGS: &str = "
SELECT set_config('enable_seqscan', 'off', false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('jit', 'off', false)";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Engine,
    Control,
    Reading,
    Lease,
    Notify,
}

impl Purpose {
    /// As it stands in the log.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Purpose::Engine => "engine",
            Purpose::Control => "control",
            Purpose::Reading => "reading",
            Purpose::Lease => "lease",
            Purpose::Notify => "notify",
        }
    }
}

/// The settings of a session, as text.
pub(crate) struct Session {
    search_path: String,
    lock_timeout: String,
    statement_timeout: String,
    idle_in_transaction_timeout: String,
    hot: bool,
}

impl Session {
    pub(crate) fn new(settings: &Settings, schema: &Schema, purpose: Purpose) -> Session {
        let millis = |time: Duration| time.as_millis().to_string();
        let (lock, statement) = match purpose {
            Purpose::Control => (
                settings.control_lock_timeout,
                // Waiting for the fence counts as part of the statement.
                settings.control_lock_timeout + settings.statement_timeout / 2,
            ),
            _ => (settings.lock_timeout, settings.statement_timeout),
        };
        Session {
            search_path: schema.search_path(),
            lock_timeout: millis(lock),
            statement_timeout: millis(statement),
            idle_in_transaction_timeout: millis(settings.idle_in_transaction_timeout),
            hot: purpose == Purpose::Engine,
        }
    }

    pub(crate) async fn apply(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(SETTINGS)
            .bind(&self.search_path)
            .bind(&self.lock_timeout)
            .bind(&self.statement_timeout)
            .bind(&self.idle_in_transaction_timeout)
            .persistent(false)
            .execute(&mut *connection)
            .await?;
        if self.hot {
            sqlx::query(HOT_SETTINGS).persistent(false).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Says by name which server settings take back the promise that what was committed stays.
pub(crate) async fn warn_of_unsafe_settings(connection: &mut PgConnection) -> Result<(), Failed> {
    const UNSAFE: &str = "
SELECT name, setting FROM pg_settings
WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes') AND setting IN ('off', 'local')
ORDER BY name";
    let rows: Vec<(String, String)> =
        sqlx::query_as(UNSAFE).persistent(false).fetch_all(connection).await?;
    for (name, value) in rows {
        tracing::warn!(
            setting = %name, %value,
            "Postgres runs with {name} = {value}: what was committed may be lost in a crash"
        );
    }
    Ok(())
}
