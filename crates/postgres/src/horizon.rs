//! Watches what keeps deleted rows from being removed: transactions left open, here or elsewhere.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::{PgConnection, Row};
use tokio::task::AbortHandle;

use crate::error::Failed;
use crate::pools::{Pool, pause};
use crate::settings::Settings;

/// Rows that come and go: what a claim has to step over.
const TABLES: &[&str] = &["timer", "activity", "parked", "outbox"];

/// The longest that anybody has looked at the database as it was then. A role without
/// `pg_read_all_stats` sees its own sessions only.
const OLDEST: &str = "
SELECT who, extract(epoch FROM clock_timestamp() - since)::bigint AS seconds
FROM (
  SELECT format('process %s (%s, %s)', pid, coalesce(nullif(application_name, ''), 'no name'),
                state) AS who, xact_start AS since
  FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
  UNION ALL
  SELECT format('prepared transaction %L', gid), prepared FROM pg_prepared_xacts
  WHERE database = current_database()) held
WHERE since IS NOT NULL
ORDER BY since LIMIT 1";

/// Seen by everybody.
const DEAD: &str = "
SELECT relname::text AS name, n_dead_tup AS dead FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND relname = ANY ($1)
ORDER BY n_dead_tup DESC LIMIT 1";

/// What one look saw.
#[derive(Debug, Default)]
struct Seen {
    /// Who has a transaction open, and for how many seconds.
    oldest: Option<(String, i64)>,
    /// The table with the most dead rows.
    dead: Option<(String, i64)>,
}

/// Looks on until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(AbortHandle);

impl Watch {
    pub(crate) fn start(pool: Pool, settings: &Settings) -> Watch {
        let (every, old) = (settings.horizon_watch, settings.old_transaction);
        let many = i64::try_from(settings.dead_rows).unwrap_or(i64::MAX);
        Watch(tokio::spawn(watch(pool, every, old, many)).abort_handle())
    }

    /// Ends it now.
    pub(crate) fn stop(&self) {
        self.0.abort();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn watch(pool: Pool, every: Duration, old: Duration, many: i64) {
    let old = i64::try_from(old.as_secs()).unwrap_or(i64::MAX);
    loop {
        pause(every).await;
        match pool.run(|connection| look(connection).boxed()).await {
            Ok(seen) => tell(&seen, old, many),
            // Whoever works will say that the store is away.
            Err(error) => tracing::debug!(%error, "what is dead was not looked at"),
        }
    }
}

fn tell(seen: &Seen, old: i64, many: i64) {
    if let Some((who, seconds)) = &seen.oldest
        && *seconds >= old
    {
        tracing::warn!(
            seconds,
            "a transaction is left open by {who}: what was deleted since stays in the tables, and \
             finding work becomes slow"
        );
    }
    if let Some((table, dead)) = &seen.dead
        && *dead >= many
    {
        tracing::warn!(dead, "dead rows pile up in table {table}: finding work becomes slow");
    }
}

async fn look(connection: &mut PgConnection) -> Result<Seen, Failed> {
    let oldest = sqlx::query(OLDEST).persistent(false).fetch_optional(&mut *connection).await?;
    let dead = sqlx::query(DEAD).persistent(false).bind(TABLES).fetch_optional(connection).await?;
    let named =
        |row: sqlx::postgres::PgRow| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?));
    Ok(Seen { oldest: oldest.map(named).transpose()?, dead: dead.map(named).transpose()? })
}
