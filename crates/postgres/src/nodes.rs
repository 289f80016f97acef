//! Nodes and their leases, by the database's clock; what a node gives back.

use std::time::Duration;

use knarr_model::ids::NodeId;
use knarr_model::ports::store::{HaltReport, Served};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Failed;
use crate::{activities, endpoints, parked, rows, timers};

/// Ids are never reused, so a repeated join is one whose answer was lost.
const JOIN: &str = "
INSERT INTO node (id, lease_until)
VALUES ($1, clock_timestamp() + $2 * interval '1 microsecond')
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";

/// What such nodes served.
const FORGET_SERVED: &str =
    "DELETE FROM served WHERE NOT EXISTS (SELECT FROM node WHERE node.id = served.node)";

/// Only a live node serves.
const SERVES: &str = "
INSERT INTO served (endpoint, node, report)
SELECT $1, id, $3 FROM node WHERE id = $2 AND lease_until > clock_timestamp()
ON CONFLICT (endpoint, node) DO UPDATE SET report = coalesce(excluded.report, served.report)";

const SERVED_BY: &str = "
SELECT s.node AS id, s.report FROM served s
JOIN node n ON n.id = s.node AND n.lease_until > clock_timestamp()
WHERE s.endpoint = $1 ORDER BY s.node";

const SERVES_NOTHING: &str = "DELETE FROM served WHERE node = $1";

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
    sqlx::query(FORGET_SERVED).execute(&mut *connection).await?;
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
    sqlx::query(SERVES_NOTHING).bind(node).execute(&mut *connection).await?;
    sqlx::query(LEAVE).bind(node).execute(connection).await?;
    Ok(())
}

/// Notes that a live node serves an endpoint, and what it did at its last stop.
pub(crate) async fn note_served(
    connection: &mut PgConnection,
    endpoint: &str,
    node: Uuid,
    report: Option<HaltReport>,
) -> Result<(), Failed> {
    let report = report.as_ref().map(rows::to_json).transpose()?;
    sqlx::query(SERVES).bind(endpoint).bind(node).bind(report).execute(connection).await?;
    Ok(())
}

/// The live nodes that serve an endpoint, by id.
pub(crate) async fn served_by(
    connection: &mut PgConnection,
    endpoint: &str,
) -> Result<Vec<Served>, Failed> {
    let found = sqlx::query(SERVED_BY).bind(endpoint).fetch_all(connection).await?;
    Ok(rows::readable(&found, "served", |row| {
        Ok(Served { node: NodeId(rows::get(row, "id")?), report: rows::maybe_json(row, "report")? })
    }))
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
