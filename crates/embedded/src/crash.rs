//! What outlives a process that dies while it decides: intents, suspects, records of nodes.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::NodeId;
use knarr_model::ids::MessageId;
use knarr_model::ports::crash::{Intent, Record, Suspect, Used};
use knarr_model::work::RowKind;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::Error;
use crate::nodes::{is_alive, until};
use crate::rows::{id, ids, micros, some_instant, whole};

const INTEND: &str = "INSERT INTO intent (node, endpoint, lane, saga, messages, alone, at, number)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (node, endpoint, lane) DO UPDATE SET saga = excluded.saga,
        messages = excluded.messages, alone = excluded.alone, at = excluded.at,
        number = excluded.number
    WHERE intent.number < excluded.number";
/// ?1 the node, ?2 the endpoint, ?3 the messages.
const NAMED: &str = "
    SELECT unhex(m.value), coalesce(s.died, 0),
        (SELECT count(*) FROM intent i, json_each(i.messages) o
         WHERE i.endpoint = ?2 AND i.node <> ?1 AND o.value = m.value AND i.alone),
        s.last,
        (SELECT max(i.at) FROM intent i, json_each(i.messages) o
         WHERE i.endpoint = ?2 AND i.node <> ?1 AND o.value = m.value AND i.alone)
    FROM json_each(?3) m
    LEFT JOIN suspect s ON s.message_id = unhex(m.value) AND s.endpoint = ?2
    WHERE s.message_id IS NOT NULL OR EXISTS (
        SELECT 1 FROM intent i, json_each(i.messages) o
        WHERE i.endpoint = ?2 AND i.node <> ?1 AND o.value = m.value)";
/// The number stays: an intent that is carried out late finds it.
const DONE: &str = "INSERT INTO intent (node, endpoint, lane, saga, messages, alone, at, number)
    VALUES (?1, ?2, ?3, ?4, '[]', 0, 0, ?5)
    ON CONFLICT (node, endpoint, lane) DO UPDATE SET messages = excluded.messages, alone = 0,
        number = excluded.number
    WHERE intent.number <= excluded.number";
const ACQUIT: &str = "DELETE FROM suspect
    WHERE endpoint = ?1 AND message_id IN (SELECT unhex(value) FROM json_each(?2))";
const FORGET_INTENTS: &str = "DELETE FROM intent WHERE node = ?1";
const TELL: &str = "UPDATE node SET worked = ?2, failed = ?3 WHERE id = ?1";
const PEERS: &str = "SELECT worked, failed FROM node WHERE id <> ?1 AND lease_until > ?2";
const BURY: &str = "DELETE FROM node WHERE id <> ?1 AND lease_until <= ?2";
/// What the dead intended, but for what has an outcome.
const GATHER: &str = "INSERT INTO suspect (message_id, endpoint, saga, died, last, at)
    SELECT unhex(m.value), i.endpoint, max(i.saga), sum(i.alone),
        max(CASE WHEN i.alone THEN i.at END), ?1
    FROM intent i, json_each(i.messages) m
    WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.id = i.node)
        AND NOT EXISTS (SELECT 1 FROM journal j
                        WHERE j.saga = i.saga AND j.message_id = unhex(m.value))
    GROUP BY m.value, i.endpoint
    ON CONFLICT (message_id, endpoint) DO UPDATE SET died = died + excluded.died,
        last = max(coalesce(last, excluded.last), coalesce(excluded.last, last)), at = excluded.at";
const GATHERED: &str =
    "DELETE FROM intent WHERE NOT EXISTS (SELECT 1 FROM node n WHERE n.id = intent.node)";
/// Who acquits a suspect may die before it can say so; the outcome says it too.
const FORGET_SUSPECTS: &str = "DELETE FROM suspect WHERE at < ?1 OR EXISTS
    (SELECT 1 FROM journal j WHERE j.saga = suspect.saga AND j.message_id = suspect.message_id)";
const WATCH: &str = "UPDATE endpoint SET watched_until = ?2
    WHERE ?1 OR EXISTS (SELECT 1 FROM suspect s WHERE s.endpoint = endpoint.name)";
const GIVE_BACK_CALL: &str =
    "UPDATE activity SET attempt = max(attempt - 1, 0) WHERE id = ?1 AND ended IS NULL";
const GIVE_BACK_END: &str =
    "UPDATE activity SET decide_attempt = max(decide_attempt - 1, 0) WHERE id = ?1";
