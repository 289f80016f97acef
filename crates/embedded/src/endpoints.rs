//! The endpoint's row: its state and epoch, which every commit is checked against.

use chrono::{DateTime, Utc};
use knarr_model::NodeId;
use knarr_model::commit::{Commit, CommitOutcome};
use knarr_model::ports::store::{EndpointRow, EndpointState};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{get, json, micros, name, readable, some_id, some_instant, some_json_column};

const MAKE: &str = "INSERT INTO endpoint (name) VALUES (?1) ON CONFLICT (name) DO NOTHING";
const FIND: &str = "SELECT name, state, epoch, guard_version, holder, stop, watched_until,
    restored_at FROM endpoint WHERE name = ?1";
const ALL: &str = "SELECT name, state, epoch, guard_version, holder, stop, watched_until,
    restored_at FROM endpoint ORDER BY name";
/// ?2 is the node, ?3 now. Only a live node takes it, and from no live node.
const HOLD: &str = "UPDATE endpoint SET holder = ?2 WHERE name = ?1
    AND EXISTS (SELECT 1 FROM node WHERE node.id = ?2 AND node.lease_until > ?3)
    AND NOT EXISTS (SELECT 1 FROM node WHERE node.id = holder AND node.lease_until > ?3)";
const LET_GO: &str = "UPDATE endpoint SET holder = NULL WHERE holder = ?1";
/// Who holds it is no verb's business.
const WRITE: &str = "INSERT INTO endpoint (name, state, epoch, guard_version, stop,
        restored_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (name) DO UPDATE SET state = excluded.state, epoch = excluded.epoch,
        guard_version = excluded.guard_version, stop = excluded.stop,
        restored_at = excluded.restored_at";

/// The row, if there is one.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<Option<EndpointRow>, Error> {
    let row = sqlx::query(FIND).bind(endpoint).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

/// The row, made if there is none.
pub(crate) async fn make(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<EndpointRow, Error> {
    sqlx::query(MAKE).bind(endpoint).execute(&mut *connection).await?;
    read(&sqlx::query(FIND).bind(endpoint).fetch_one(connection).await?)
}

/// Gives the endpoint to a live node if nobody alive holds it.
pub(crate) async fn hold(
    connection: &mut SqliteConnection,
    endpoint: &str,
    node: NodeId,
    now: DateTime<Utc>,
) -> Result<EndpointRow, Error> {
    let row = make(connection, endpoint).await?;
    if row.holder == Some(node) {
        return Ok(row);
    }
    let query = sqlx::query(HOLD).bind(endpoint).bind(node.0).bind(micros(now));
    query.execute(&mut *connection).await?;
    make(connection, endpoint).await
}

/// Lets go of whatever the node holds.
pub(crate) async fn let_go(connection: &mut SqliteConnection, node: NodeId) -> Result<(), Error> {
    sqlx::query(LET_GO).bind(node.0).execute(connection).await?;
    Ok(())
}

/// All rows, by name.
pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<Vec<EndpointRow>, Error> {
    let rows = sqlx::query(ALL).fetch_all(connection).await?;
    Ok(readable("endpoint", &rows, read))
}

/// Writes the row as a verb of the guard plans it.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    row: &EndpointRow,
) -> Result<(), Error> {
    sqlx::query(WRITE)
        .bind(&*row.name)
        .bind(row.state.as_str())
        .bind(row.epoch)
        .bind(row.guard_version)
        .bind(row.stop.as_ref().map(json).transpose()?)
        .bind(row.restored_at.map(micros))
        .execute(connection)
        .await?;
    Ok(())
}

/// What forbids the commit, if anything. There is one writer, so its transaction is the fence.
pub(crate) async fn fence(
    connection: &mut SqliteConnection,
    commit: &Commit,
) -> Result<Option<CommitOutcome>, Error> {
    let row = find(connection, &commit.endpoint).await?;
    Ok(match row {
        Some(row) if row.state == EndpointState::Halted || row.epoch != commit.epoch => {
            Some(CommitOutcome::Fenced)
        }
        Some(row) if commit.ordered && row.holder != Some(commit.node) => {
            Some(CommitOutcome::Fenced)
        }
        Some(row) if row.guard_version != commit.guard_version => Some(CommitOutcome::GuardChanged),
        Some(_) => None,
        None => Some(CommitOutcome::Fenced),
    })
}

fn read(row: &SqliteRow) -> Result<EndpointRow, Error> {
    let state: String = get(row, 1)?;
    Ok(EndpointRow {
        name: name(row, 0)?,
        state: EndpointState::parse(&state)
            .ok_or_else(|| Error::Data(format!("`{state}` is no endpoint state")))?,
        epoch: get(row, 2)?,
        guard_version: get(row, 3)?,
        holder: some_id(row, 4)?,
        stop: some_json_column(row, 5)?,
        watched_until: some_instant(row, 6)?,
        restored_at: some_instant(row, 7)?,
    })
}
