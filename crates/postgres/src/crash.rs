//! What outlives a process that dies while it decides: intents, suspects, records of nodes.

use std::time::Duration;

use knarr_model::ids::MessageId;
use knarr_model::ports::crash::{Intent, Record, Suspect};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Failed;
use crate::nodes::micros;
use crate::rows;

/// One statement: the intent is there before anything is decided, and what it names is looked up.
const INTEND: &str = "
WITH written AS (
  INSERT INTO intent (node, endpoint, lane, saga, messages, alone, number, at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())
  ON CONFLICT (node, endpoint, lane) DO UPDATE
  SET saga = excluded.saga, messages = excluded.messages, alone = excluded.alone,
      number = excluded.number, at = excluded.at
  WHERE intent.number < excluded.number)
SELECT m.id, coalesce(s.died, 0) AS died, coalesce(o.alone, 0) AS open,
       greatest(s.last, o.last) AS last
FROM unnest($5::uuid[]) AS m (id)
LEFT JOIN suspect s ON s.message_id = m.id AND s.endpoint = $2
LEFT JOIN LATERAL (
  SELECT count(*) AS named, count(*) FILTER (WHERE i.alone) AS alone,
         max(i.at) FILTER (WHERE i.alone) AS last
  FROM intent i
  WHERE i.endpoint = $2 AND i.node <> $1 AND m.id = ANY (i.messages)) o ON true
WHERE s.message_id IS NOT NULL OR o.named > 0";

/// The number stays: an intent that is carried out late finds it.
const CAME_THROUGH: &str = "
WITH done AS (
  INSERT INTO intent (node, endpoint, lane, saga, messages, alone, number, at)
  VALUES ($1, $2, $3, $5, '{}', false, $6, clock_timestamp())
  ON CONFLICT (node, endpoint, lane) DO UPDATE
  SET messages = excluded.messages, alone = false, number = excluded.number
  WHERE intent.number <= excluded.number)
DELETE FROM suspect WHERE endpoint = $2 AND message_id = ANY ($4)";

const FORGET_INTENTS: &str = "DELETE FROM intent WHERE node = $1";

/// One row at least, its `lives` null where there is no other node.
const LOOK: &str = "
WITH told AS (UPDATE node SET worked = $2, failed = $3 WHERE id = $1)
SELECT n.worked, n.failed, n.lease_until > clock_timestamp() AS lives,
       EXISTS (SELECT FROM suspect) OR EXISTS (SELECT FROM intent WHERE messages <> '{}') AS suspects
FROM (SELECT) one LEFT JOIN node n ON n.id <> $1";

/// Nodes whose lease is past: they never left. Only a live node says so; when nobody's lease lives,
/// the store was away, and that says nothing about who is dead.
const BURY: &str = "
DELETE FROM node
WHERE lease_until <= clock_timestamp() AND id <> $1
  AND EXISTS (SELECT FROM node me WHERE me.id = $1 AND me.lease_until > clock_timestamp())";

/// What the dead intended, but for what has an outcome, is suspected.
const GATHER: &str = "
WITH orphan AS (
  DELETE FROM intent i
  WHERE NOT EXISTS (SELECT FROM node n WHERE n.id = i.node)
    AND EXISTS (SELECT FROM node me WHERE me.id = $1 AND me.lease_until > clock_timestamp())
  RETURNING i.endpoint, i.saga, i.messages, i.alone, i.at),
named AS (
  SELECT orphan.endpoint, m.id, max(orphan.saga) AS saga, count(*) FILTER (WHERE alone) AS died,
         max(orphan.at) FILTER (WHERE alone) AS last
  FROM orphan CROSS JOIN LATERAL unnest(orphan.messages) AS m (id)
  WHERE NOT EXISTS (SELECT FROM journal j
                    WHERE j.message_id = m.id AND j.saga IS NOT DISTINCT FROM orphan.saga)
  GROUP BY orphan.endpoint, m.id)
INSERT INTO suspect (message_id, endpoint, saga, died, last, at)
SELECT id, endpoint, saga, died, last, clock_timestamp() FROM named ORDER BY id, endpoint
ON CONFLICT (message_id, endpoint) DO UPDATE
SET died = suspect.died + excluded.died, last = greatest(suspect.last, excluded.last),
    at = excluded.at";

/// Who acquits a suspect may die before it can say so; the outcome says it too.
const FORGET_SUSPECTS: &str = "
DELETE FROM suspect s
WHERE at < clock_timestamp() - interval '1 hour'
   OR EXISTS (SELECT FROM journal j WHERE j.message_id = s.message_id AND j.saga = s.saga)";

const WATCH: &str = "
UPDATE endpoint SET watched_until = statement_timestamp() + $2 * interval '1 microsecond'
WHERE $1 OR EXISTS (SELECT FROM suspect s WHERE s.endpoint = endpoint.name)";

const GIVE_BACK_CALLS: &str = "
UPDATE activity SET attempt = greatest(attempt - used.times, 0)
FROM (SELECT id, count(*) AS times FROM unnest($1::uuid[]) AS one (id) GROUP BY id) used
WHERE activity.id = used.id AND activity.ended IS NULL";

