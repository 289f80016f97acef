//! The outbox: chunks of messages on their way out, published by the node that committed them.

use std::collections::BTreeSet;
use std::sync::Arc;

use knarr_model::ids::{InstanceId, MessageId, Name, RowId};
use knarr_model::ports::StoreError;
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{Chunk, Outgoing};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::claims::dead;
use crate::error::Failed;
use crate::quarantine;
use crate::rows::{self, Query};

const FINISH: &str = "DELETE FROM outbox WHERE id = ANY ($1)";

const OWN: &str = "
SELECT id, endpoint, directory, bodies FROM outbox
WHERE node = $1 AND id <> ALL ($2) ORDER BY number";

/// Only a node that is alive itself takes over (see `claims`).
const TAKE: &str = concat!(
    "
WITH left_behind AS (
  SELECT o.id FROM outbox o
  WHERE o.node <> $1 AND ",
    dead!("o"),
    "
    AND EXISTS (SELECT FROM node me WHERE me.id = $1 AND me.lease_until > clock_timestamp())
  ORDER BY o.number LIMIT $2 FOR UPDATE OF o SKIP LOCKED)
UPDATE outbox SET node = $1 WHERE id = ANY (ARRAY (SELECT id FROM left_behind))
RETURNING id, endpoint, directory, bodies, number"
);

const LOCK: &str = "SELECT endpoint, directory FROM outbox WHERE id = $1 FOR UPDATE";
const REPLACE: &str = "UPDATE outbox SET directory = $2, bodies = $3 WHERE id = $1";

const INSERT: &str =
    "INSERT INTO outbox (id, endpoint, node, directory, bodies) VALUES ($1, $2, $3, $4, $5)";

/// The directories are searched as text; bodies lie elsewhere and are not read for it.
const WITH_INSTANCE: &str = "
SELECT id, endpoint, directory, bodies FROM outbox
WHERE endpoint = $1 AND strpos(directory, $2) > 0 ORDER BY number FOR UPDATE";

/// Deletes chunks whose messages are all confirmed.
pub(crate) async fn finish(connection: &mut PgConnection, chunks: &[Uuid]) -> Result<(), Failed> {
    sqlx::query(FINISH).bind(chunks).execute(connection).await?;
    Ok(())
}

/// A node's own chunks but for those it knows, oldest first.
pub(crate) async fn own(
    connection: &mut PgConnection,
    node: Uuid,
    known: &[Uuid],
) -> Result<Vec<Chunk>, Failed> {
    let found = sqlx::query(OWN).bind(node).bind(known).fetch_all(connection).await?;
    Ok(rows::readable(&found, "outbox", read))
}

/// Takes over chunks of nodes whose lease is past, oldest first.
pub(crate) async fn take(
    connection: &mut PgConnection,
    node: Uuid,
    limit: i64,
) -> Result<Vec<Chunk>, Failed> {
    let found = sqlx::query(TAKE).bind(node).bind(limit).fetch_all(connection).await?;
    let mut chunks =
        rows::readable(&found, "outbox", |row| Ok((rows::get::<i64>(row, "number")?, read(row)?)));
    chunks.sort_by_key(|(number, _)| *number);
    Ok(chunks.into_iter().map(|(_, chunk)| chunk).collect())
}

/// Replaces a chunk's messages by those of `left` that are still in it: what was withdrawn since
/// does not come back. A chunk that is gone was dealt with.
pub(crate) async fn shrink(
    connection: &mut PgConnection,
    chunk: RowId,
    left: &[Outgoing],
    set_aside: &[Quarantined],
) -> Result<(), Failed> {
    let row = sqlx::query(LOCK).bind(chunk.0).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(()) };
    let endpoint: Name = row.try_get::<&str, _>(0)?.into();
    let stored = message_ids(row.try_get(1)?)
        .map_err(|error| rows::unreadable("chunk", chunk, &error.to_string()))?;
    let left = left.iter().filter(|message| stored.contains(&message.id)).cloned().collect();
    replace(connection, Chunk { id: chunk, endpoint, messages: left }).await?;
    quarantine::insert(connection, set_aside).await
}

