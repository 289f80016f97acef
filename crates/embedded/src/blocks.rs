//! Start messages that may not start a run again, by the set-aside message that blocks.

use knarr_model::incident::Block;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::Error;
use crate::rows::{get, id, ids, name, some_id, whole, word};

const WRITE: &str = "INSERT INTO block
        (quarantined, endpoint, compares, value, incident, definition_version, lets)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (quarantined) DO UPDATE SET endpoint = excluded.endpoint,
        compares = excluded.compares, value = excluded.value, incident = excluded.incident,
        definition_version = excluded.definition_version, lets = excluded.lets";
const LIFT: &str = "DELETE FROM block WHERE quarantined = ?1";
const OF_ENDPOINT: &str = "SELECT quarantined, endpoint, compares, value, incident,
        definition_version, lets
    FROM block WHERE endpoint = ?1 ORDER BY quarantined";
const OF_MESSAGES: &str = "SELECT quarantined, endpoint, compares, value, incident,
        definition_version, lets
    FROM block WHERE quarantined IN (SELECT unhex(value) FROM json_each(?1)) ORDER BY quarantined";
/// The journal is searched saga by saga, as its index is.
const OUTLIVED: &str = "WITH RECURSIVE known (saga) AS (
        SELECT min(saga) FROM journal
        UNION ALL
        SELECT (SELECT min(j.saga) FROM journal j WHERE j.saga > known.saga) FROM known
        WHERE known.saga IS NOT NULL)
    SELECT DISTINCT b.quarantined FROM block b
    CROSS JOIN known
    CROSS JOIN journal k ON k.saga = known.saga AND k.message_id = b.lets
    LEFT JOIN instance i ON i.saga = k.saga AND i.id = k.instance
    WHERE b.endpoint = ?1 AND k.outcome = 'applied'
        AND k.instance IS NOT NULL AND k.run IS NOT NULL
        AND (i.id IS NULL OR i.run > k.run OR (i.run = k.run AND i.state = 'Final'))
    ORDER BY b.quarantined";

/// Writes a block: inserted, or replaced.
pub(crate) async fn write(connection: &mut SqliteConnection, block: &Block) -> Result<(), Error> {
    sqlx::query(WRITE)
        .bind(block.quarantined)
        .bind(&*block.endpoint)
        .bind(block.by.as_str())
        .bind(&block.value)
        .bind(block.incident)
        .bind(block.definition_version)
        .bind(block.lets.map(|message| message.0))
        .execute(connection)
        .await?;
    Ok(())
}

/// Lifts the block of a set-aside message; an absent one does not matter.
pub(crate) async fn lift(
    connection: &mut SqliteConnection,
    quarantined: Uuid,
) -> Result<(), Error> {
    sqlx::query(LIFT).bind(quarantined).execute(connection).await?;
    Ok(())
}

/// Every block of an endpoint.
pub(crate) async fn of_endpoint(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<Vec<Block>, Error> {
    let rows = sqlx::query(OF_ENDPOINT).bind(endpoint).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// What these set-aside messages block.
pub(crate) async fn of_messages(
    connection: &mut SqliteConnection,
    quarantined: &[Uuid],
) -> Result<Vec<Block>, Error> {
    if quarantined.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(OF_MESSAGES).bind(ids(quarantined)?).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Blocks whose one message has started a run that is over.
pub(crate) async fn outlived(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<Vec<Uuid>, Error> {
    let rows = sqlx::query(OUTLIVED).bind(endpoint).fetch_all(connection).await?;
    rows.iter().map(|row| get(row, 0)).collect()
}

fn read(row: &SqliteRow) -> Result<Block, Error> {
    Ok(Block {
        quarantined: id(row, 0)?,
        endpoint: name(row, 1)?,
        by: word(row, 2)?,
        value: get(row, 3)?,
        incident: get(row, 4)?,
        definition_version: whole(row, 5)?,
        lets: some_id(row, 6)?,
    })
}