const GIVE_BACK_ENDS: &str = "
UPDATE activity SET decide_attempt = greatest(decide_attempt - used.times, 0)
FROM (SELECT id, count(*) AS times FROM unnest($1::uuid[]) AS one (id) GROUP BY id) used
WHERE activity.id = used.id";

const GIVE_BACK_TIMERS: &str = "
UPDATE timer SET attempt = greatest(attempt - used.times, 0)
FROM (SELECT id, count(*) AS times FROM unnest($1::uuid[]) AS one (id) GROUP BY id) used
WHERE timer.id = used.id";

const GIVE_BACK_PARKED: &str = "
UPDATE parked SET attempt = greatest(attempt - used.times, 0)
FROM (SELECT id, count(*) AS times FROM unnest($1::uuid[]) AS one (id) GROUP BY id) used
WHERE parked.id = used.id AND parked.reason <> 'missing'";

/// Writes the intent and looks up whom it names.
pub(crate) async fn intend(
    connection: &mut PgConnection,
    intent: &Intent,
) -> Result<Vec<Suspect>, Failed> {
    let found = sqlx::query(INTEND)
        .bind(intent.node.0)
        .bind(&*intent.endpoint)
        .bind(i64::from(intent.lane))
        .bind(&*intent.saga)
        .bind(uuids(&intent.messages))
        .bind(intent.alone)
        .bind(number(intent.number))
        .fetch_all(connection)
        .await?;
    Ok(rows::all(&found, "suspect", read)?)
}

/// The lane is done; these are suspected no more.
pub(crate) async fn came_through(
    connection: &mut PgConnection,
    intent: &Intent,
    messages: &[MessageId],
) -> Result<(), Failed> {
    sqlx::query(CAME_THROUGH)
        .bind(intent.node.0)
        .bind(&*intent.endpoint)
        .bind(i64::from(intent.lane))
        .bind(uuids(messages))
        .bind(&*intent.saga)
        .bind(number(intent.number))
        .execute(connection)
        .await?;
    Ok(())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A node that leaves has not died.
pub(crate) async fn forget_intents(
    connection: &mut PgConnection,
    node: Uuid,
) -> Result<(), Failed> {
    sqlx::query(FORGET_INTENTS).bind(node).execute(connection).await?;
    Ok(())
}

/// What the nodes tell of themselves.
pub(crate) struct Seen {
    /// Records of the others that live.
    pub(crate) peers: Vec<Record>,
    /// Whether somebody died, or something is to be gathered or watched.
    pub(crate) trouble: bool,
}

/// Notes the node's own record, and reads the others'.
pub(crate) async fn look(
    connection: &mut PgConnection,
    node: Uuid,
    record: Record,
) -> Result<Seen, Failed> {
    let found = sqlx::query(LOOK)
        .bind(node)
        .bind(number(record.worked))
        .bind(number(record.failed))
        .fetch_all(connection)
        .await?;
    let mut seen = Seen { peers: Vec::new(), trouble: false };
    for row in &found {
        seen.trouble |= row.try_get::<bool, _>("suspects")?;
        match row.try_get::<Option<bool>, _>("lives")? {
            Some(true) => seen.peers.push(Record {
                worked: row.try_get::<i64, _>("worked")?.unsigned_abs(),
                failed: row.try_get::<i64, _>("failed")?.unsigned_abs(),
            }),
            Some(false) => seen.trouble = true,
            None => {}
        }
    }
    Ok(seen)
}

/// Buries the dead: what they intended is suspected, and endpoints are watched.
pub(crate) async fn bury(
    connection: &mut PgConnection,
    node: Uuid,
    watch: Duration,
) -> Result<(), Failed> {
    let dead = sqlx::query(BURY).bind(node).execute(&mut *connection).await?.rows_affected();
    sqlx::query(GATHER).bind(node).execute(&mut *connection).await?;
    sqlx::query(FORGET_SUSPECTS).execute(&mut *connection).await?;
    sqlx::query(WATCH).bind(dead > 0).bind(micros(watch)).execute(connection).await?;
    Ok(())
}

/// Gives attempts back: at calls, at their ends, at timers, at parked messages.
pub(crate) async fn give_back_attempts(
    connection: &mut PgConnection,
    used: &[Vec<Uuid>; 4],
) -> Result<(), Failed> {
    let statements = [GIVE_BACK_CALLS, GIVE_BACK_ENDS, GIVE_BACK_TIMERS, GIVE_BACK_PARKED];
    for (statement, ids) in statements.into_iter().zip(used) {
        if !ids.is_empty() {
            sqlx::query(statement).bind(ids).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn uuids(messages: &[MessageId]) -> Vec<Uuid> {
    messages.iter().map(|message| message.0).collect()
}

fn read(row: &PgRow) -> Result<Suspect, String> {
    Ok(Suspect {
        message: MessageId(rows::get(row, "id")?),
        died: rows::count(row, "died")?,
        open: rows::count(row, "open")?,
        last: rows::get(row, "last")?,
    })
}