/// The unsent messages of a run, in their order; their chunks are locked.
pub(crate) async fn unsent(
    connection: &mut PgConnection,
    endpoint: &str,
    instance: InstanceId,
    run: u32,
) -> Result<Vec<Outgoing>, Failed> {
    let found = with_instance(connection, endpoint, instance).await?;
    let messages = found.into_iter().flat_map(|chunk| chunk.messages);
    Ok(messages.filter(|message| is_of_run(message, instance, run)).collect())
}

/// Writes chunks that the node will publish.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    node: Uuid,
    chunks: &[Chunk],
) -> Result<(), Failed> {
    for chunk in chunks {
        let (directory, bodies) = encode(chunk)?;
        sqlx::query(INSERT)
            .bind(chunk.id.0)
            .bind(chunk.endpoint.to_string())
            .bind(node)
            .bind(directory)
            .bind(bodies)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The chunks that may hold messages of an instance, locked.
async fn with_instance(
    connection: &mut PgConnection,
    endpoint: &str,
    instance: InstanceId,
) -> Result<Vec<Chunk>, Failed> {
    let found = sqlx::query(WITH_INSTANCE)
        .bind(endpoint)
        .bind(instance.to_string())
        .fetch_all(connection)
        .await?;
    // A purge that leaves something to be sent has not purged: an unreadable chunk stops it.
    let unreadable =
        |error| Failed::Other(StoreError::Fatal(format!("an outbox row cannot be read: {error}")));
    found.iter().map(|row| read(row).map_err(unreadable)).collect()
}

fn is_of_run(message: &Outgoing, instance: InstanceId, run: u32) -> bool {
    message.sequence.is_some_and(|sequence| sequence.instance == instance && sequence.run == run)
}

/// Withdraws the unsent messages of a run.
pub(crate) async fn withdraw(
    connection: &mut PgConnection,
    endpoint: &str,
    instance: InstanceId,
    run: u32,
) -> Result<(), Failed> {
    for mut chunk in with_instance(&mut *connection, endpoint, instance).await? {
        let before = chunk.messages.len();
        chunk.messages.retain(|message| !is_of_run(message, instance, run));
        if chunk.messages.len() < before {
            replace(connection, chunk).await?;
        }
    }
    Ok(())
}

async fn replace(connection: &mut PgConnection, chunk: Chunk) -> Result<(), Failed> {
    if chunk.messages.is_empty() {
        return finish(connection, &[chunk.id.0]).await;
    }
    let (directory, bodies) = encode(&chunk)?;
    sqlx::query(REPLACE).bind(chunk.id.0).bind(directory).bind(bodies).execute(connection).await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<Chunk, String> {
    Chunk::decode(
        RowId(rows::get(row, "id")?),
        rows::get::<&str>(row, "endpoint")?.into(),
        rows::get(row, "directory")?,
        rows::get(row, "bodies")?,
    )
}

fn message_ids(directory: &str) -> Result<BTreeSet<MessageId>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Entry {
        id: MessageId,
    }
    let entries: Vec<Entry> = serde_json::from_str(directory)?;
    Ok(entries.into_iter().map(|entry| entry.id).collect())
}

fn encode(chunk: &Chunk) -> Result<(String, Vec<u8>), StoreError> {
    chunk.encode().map_err(|error| StoreError::Data(format!("chunk {}: {error}", chunk.id)))
}

/// Chunks as the columns that a commit writes.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    id: Vec<Uuid>,
    directory: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

impl Columns {
    pub(crate) fn push(&mut self, chunk: &Chunk) -> Result<(), StoreError> {
        let (directory, bodies) = encode(chunk)?;
        self.id.push(chunk.id.0);
        self.directory.push(directory);
        self.bodies.push(bodies);
        Ok(())
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query.bind(self.id).bind(self.directory).bind(self.bodies)
    }
}

/// Groups messages into chunks. Where too few ids were given, the rest follow from the last.
pub(crate) fn split(endpoint: &Name, messages: Vec<Outgoing>, ids: &[RowId]) -> Vec<Chunk> {
    let mut ids = ids.iter().copied();
    let mut last = RowId(Uuid::nil());
    Chunk::split(&Arc::clone(endpoint), messages, || {
        let next = || RowId(knarr_model::ids::derived_id(&[b"chunk", last.as_bytes()]));
        last = ids.next().unwrap_or_else(next);
        last
    })
}
