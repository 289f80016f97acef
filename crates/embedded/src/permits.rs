//! Shared rate limits: purses of permits in aligned windows.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::ports::permit::Quota;
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::rows::get;

const TAKEN: &str = "SELECT taken FROM permit WHERE name = ?1 AND length = ?2 AND number = ?3";
const TAKE: &str = "INSERT INTO permit (name, length, number, taken) VALUES (?1, ?2, ?3, 1)
    ON CONFLICT (name, length) DO UPDATE SET
        taken = iif(permit.number = excluded.number, permit.taken + 1, 1),
        number = excluded.number";

/// Takes one permit from each quota; or none, and says how long to wait.
pub(crate) async fn take(
    connection: &mut SqliteConnection,
    name: &str,
    quotas: &[Quota],
    now: DateTime<Utc>,
) -> Result<Result<(), Duration>, Error> {
    let nanos = now.timestamp_nanos_opt().unwrap_or(0);
    let mut limits: BTreeMap<i64, u32> = BTreeMap::new();
    for quota in quotas {
        let length = i64::try_from(quota.window.as_nanos()).unwrap_or(i64::MAX).max(1);
        let limit = limits.entry(length).or_insert(quota.limit);
        *limit = quota.limit.min(*limit);
    }
    let mut wait: Option<Duration> = None;
    for (length, limit) in &limits {
        let number = nanos.div_euclid(*length);
        let query = sqlx::query(TAKEN).bind(name).bind(length).bind(number);
        let taken: i64 = match query.fetch_optional(&mut *connection).await? {
            Some(row) => get(&row, 0)?,
            None => 0,
        };
        if taken >= i64::from(*limit) {
            let left = length - nanos.rem_euclid(*length);
            wait = wait.max(Some(Duration::from_nanos(left.unsigned_abs())));
        }
    }
    if let Some(wait) = wait {
        return Ok(Err(wait));
    }
    for length in limits.keys() {
        let number = nanos.div_euclid(*length);
        sqlx::query(TAKE).bind(name).bind(length).bind(number).execute(&mut *connection).await?;
    }
    Ok(Ok(()))
}
