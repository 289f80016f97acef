//! Nodes and their leases, by the database's clock; what a node gives back.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Failed;
use crate::{activities, endpoints, parked, timers};

/// Ids are never reused, so a repeated join is one whose answer was lost.
const JOIN: &str = "
INSERT INTO node (id, lease_until)
VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";

const RENEW: &str = "
UPDATE node SET lease_until = clock_timestamp() + $2 * interval '1 microsecond'
WHERE id = $1 AND lease_until > clock_timestamp()";

const LEAVE: &str = "DELETE FROM node WHERE id = $1";

/// Announces a node.
pub(crate) async fn join(
    connection: &mut PgConnection,
    node: Uuid,
    lease: Duration,
) -> Result<(), Failed> {
    sqlx::query(JOIN).bind(node).bind(micros(lease)).execute(connection).await?;
    Ok(())
}

/// Renews a lease that is still in the future.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    node: Uuid,
    lease: Duration,
) -> Result<bool, Failed> {
    let renewed = sqlx::query(RENEW).bind(node).bind(micros(lease)).execute(connection).await?;
    Ok(renewed.rows_affected() == 1)
}

/// Gives back every claim and ends the lease; without it the node's chunks are anybody's.
pub(crate) async fn leave(connection: &mut PgConnection, node: Uuid) -> Result<(), Failed> {
    give_back(&mut *connection, node, None).await?;
    endpoints::let_go(&mut *connection, node).await?;
    sqlx::query(LEAVE).bind(node).execute(connection).await?;
    Ok(())
}

/// Gives back claims on rows of one endpoint, or of all.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    node: Uuid,
    endpoint: Option<&str>,
) -> Result<(), Failed> {
    timers::give_back(&mut *connection, node, endpoint).await?;
    activities::give_back(&mut *connection, node, endpoint).await?;
    parked::give_back(connection, node, endpoint).await
}

pub(crate) fn micros(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros()).unwrap_or(i64::MAX)
}
