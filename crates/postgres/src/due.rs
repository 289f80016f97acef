//! When the next row that nobody holds is due.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row};

use crate::claims::dead;
use crate::error::Failed;

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
