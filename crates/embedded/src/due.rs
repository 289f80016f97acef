//! When the next row that no live node holds is due, so that nobody need poll for it.

use chrono::{DateTime, Utc};
use knarr_model::Name;
use knarr_model::ports::store::{EndpointState, Unclaimed};
use sqlx::SqliteConnection;

use crate::endpoints;
use crate::error::Error;
use crate::rows::{get, micros, some_instant};

/// The SQL condition that no live node holds a row of `$table`; ?2 is now.
macro_rules! loose {
    ($table:literal) => {
        concat!(
            "(",
            $table,
            ".node IS NULL OR NOT EXISTS (SELECT 1 FROM node ",
            "WHERE node.id = ",
            $table,
            ".node AND node.lease_until > ?2))"
        )
    };
}

/// Parked messages behind another one do not count: the first of their line does.
const NEXT: &str = concat!(
    "SELECT min(due_at) FROM (
    SELECT (SELECT t.due_at FROM timer t WHERE t.endpoint = ?1 AND ",
    loose!("t"),
    " ORDER BY t.due_at LIMIT 1) AS due_at
    UNION ALL
    SELECT (SELECT a.due_at FROM activity a WHERE a.endpoint = ?1 AND a.ended IS NULL AND ",
    loose!("a"),
    " ORDER BY a.due_at LIMIT 1)
    UNION ALL
    SELECT (SELECT a.due_at FROM activity a WHERE a.endpoint = ?1 AND a.ended IS NOT NULL AND ",
    loose!("a"),
    " ORDER BY a.due_at LIMIT 1)
    UNION ALL
    SELECT (SELECT p.due_at FROM parked p
        WHERE p.endpoint = ?1 AND p.due_at IS NOT NULL AND ",
    loose!("p"),
    " AND (p.reason IN ('missing', 'deferred') OR p.instance IS NULL OR NOT EXISTS (
            SELECT 1 FROM parked h
            WHERE h.saga = p.saga AND h.instance = p.instance
                AND h.reason IN ('retry', 'held', 'suspect')
                AND (h.seq < p.seq OR (h.seq = p.seq AND h.id < p.id))))
        ORDER BY p.due_at LIMIT 1))"
);

/// The earliest due time among the endpoints' rows.
pub(crate) async fn next(
    connection: &mut SqliteConnection,
    endpoints: &[Name],
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let mut next: Option<DateTime<Utc>> = None;
    for endpoint in endpoints {
        let query = sqlx::query(NEXT).bind(&**endpoint).bind(micros(now));
        let due = some_instant(&query.fetch_one(&mut *connection).await?, 0)?;
        next = next.into_iter().chain(due).min();
    }
    Ok(next)
}

/// So many rows of a kind are counted at most.
const UNCLAIMED: &str = concat!(
    "SELECT endpoint, call, count(*) FROM (
    SELECT * FROM (SELECT t.endpoint AS endpoint, NULL AS call FROM timer t
        WHERE t.endpoint = ?1 AND t.due_at < ?3 AND ",
    loose!("t"),
    " ORDER BY t.due_at LIMIT 1000)
    UNION ALL
    SELECT * FROM (SELECT a.endpoint, a.call FROM activity a
        WHERE a.endpoint = ?1 AND a.ended IS NULL AND a.due_at < ?3 AND ",
    loose!("a"),
    " ORDER BY a.due_at LIMIT 1000)
    UNION ALL
    SELECT * FROM (SELECT a.endpoint, NULL FROM activity a
        WHERE a.endpoint = ?1 AND a.ended IS NOT NULL AND a.due_at < ?3 AND ",
    loose!("a"),
    " ORDER BY a.due_at LIMIT 1000)
    UNION ALL
    SELECT * FROM (SELECT p.endpoint, NULL FROM parked p
        WHERE p.endpoint = ?1 AND p.due_at < ?3 AND ",
    loose!("p"),
    " AND (p.reason IN ('missing', 'deferred') OR p.instance IS NULL OR NOT EXISTS (
            SELECT 1 FROM parked h
            WHERE h.saga = p.saga AND h.instance = p.instance
                AND h.reason IN ('retry', 'held', 'suspect')
                AND (h.seq < p.seq OR (h.seq = p.seq AND h.id < p.id))))
        ORDER BY p.due_at LIMIT 1000))
    GROUP BY endpoint, call ORDER BY call"
);

/// Rows that have been due for long and that no live node has, by endpoint and call.
pub(crate) async fn unclaimed(
    connection: &mut SqliteConnection,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Unclaimed>, Error> {
    let mut found = Vec::new();
    for row in endpoints::all(connection).await? {
        if row.state == EndpointState::Halted {
            continue;
        }
        let query = sqlx::query(UNCLAIMED).bind(&*row.name).bind(micros(now)).bind(micros(before));
        for group in &query.fetch_all(&mut *connection).await? {
            let rows: i64 = get(group, 2)?;
            let (endpoint, call) = (row.name.clone(), get(group, 1)?);
            found.push(Unclaimed { endpoint, call, rows: rows.unsigned_abs() });
        }
    }
    Ok(found)
}
