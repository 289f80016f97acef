//! Nodes, their leases, and what they give back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::NodeId;
use knarr_model::ports::store::{HaltReport, Served};
use sqlx::SqliteConnection;

use crate::endpoints;
use crate::error::Error;
use crate::rows::{id, json, micros, some_json_column};

const JOIN: &str = "INSERT INTO node (id, lease_until) VALUES (?1, ?2)
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";
const RENEW: &str = "UPDATE node SET lease_until = ?2 WHERE id = ?1 AND lease_until > ?3";
const LEAVE: &str = "DELETE FROM node WHERE id = ?1";
const IS_ALIVE: &str = "SELECT 1 FROM node WHERE id = ?1 AND lease_until > ?2";
const SERVES_NOTHING: &str = "DELETE FROM served WHERE ?1 IS NULL OR node = ?1";
/// ?2 is the node, ?4 now. Only a live node serves.
const SERVES: &str = "INSERT INTO served (endpoint, node, report)
    SELECT ?1, id, ?3 FROM node WHERE id = ?2 AND lease_until > ?4
    ON CONFLICT (endpoint, node) DO UPDATE SET report = coalesce(excluded.report, report)";
const SERVED_BY: &str = "SELECT s.node, s.report FROM served s
    JOIN node n ON n.id = s.node AND n.lease_until > ?2
    WHERE s.endpoint = ?1 ORDER BY s.node";
const END_ALL: &str = "UPDATE node SET lease_until = min(lease_until, ?1)";
const FREE_TIMERS: &str =
    "UPDATE timer SET node = NULL WHERE node = ?1 AND (?2 IS NULL OR endpoint = ?2)";
const FREE_PARKED: &str =
    "UPDATE parked SET node = NULL WHERE node = ?1 AND (?2 IS NULL OR endpoint = ?2)";
/// An attempt given back is none: it did not fail, it was stopped.
const FREE_CALLS: &str = "UPDATE activity
    SET node = NULL, attempt = attempt - (ended IS NULL)
    WHERE node = ?1 AND (?2 IS NULL OR endpoint = ?2)";

pub(crate) fn until(now: DateTime<Utc>, lease: Duration) -> i64 {
    let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
    micros(now).saturating_add(lease)
}

/// Announces a node.
pub(crate) async fn join(
    connection: &mut SqliteConnection,
    node: NodeId,
    now: DateTime<Utc>,
    lease: Duration,
) -> Result<(), Error> {
    sqlx::query(JOIN).bind(node.0).bind(until(now, lease)).execute(connection).await?;
    Ok(())
}

/// Renews a lease that is not past.
pub(crate) async fn renew(
    connection: &mut SqliteConnection,
    node: NodeId,
    now: DateTime<Utc>,
    lease: Duration,
) -> Result<bool, Error> {
    let query = sqlx::query(RENEW).bind(node.0).bind(until(now, lease)).bind(micros(now));
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// Whether the node's lease is in the future.
pub(crate) async fn is_alive(
    connection: &mut SqliteConnection,
    node: NodeId,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let query = sqlx::query(IS_ALIVE).bind(node.0).bind(micros(now));
    Ok(query.fetch_optional(connection).await?.is_some())
}

/// Gives back the node's claims, of one endpoint or of all.
pub(crate) async fn give_back(
    connection: &mut SqliteConnection,
    node: NodeId,
    endpoint: Option<&str>,
) -> Result<(), Error> {
    for sql in [FREE_TIMERS, FREE_PARKED, FREE_CALLS] {
        sqlx::query(sql).bind(node.0).bind(endpoint).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Gives everything back and ends the lease; without its row the node's chunks are anybody's.
pub(crate) async fn leave(connection: &mut SqliteConnection, node: NodeId) -> Result<(), Error> {
    give_back(connection, node, None).await?;
    endpoints::let_go(connection, node).await?;
    sqlx::query(SERVES_NOTHING).bind(node.0).execute(&mut *connection).await?;
    sqlx::query(LEAVE).bind(node.0).execute(connection).await?;
    Ok(())
}

/// Notes that a live node serves an endpoint, and what it did at its last stop.
pub(crate) async fn note_served(
    connection: &mut SqliteConnection,
    endpoint: &str,
    node: NodeId,
    report: Option<HaltReport>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let report = report.as_ref().map(json).transpose()?;
    let query = sqlx::query(SERVES).bind(endpoint).bind(node.0).bind(report).bind(micros(now));
    query.execute(connection).await?;
    Ok(())
}

/// The live nodes that serve an endpoint, by id.
pub(crate) async fn served_by(
    connection: &mut SqliteConnection,
    endpoint: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Served>, Error> {
    let query = sqlx::query(SERVED_BY).bind(endpoint).bind(micros(now));
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok(Served { node: id(row, 0)?, report: some_json_column(row, 1)? }))
        .collect()
}

/// Ends every lease. At opening: whoever holds the file's lock knows that no other node lives. Those
/// that did not leave have died, and are buried like others.
pub(crate) async fn end_all(
    connection: &mut SqliteConnection,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(SERVES_NOTHING).bind(None::<uuid::Uuid>).execute(&mut *connection).await?;
    sqlx::query(END_ALL).bind(micros(now)).execute(connection).await?;
    Ok(())
}
