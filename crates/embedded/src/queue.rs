//! Messages that wait in queues: their rows, and what the file knows of those handed out.

use knarr_model::Headers;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{from_json, get, json, whole};

const INSERT: &str = "INSERT INTO queue_message (queue, exchange, routing_key, properties, body)
    SELECT j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3,
        CAST(substr(?2, (j.value ->> 4) + 1, j.value ->> 5) AS BLOB)
    FROM json_each(?1) j";
const NEXT: &str = "SELECT n, delivery_count, exchange, routing_key, properties, body
    FROM queue_message WHERE queue = ?1 AND n > ?2 ORDER BY n LIMIT ?3";
const THESE: &str = "SELECT n, delivery_count, exchange, routing_key, properties, body
    FROM queue_message WHERE n IN (SELECT value FROM json_each(?1)) ORDER BY n";
const DELETE: &str = "DELETE FROM queue_message WHERE n IN (SELECT value FROM json_each(?1))";
const COUNT: &str = "SELECT count(*) FROM queue_message WHERE queue = ?1";
const HANDED: &str = "UPDATE queue SET handed = ?2 WHERE name = ?1 AND handed < ?2";
const HANDED_ALL: &str = "UPDATE queue SET handed = coalesce(
        (SELECT max(n) FROM queue_message m WHERE m.queue = queue.name), handed)
    WHERE name IN (SELECT value FROM json_each(?1))
    RETURNING name, handed";
const COUNT_AGAIN: &str = "UPDATE queue_message SET delivery_count = delivery_count + 1
    WHERE n IN (SELECT m.n FROM queue q
        CROSS JOIN queue_message m ON m.queue = q.name AND m.n <= q.handed
        WHERE q.handed > 0)";
const HANDED_NONE: &str = "UPDATE queue SET handed = 0 WHERE handed > 0";

/// AMQP properties of a stored message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Properties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub(crate) headers: Headers,
}

/// A message as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) n: i64,
    pub(crate) delivery_count: u32,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    /// Or why they cannot be read.
    pub(crate) properties: Result<Properties, Error>,
    pub(crate) body: Vec<u8>,
}

fn read(row: &SqliteRow) -> Result<Stored, Error> {
    Ok(Stored {
        n: get(row, 0)?,
        delivery_count: whole(row, 1)?,
        exchange: get(row, 2)?,
        routing_key: get(row, 3)?,
        properties: from_json(row, 4),
        body: get(row, 5)?,
    })
}

/// Rows of one INSERT: queue, exchange, routing key, properties, place and length of the body.
pub(crate) type NewRow<'a> = (&'a str, &'a str, &'a str, &'a str, usize, usize);

/// Adds messages to queues, in order.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    rows: &str,
    bodies: &[u8],
) -> Result<(), Error> {
    sqlx::query(INSERT).bind(rows).bind(bodies).execute(connection).await?;
    Ok(())
}

/// Notes that everything in these queues is about to be handed out; returns up to which number.
pub(crate) async fn hand_all(
    connection: &mut SqliteConnection,
    queues: &[String],
) -> Result<Vec<(String, i64)>, Error> {
    let rows = sqlx::query(HANDED_ALL).bind(json(queues)?).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect()
}

/// After a process that had the file has died: what it had in hand counts as delivered once more.
pub(crate) async fn deliver_again(connection: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query(COUNT_AGAIN).execute(&mut *connection).await?;
    hand_none(connection).await
}

/// Notes that nothing is in hand.
pub(crate) async fn hand_none(connection: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query(HANDED_NONE).execute(connection).await?;
    Ok(())
}

/// The messages of a queue that came back, and those after `upto`, up to `max`, in order.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    queue: &str,
    upto: i64,
    back: Vec<i64>,
    max: usize,
) -> Result<Vec<Stored>, Error> {
    let mut rows = Vec::new();
    if !back.is_empty() {
        let query = sqlx::query(THESE).bind(json(&back)?);
        rows = query.fetch_all(&mut *connection).await?;
    }
    let room = i64::try_from(max.saturating_sub(rows.len())).unwrap_or(i64::MAX);
    if room > 0 {
        let query = sqlx::query(NEXT).bind(queue).bind(upto).bind(room);
        rows.extend(query.fetch_all(connection).await?);
    }
    rows.iter().map(read).collect()
}

/// Notes that everything up to here is about to be handed out.
pub(crate) async fn hand(
    connection: &mut SqliteConnection,
    queue: &str,
    upto: i64,
) -> Result<(), Error> {
    sqlx::query(HANDED).bind(queue).bind(upto).execute(connection).await?;
    Ok(())
}

/// Deletes messages.
pub(crate) async fn remove(
    connection: &mut SqliteConnection,
    messages: &[i64],
) -> Result<(), Error> {
    sqlx::query(DELETE).bind(json(messages)?).execute(connection).await?;
    Ok(())
}

/// How many messages a queue has, in hand or not.
pub(crate) async fn count(connection: &mut SqliteConnection, queue: &str) -> Result<u64, Error> {
    whole(&sqlx::query(COUNT).bind(queue).fetch_one(connection).await?, 0)
}
