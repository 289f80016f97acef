//! Permits: one purse for all nodes, in windows aligned by the database's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use knarr_model::ports::permit::Quota;
use sqlx::{PgConnection, Row};

use crate::error::Failed;
use crate::schema::LockKey;

/// Whoever counts permits of a name does it alone; the count is read by a later statement, which
/// sees what the one before has written.
const LOCK: &str = "SELECT pg_advisory_xact_lock($1, $2)";

/// All windows give one permit, or none does and the longest wait is told.
const TAKE: &str = "
WITH clock AS MATERIALIZED (
  SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us),
quota AS (
  SELECT asked.window_us, asked.most, clock.us / asked.window_us AS bucket, clock.us
  FROM unnest($2::bigint[], $3::bigint[]) AS asked (window_us, most), clock),
purse AS (
  SELECT quota.*, CASE WHEN permit.bucket = quota.bucket THEN permit.used ELSE 0 END AS used
  FROM quota LEFT JOIN permit ON permit.name = $1 AND permit.window_us = quota.window_us),
verdict AS (
  SELECT max((bucket + 1) * window_us - us) FILTER (WHERE used >= most) AS wait_us FROM purse),
taken AS (
  INSERT INTO permit (name, window_us, bucket, used)
  SELECT $1, purse.window_us, purse.bucket, purse.used + 1
  FROM purse, verdict WHERE verdict.wait_us IS NULL
  ON CONFLICT (name, window_us) DO UPDATE SET bucket = excluded.bucket, used = excluded.used)
SELECT wait_us FROM verdict";

/// Takes one permit of each quota, or says how long to wait.
pub(crate) async fn take(
    connection: &mut PgConnection,
    lock: LockKey,
    name: &str,
    quotas: &[Quota],
) -> Result<Result<(), Duration>, Failed> {
    // Of two quotas with one window the smaller counts.
    let mut most: BTreeMap<i64, i64> = BTreeMap::new();
    for quota in quotas {
        let window = i64::try_from(quota.window.as_micros()).unwrap_or(i64::MAX).max(1);
        let limit = i64::from(quota.limit);
        most.entry(window).and_modify(|least| *least = limit.min(*least)).or_insert(limit);
    }
    sqlx::query(LOCK).bind(lock.class).bind(lock.object).execute(&mut *connection).await?;
    let row = sqlx::query(TAKE)
        .bind(name)
        .bind(most.keys().copied().collect::<Vec<_>>())
        .bind(most.values().copied().collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    let wait: Option<i64> = row.try_get(0)?;
    Ok(match wait {
        None => Ok(()),
        Some(micros) => Err(Duration::from_micros(micros.unsigned_abs().max(1))),
    })
}
