//! Chunks of outgoing messages: written by commits, finished, taken over, made smaller.

use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{Chunk, Outgoing};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{get, hex, id, ids, json, micros, name, readable, whole};
use crate::{nodes, quarantine};

const INSERT: &str = "INSERT INTO outbox (id, endpoint, saga, node, directory, bodies)
    SELECT unhex(j.value ->> 0), ?1, ?2, ?3, j.value ->> 1,
        CAST(substr(?5, (j.value ->> 2) + 1, j.value ->> 3) AS BLOB)
    FROM json_each(?4) j";
const FINISH: &str = "DELETE FROM outbox WHERE id IN (SELECT unhex(value) FROM json_each(?1))";
const OWN: &str = "SELECT id, endpoint, directory, bodies FROM outbox
    WHERE node = ?1 AND id NOT IN (SELECT unhex(value) FROM json_each(?2)) ORDER BY n";
const TAKE: &str = "UPDATE outbox SET node = ?1 WHERE n IN (
        SELECT n FROM outbox o
        WHERE NOT EXISTS (SELECT 1 FROM node WHERE node.id = o.node AND node.lease_until > ?2)
        ORDER BY n LIMIT ?3)
    RETURNING id, endpoint, directory, bodies, n";
const ONE: &str = "SELECT id, endpoint, directory, bodies FROM outbox WHERE id = ?1";
const REPLACE: &str = "UPDATE outbox SET directory = ?2, bodies = ?3 WHERE id = ?1";
const WITHDRAWN: &str = "SELECT unhex(j.value ->> 0), j.value ->> 1
    FROM json_each(?2) j
    WHERE EXISTS (SELECT 1 FROM instance i JOIN outbox o ON o.saga = i.saga
        WHERE o.id = ?1 AND i.id = unhex(j.value ->> 0) AND i.run = j.value ->> 1
            AND i.state = 'Purged')
        OR EXISTS (SELECT 1 FROM withdrawn w JOIN outbox o ON o.endpoint = w.endpoint
        WHERE o.id = ?1 AND w.instance = unhex(j.value ->> 0) AND w.run = j.value ->> 1)";
const NAMING: &str = "SELECT id, endpoint, directory, bodies FROM outbox
    WHERE endpoint = ?1 AND instr(directory, ?2) > 0 ORDER BY n";

/// Chunks as two parameters: their directories, and all bodies laid end to end.
pub(crate) struct Rows {
    rows: String,
    bodies: Vec<u8>,
}

/// Chunks as parameters; `None` for none.
pub(crate) fn rows(chunks: &[Chunk]) -> Result<Option<Rows>, Error> {
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let (directory, bodies) = encode(chunk)?;
        rows.push((hex(chunk.id.0), directory, all.len(), bodies.len()));
        all.extend_from_slice(&bodies);
    }
    Ok(if rows.is_empty() { None } else { Some(Rows { rows: json(&rows)?, bodies: all }) })
}

fn encode(chunk: &Chunk) -> Result<(String, Vec<u8>), Error> {
    chunk.encode().map_err(|error| Error::Data(format!("chunk {}: {error}", chunk.id)))
}

/// Writes chunks of `node`.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    (endpoint, saga): (&Name, &Name),
    node: NodeId,
    rows: &Rows,
) -> Result<(), Error> {
    sqlx::query(INSERT)
        .bind(&**endpoint)
        .bind(&**saga)
        .bind(node.0)
        .bind(&rows.rows)
        .bind(&rows.bodies[..])
        .execute(connection)
        .await?;
    Ok(())
}

/// Deletes chunks whose messages are all confirmed.
pub(crate) async fn finish(
    connection: &mut SqliteConnection,
    chunks: &[RowId],
) -> Result<(), Error> {
    if !chunks.is_empty() {
        let chunks = ids(chunks.iter().map(|id| &id.0))?;
        sqlx::query(FINISH).bind(chunks).execute(connection).await?;
    }
    Ok(())
}

/// The node's own chunks that it does not know of, oldest first.
pub(crate) async fn own(
    connection: &mut SqliteConnection,
    node: NodeId,
    known: &[RowId],
) -> Result<Vec<Chunk>, Error> {
    let known = ids(known.iter().map(|id| &id.0))?;
    let rows = sqlx::query(OWN).bind(node.0).bind(known).fetch_all(connection).await?;
    Ok(readable("chunk", &rows, read))
}