const GIVE_BACK_TIMER: &str = "UPDATE timer SET attempt = max(attempt - 1, 0) WHERE id = ?1";
const GIVE_BACK_PARKED: &str =
    "UPDATE parked SET attempt = max(attempt - 1, 0) WHERE id = ?1 AND reason <> 'missing'";
/// Suspects that nobody has met for so long are forgotten.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// Writes the intent and looks up whom it names.
pub(crate) async fn intend(
    connection: &mut SqliteConnection,
    intent: &Intent,
    now: DateTime<Utc>,
) -> Result<Vec<Suspect>, Error> {
    let messages = hexed(&intent.messages)?;
    sqlx::query(INTEND)
        .bind(intent.node.0)
        .bind(&*intent.endpoint)
        .bind(i64::from(intent.lane))
        .bind(&*intent.saga)
        .bind(&messages)
        .bind(intent.alone)
        .bind(micros(now))
        .bind(number(intent.number))
        .execute(&mut *connection)
        .await?;
    let query = sqlx::query(NAMED).bind(intent.node.0).bind(&*intent.endpoint).bind(messages);
    query.fetch_all(connection).await?.iter().map(read).collect()
}

/// The lane is done; these are suspected no more.
pub(crate) async fn came_through(
    connection: &mut SqliteConnection,
    intent: &Intent,
    messages: &[MessageId],
) -> Result<(), Error> {
    let lane = i64::from(intent.lane);
    let query = sqlx::query(DONE).bind(intent.node.0).bind(&*intent.endpoint).bind(lane);
    let query = query.bind(&*intent.saga).bind(number(intent.number));
    query.execute(&mut *connection).await?;
    if !messages.is_empty() {
        let query = sqlx::query(ACQUIT).bind(&*intent.endpoint).bind(hexed(messages)?);
        query.execute(connection).await?;
    }
    Ok(())
}

/// A node that leaves has not died.
pub(crate) async fn forget_intents(
    connection: &mut SqliteConnection,
    node: NodeId,
) -> Result<(), Error> {
    sqlx::query(FORGET_INTENTS).bind(node.0).execute(connection).await?;
    Ok(())
}

/// Notes a record, buries the dead, and tells how the living do.
pub(crate) async fn look_round(
    connection: &mut SqliteConnection,
    node: NodeId,
    record: Record,
    watch: Duration,
    now: DateTime<Utc>,
) -> Result<Vec<Record>, Error> {
    let tell = sqlx::query(TELL).bind(node.0).bind(number(record.worked));
    tell.bind(number(record.failed)).execute(&mut *connection).await?;
    if is_alive(connection, node, now).await? {
        let bury = sqlx::query(BURY).bind(node.0).bind(micros(now));
        let dead = bury.execute(&mut *connection).await?.rows_affected() > 0;
        sqlx::query(GATHER).bind(micros(now)).execute(&mut *connection).await?;
        sqlx::query(GATHERED).execute(&mut *connection).await?;
        let before = micros(now - REMEMBERED);
        sqlx::query(FORGET_SUSPECTS).bind(before).execute(&mut *connection).await?;
        let watch = sqlx::query(WATCH).bind(dead).bind(until(now, watch));
        watch.execute(&mut *connection).await?;
    }
    let peers = sqlx::query(PEERS).bind(node.0).bind(micros(now)).fetch_all(connection).await?;
    peers.iter().map(|row| Ok(Record { worked: whole(row, 0)?, failed: whole(row, 1)? })).collect()
}

/// Gives one attempt back.
pub(crate) async fn give_back_attempt(
    connection: &mut SqliteConnection,
    used: Used,
) -> Result<(), Error> {
    let (statement, row) = match used {
        Used::Call(row) => (GIVE_BACK_CALL, row),
        Used::Row(RowKind::Call, row) => (GIVE_BACK_END, row),
        Used::Row(RowKind::Timer, row) => (GIVE_BACK_TIMER, row),
        Used::Row(RowKind::Parked, row) => (GIVE_BACK_PARKED, row),
    };
    sqlx::query(statement).bind(row.0).execute(connection).await?;
    Ok(())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn hexed(messages: &[MessageId]) -> Result<String, Error> {
    ids(messages.iter().map(|message| &message.0))
}

fn read(row: &SqliteRow) -> Result<Suspect, Error> {
    Ok(Suspect {
        message: id::<Uuid>(row, 0).map(MessageId)?,
        died: whole(row, 1)?,
        open: whole(row, 2)?,
        last: some_instant(row, 3)?.max(some_instant(row, 4)?),
    })
}
