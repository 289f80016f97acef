//! When the next row that nobody holds is due.

use chrono::{DateTime, Utc};
use knarr_model::ports::StoreError;
use knarr_model::ports::store::Unclaimed;
use sqlx::{PgConnection, Row};

use crate::claims::dead;
use crate::error::Failed;
use crate::rows;

/// Of parked messages only those count that block nobody, and heads (see `parked`).
const NEXT: &str = concat!(
    "
SELECT min(next.due_at)
FROM unnest($1::text[]) AS asked (name)
CROSS JOIN LATERAL (
  (SELECT t.due_at FROM timer t
   WHERE t.endpoint = asked.name AND (t.node IS NULL OR ",
    dead!("t"),
    ")
   ORDER BY t.due_at LIMIT 1)
  UNION ALL
  (SELECT a.due_at FROM activity a
   WHERE a.endpoint = asked.name AND (a.node IS NULL OR ",
    dead!("a"),
    ")
   ORDER BY a.due_at LIMIT 1)
  UNION ALL
  (SELECT h.due_at FROM parked h
   WHERE h.endpoint = asked.name AND h.due_at IS NOT NULL AND (h.node IS NULL OR ",
    dead!("h"),
    ")
     AND NOT (h.reason IN ('retry', 'held', 'suspect') AND EXISTS (
       SELECT FROM parked b
       WHERE b.saga = h.saga AND b.instance = h.instance
         AND b.reason IN ('retry', 'held', 'suspect') AND (b.seq, b.id) < (h.seq, h.id)))
   ORDER BY h.due_at LIMIT 1)) next"
);

/// The earliest instant at which a claim may find something.
pub(crate) async fn next(
    connection: &mut PgConnection,
    endpoints: &[String],
) -> Result<Option<DateTime<Utc>>, Failed> {
    Ok(sqlx::query(NEXT).bind(endpoints).fetch_one(connection).await?.try_get(0)?)
}

/// So many rows of a kind are counted at most, so that the question costs the same however many
/// there are.
const UNCLAIMED: &str = concat!(
    "
SELECT found.endpoint, found.call, count(*) AS rows
FROM endpoint
CROSS JOIN LATERAL (
  (SELECT t.endpoint, NULL::text AS call FROM timer t
   WHERE t.endpoint = endpoint.name AND t.due_at < $1 AND (t.node IS NULL OR ",
    dead!("t"),
    ")
   ORDER BY t.due_at LIMIT 1000)
  UNION ALL
  (SELECT a.endpoint, CASE WHEN a.ended IS NULL THEN a.call END FROM activity a
   WHERE a.endpoint = endpoint.name AND a.due_at < $1 AND (a.node IS NULL OR ",
    dead!("a"),
    ")
   ORDER BY a.due_at LIMIT 1000)
  UNION ALL
  (SELECT h.endpoint, NULL FROM parked h
   WHERE h.endpoint = endpoint.name AND h.due_at < $1 AND (h.node IS NULL OR ",
    dead!("h"),
    ")
     AND NOT (h.reason IN ('retry', 'held', 'suspect') AND EXISTS (
       SELECT FROM parked b
       WHERE b.saga = h.saga AND b.instance = h.instance
         AND b.reason IN ('retry', 'held', 'suspect') AND (b.seq, b.id) < (h.seq, h.id)))
   ORDER BY h.due_at LIMIT 1000)) found
WHERE endpoint.state <> 'halted'
GROUP BY found.endpoint, found.call
ORDER BY found.endpoint COLLATE \"C\", found.call COLLATE \"C\" NULLS FIRST"
);

/// Rows that have been due for long and that no live node has, by endpoint and call.
pub(crate) async fn unclaimed(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
) -> Result<Vec<Unclaimed>, Failed> {
    let found = sqlx::query(UNCLAIMED).bind(before).fetch_all(connection).await?;
    found
        .iter()
        .map(|row| {
            Ok(Unclaimed {
                endpoint: row.try_get::<&str, _>("endpoint")?.into(),
                call: rows::maybe_text(row, "call").map_err(StoreError::Data)?,
                rows: row.try_get::<i64, _>("rows")?.unsigned_abs(),
            })
        })
        .collect()
}