/// Takes over chunks of dead nodes, oldest first. Only a live node takes.
pub(crate) async fn take(
    connection: &mut SqliteConnection,
    node: NodeId,
    limit: usize,
    now: DateTime<Utc>,
) -> Result<Vec<Chunk>, Error> {
    if !nodes::is_alive(connection, node, now).await? {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(TAKE).bind(node.0).bind(micros(now)).bind(limit);
    let rows = query.fetch_all(connection).await?;
    let mut taken = readable("chunk", &rows, |row| Ok((get::<i64>(row, 4)?, read(row)?)));
    taken.sort_by_key(|(n, _)| *n);
    Ok(taken.into_iter().map(|(_, chunk)| chunk).collect())
}

/// Leaves in a chunk what is still to go, and sets the rest aside. A chunk that is gone was dealt
/// with, or withdrawn; and what was withdrawn meanwhile does not come back.
pub(crate) async fn shrink(
    connection: &mut SqliteConnection,
    chunk: RowId,
    mut left: Vec<Outgoing>,
    set_aside: &[Quarantined],
) -> Result<(), Error> {
    let row = sqlx::query(ONE).bind(chunk.0).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(()) };
    let runs: Vec<_> = left
        .iter()
        .filter_map(|message| message.sequence)
        .map(|sequence| (hex(sequence.instance.0), sequence.run))
        .collect();
    let query = sqlx::query(WITHDRAWN).bind(chunk.0).bind(json(&runs)?);
    for row in &query.fetch_all(&mut *connection).await? {
        let (instance, run): (InstanceId, u32) = (id(row, 0)?, whole(row, 1)?);
        left.retain(|message| {
            message.sequence.is_none_or(|of| of.instance != instance || of.run != run)
        });
    }
    let endpoint = name(&row, 1)?;
    replace(connection, Chunk { id: chunk, endpoint, messages: left }).await?;
    if let Some(rows) = quarantine::rows(set_aside)? {
        quarantine::insert(connection, &rows).await?;
    }
    Ok(())
}

/// Whether a message is of a run.
fn is_of(message: &Outgoing, instance: InstanceId, run: u32) -> bool {
    message.sequence.is_some_and(|of| of.instance == instance && of.run == run)
}

/// Takes the unsent messages of a run out of the endpoint's chunks.
pub(crate) async fn withdraw(
    connection: &mut SqliteConnection,
    endpoint: &str,
    instance: InstanceId,
    run: u32,
) -> Result<(), Error> {
    let query = sqlx::query(NAMING).bind(endpoint).bind(instance.to_string());
    let rows = query.fetch_all(&mut *connection).await?;
    for mut chunk in readable("chunk", &rows, read) {
        let before = chunk.messages.len();
        chunk.messages.retain(|message| !is_of(message, instance, run));
        if chunk.messages.len() < before {
            replace(connection, chunk).await?;
        }
    }
    Ok(())
}

/// The messages of a run that are still here, in the order in which they were written.
pub(crate) async fn unsent(
    connection: &mut SqliteConnection,
    endpoint: &str,
    instance: InstanceId,
    run: u32,
) -> Result<Vec<Outgoing>, Error> {
    let query = sqlx::query(NAMING).bind(endpoint).bind(instance.to_string());
    let rows = query.fetch_all(connection).await?;
    let mut unsent = Vec::new();
    for row in &rows {
        unsent.extend(read(row)?.messages);
    }
    unsent.retain(|message| is_of(message, instance, run));
    Ok(unsent)
}

async fn replace(connection: &mut SqliteConnection, chunk: Chunk) -> Result<(), Error> {
    if chunk.messages.is_empty() {
        return finish(connection, &[chunk.id]).await;
    }
    let (directory, bodies) = encode(&chunk)?;
    sqlx::query(REPLACE).bind(chunk.id.0).bind(directory).bind(bodies).execute(connection).await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Chunk, Error> {
    let directory: String = get(row, 2)?;
    Chunk::decode(id(row, 0)?, name(row, 1)?, &directory, get(row, 3)?).map_err(Error::Data)
}
