//! Blocks of start messages, and runs whose unsent messages are withdrawn.

use std::collections::BTreeSet;

use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::incident::Block;
use knarr_model::instance::FINAL;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Failed;
use crate::rows;

const WRITE: &str = "
INSERT INTO block (quarantined, endpoint, by, value, incident, definition_version, lets)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (quarantined) DO UPDATE
SET endpoint = excluded.endpoint, by = excluded.by, value = excluded.value,
    incident = excluded.incident, definition_version = excluded.definition_version,
    lets = excluded.lets";

const LIFT: &str = "DELETE FROM block WHERE quarantined = ANY ($1)";

const OF_MESSAGES: &str = "
SELECT quarantined AS id, endpoint, by, value, incident, definition_version, lets
FROM block WHERE quarantined = ANY ($1) ORDER BY quarantined";

/// One moment: the blocks and the version that they belong to. Nothing is sorted here: a plan made
/// while the table was empty would read it all, in the order wanted.
const OF_ENDPOINT: &str = "
SELECT coalesce((SELECT guard_version FROM endpoint WHERE name = $1), 0) AS guard_version, found.*
FROM (SELECT) one LEFT JOIN LATERAL (
  SELECT quarantined AS id, endpoint, by, value, incident, definition_version, lets
  FROM block WHERE endpoint = $1 OFFSET 0) found ON true";

/// A run has finished when its instance is final at it, at a later run, or gone; a purged run has
/// not. Journal lines of other sagas say nothing.
const OUTLIVED: &str = "
SELECT b.quarantined FROM block b
WHERE b.endpoint = $1 AND EXISTS (
  SELECT FROM journal j
  WHERE j.message_id = b.lets AND j.outcome = 'applied' AND j.instance IS NOT NULL
    AND NOT EXISTS (SELECT FROM quarantine q
                    WHERE q.id = b.quarantined AND q.saga IS DISTINCT FROM j.saga)
    AND NOT EXISTS (SELECT FROM instance i
                    WHERE i.id = j.instance AND i.saga = j.saga
                      AND (i.run < j.run OR i.run = j.run AND i.state <> $2)))";

const WITHDRAW: &str = "
INSERT INTO withdrawn (instance, run, endpoint) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";

const LIFT_MARK: &str = "DELETE FROM withdrawn WHERE instance = $1 AND run = $2 AND endpoint = $3";

const WITHDRAWN: &str = "
SELECT instance, run FROM withdrawn WHERE instance = ANY ($1) AND endpoint IS NOT DISTINCT FROM $2";

/// Writes a block.
pub(crate) async fn write(connection: &mut PgConnection, block: &Block) -> Result<(), Failed> {
    sqlx::query(WRITE)
        .bind(block.quarantined)
        .bind(block.endpoint.to_string())
        .bind(block.by.as_str())
        .bind(rows::plain(&block.value))
        .bind(block.incident)
        .bind(i64::from(block.definition_version))
        .bind(block.lets.map(|message| message.0))
        .execute(connection)
        .await?;
    Ok(())
}

/// Lifts blocks.
pub(crate) async fn lift(connection: &mut PgConnection, of: &[Uuid]) -> Result<(), Failed> {
    sqlx::query(LIFT).bind(of).execute(connection).await?;
    Ok(())
}

/// What these set-aside messages block.
pub(crate) async fn of_messages(
    connection: &mut PgConnection,
    messages: &[Uuid],
) -> Result<Vec<Block>, Failed> {
    let found = sqlx::query(OF_MESSAGES).bind(messages).fetch_all(connection).await?;
    Ok(rows::all(&found, "block", read)?)
}

/// The blocks of an endpoint, and the version that they belong to. None may be left out.
pub(crate) async fn of_endpoint(
    connection: &mut PgConnection,
    endpoint: &str,
) -> Result<(i64, Vec<Block>), Failed> {
    let found = sqlx::query(OF_ENDPOINT).bind(endpoint).fetch_all(connection).await?;
    let Some(first) = found.first() else { return Ok((0, Vec::new())) };
    let version = first.try_get("guard_version")?;
    if first.try_get::<Option<Uuid>, _>("id")?.is_none() {
        return Ok((version, Vec::new()));
    }
    let mut blocks = rows::all(&found, "block", read)?;
    blocks.sort_by_key(|block| block.quarantined);
    Ok((version, blocks))
}

/// Blocks whose released run has finished.
pub(crate) async fn outlived(
    connection: &mut PgConnection,
    endpoint: &str,
) -> Result<Vec<Uuid>, Failed> {
    Ok(sqlx::query_scalar(OUTLIVED).bind(endpoint).bind(FINAL).fetch_all(connection).await?)
}

/// Marks a run: what it has not sent yet does not leave any more.
pub(crate) async fn withdraw(
    connection: &mut PgConnection,
    endpoint: &str,
    instance: InstanceId,
    run: u32,
) -> Result<(), Failed> {
    let query = sqlx::query(WITHDRAW).bind(instance.0).bind(i64::from(run));
    query.bind(endpoint).execute(connection).await?;
    Ok(())
}

/// Takes the mark away.
pub(crate) async fn lift_mark(
    connection: &mut PgConnection,
    endpoint: &str,
    instance: InstanceId,
    run: u32,
) -> Result<(), Failed> {
    let query = sqlx::query(LIFT_MARK).bind(instance.0).bind(i64::from(run));
    query.bind(endpoint).execute(connection).await?;
    Ok(())
}

/// Marked runs of these instances.
pub(crate) async fn withdrawn(
    connection: &mut PgConnection,
    endpoint: &str,
    runs: &[(InstanceId, u32)],
) -> Result<BTreeSet<(InstanceId, u32)>, Failed> {
    let instances: Vec<_> = runs.iter().map(|(instance, _)| instance.0).collect();
    let found: Vec<(Uuid, i64)> =
        sqlx::query_as(WITHDRAWN).bind(instances).bind(endpoint).fetch_all(connection).await?;
    let run = |(id, run)| Some((InstanceId(id), u32::try_from(run).ok()?));
    Ok(found.into_iter().filter_map(run).collect())
}

fn read(row: &PgRow) -> Result<Block, String> {
    Ok(Block {
        quarantined: rows::get(row, "id")?,
        endpoint: rows::get::<&str>(row, "endpoint")?.into(),
        by: rows::word(row, "by")?,
        value: rows::text(row, "value")?,
        incident: rows::get(row, "incident")?,
        definition_version: rows::count(row, "definition_version")?,
        lets: rows::get::<Option<Uuid>>(row, "lets")?.map(MessageId),
    })
}
