//! Endpoints: the truth about halts, and the fence that makes them exact.

use knarr_model::ids::{Name, NodeId};
use knarr_model::ports::StoreError;
use knarr_model::ports::store::{EndpointRow, EndpointState};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::Failed;
use crate::rows;
use crate::schema::LockKey;

/// Statement (a) of a commit, alone: what it waited for is only seen by a later statement.
const SHARED_FENCE: &str = "SELECT pg_advisory_xact_lock_shared($1, $2)";

/// The other side: waits for the commits under way, and later ones wait for it.
const EXCLUSIVE_FENCE: &str = "SELECT pg_advisory_xact_lock($1, $2)";

/// Statement (b) of a commit.
const ONE: &str = "
SELECT name, state, epoch, guard_version, stop, holder, watched_until, restored_at
FROM endpoint WHERE name = $1";

const MAKE: &str = "INSERT INTO endpoint (name) VALUES ($1) ON CONFLICT (name) DO NOTHING";

const WRITE: &str = "
UPDATE endpoint
SET state = $2, epoch = $3, guard_version = $4, holder = $5, stop = $6, closed = $7,
    restored_at = $8
WHERE name = $1";

const ALL: &str = "
SELECT name, state, epoch, guard_version, stop, holder, watched_until, restored_at
FROM endpoint ORDER BY name COLLATE \"C\"";

/// Whether node `$2` may take endpoint `$1`: it is alive and no living node has it.
macro_rules! free {
    () => {
        "EXISTS (SELECT FROM node me WHERE me.id = $2 AND me.lease_until > clock_timestamp())
   AND NOT EXISTS (SELECT FROM node other
                   WHERE other.id = endpoint.holder AND other.lease_until > clock_timestamp())"
    };
}

const IS_FREE: &str = concat!("SELECT ", free!(), " FROM endpoint WHERE name = $1");

const HOLD: &str = concat!("UPDATE endpoint SET holder = $2 WHERE name = $1 AND ", free!());

const LET_GO: &str = "UPDATE endpoint SET holder = NULL WHERE holder = $1";

/// Takes the fence that commits share.
pub(crate) async fn share_fence(
    connection: &mut PgConnection,
    fence: LockKey,
) -> Result<(), Failed> {
    sqlx::query(SHARED_FENCE).bind(fence.class).bind(fence.object).execute(connection).await?;
    Ok(())
}

/// Takes the fence alone, until the transaction ends.
pub(crate) async fn close_fence(
    connection: &mut PgConnection,
    fence: LockKey,
) -> Result<(), Failed> {
    sqlx::query(EXCLUSIVE_FENCE).bind(fence.class).bind(fence.object).execute(connection).await?;
    Ok(())
}

/// The endpoint's row, if there is one.
pub(crate) async fn find(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<EndpointRow>, Failed> {
    let row = sqlx::query(ONE).bind(name).fetch_optional(connection).await?;
    row.map(|row| one(&row)).transpose()
}

/// The endpoint's row, made if there is none.
pub(crate) async fn find_or_make(
    connection: &mut PgConnection,
    name: &str,
) -> Result<EndpointRow, Failed> {
    if let Some(row) = find(&mut *connection, name).await? {
        return Ok(row);
    }
    sqlx::query(MAKE).bind(name).execute(&mut *connection).await?;
    find(connection, name).await?.ok_or(Failed::Sql(sqlx::Error::RowNotFound))
}

/// Whether the node may become the endpoint's holder. Asked without the fence, since nodes that wait
/// ask again and again.
pub(crate) async fn is_free(
    connection: &mut PgConnection,
    name: &str,
    node: Uuid,
) -> Result<bool, Failed> {
    let free = sqlx::query(IS_FREE).bind(name).bind(node).fetch_optional(connection).await?;
    Ok(free.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Makes the node the holder unless another one alive is. The fence must be closed: what the last
/// holder has under way ends first, and what it begins later reads the new one.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    name: &str,
    node: Uuid,
) -> Result<EndpointRow, Failed> {
    sqlx::query(HOLD).bind(name).bind(node).execute(&mut *connection).await?;
    find_or_make(connection, name).await
}

/// Lets go of whatever the node holds.
pub(crate) async fn let_go(connection: &mut PgConnection, node: Uuid) -> Result<(), Failed> {
    sqlx::query(LET_GO).bind(node).execute(connection).await?;
    Ok(())
}

/// Writes the row as a verb wants it. The fence must be closed.
pub(crate) async fn write(connection: &mut PgConnection, row: &EndpointRow) -> Result<(), Failed> {
    let holds_back = row.stop.as_ref().is_some_and(|stop| stop.internal_too);
    let closed = match row.state {
        EndpointState::Halted => true,
        EndpointState::Paused => holds_back,
        EndpointState::Open | EndpointState::Probing => false,
    };
    sqlx::query(WRITE)
        .bind(row.name.to_string())
        .bind(row.state.as_str())
        .bind(row.epoch)
        .bind(row.guard_version)
        .bind(row.holder.map(|node| node.0))
        .bind(row.stop.as_ref().map(rows::to_json).transpose()?)
        .bind(closed)
        .bind(row.restored_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// All endpoints by name.
pub(crate) async fn all(connection: &mut PgConnection) -> Result<Vec<EndpointRow>, Failed> {
    let found = sqlx::query(ALL).fetch_all(connection).await?;
    Ok(rows::readable(&found, "endpoint", read))
}

fn one(row: &PgRow) -> Result<EndpointRow, Failed> {
    read(row).map_err(|error| {
        Failed::Other(StoreError::Fatal(format!("an endpoint's row cannot be read: {error}")))
    })
}

fn read(row: &PgRow) -> Result<EndpointRow, String> {
    let name: Name = rows::get::<&str>(row, "name")?.into();
    let state: &str = rows::get(row, "state")?;
    Ok(EndpointRow {
        state: EndpointState::parse(state).ok_or_else(|| format!("`{state}` is no state"))?,
        epoch: rows::get(row, "epoch")?,
        guard_version: rows::get(row, "guard_version")?,
        holder: rows::get::<Option<Uuid>>(row, "holder")?.map(NodeId),
        stop: rows::maybe_json(row, "stop")?,
        watched_until: rows::get(row, "watched_until")?,
        restored_at: rows::get(row, "restored_at")?,
        name,
    })
}
