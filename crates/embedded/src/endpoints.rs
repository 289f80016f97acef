//! The endpoint's row: its state and epoch, which every commit is checked against.

use knarr_model::commit::{Commit, CommitOutcome};
use knarr_model::ports::store::{EndpointRow, EndpointState};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{get, name, readable};

const MAKE: &str = "INSERT INTO endpoint (name) VALUES (?1) ON CONFLICT (name) DO NOTHING";
const FIND: &str = "SELECT name, state, epoch, guard_version FROM endpoint WHERE name = ?1";
const ALL: &str = "SELECT name, state, epoch, guard_version FROM endpoint ORDER BY name";
const HALT: &str = "INSERT INTO endpoint (name, state, epoch) VALUES (?1, 'halted', 2)
    ON CONFLICT (name) DO UPDATE SET state = 'halted', epoch = epoch + 1
    RETURNING name, state, epoch, guard_version";
const RESUME: &str = "INSERT INTO endpoint (name) VALUES (?1)
    ON CONFLICT (name) DO UPDATE SET state = 'open'
    RETURNING name, state, epoch, guard_version";

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

/// All rows, by name.
pub(crate) async fn all(connection: &mut SqliteConnection) -> Result<Vec<EndpointRow>, Error> {
    let rows = sqlx::query(ALL).fetch_all(connection).await?;
    Ok(readable("endpoint", &rows, read))
}

/// Halts: nothing that was decided before commits after.
pub(crate) async fn halt(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<EndpointRow, Error> {
    read(&sqlx::query(HALT).bind(endpoint).fetch_one(connection).await?)
}

/// Opens again at the same epoch.
pub(crate) async fn resume(
    connection: &mut SqliteConnection,
    endpoint: &str,
) -> Result<EndpointRow, Error> {
    read(&sqlx::query(RESUME).bind(endpoint).fetch_one(connection).await?)
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
        stop: None,
    })
}
