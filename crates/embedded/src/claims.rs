//! Who may claim a waiting row: the condition that timers, calls and parked messages share.

use chrono::{DateTime, Utc};
use knarr_model::ids::{Name, NodeId};
use knarr_model::work::Claim;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{SqliteConnection, query::Query};
use uuid::Uuid;

use crate::error::Error;
use crate::nodes;
use crate::rows::{get, ids, json, micros, name};

/// The SQL condition that a row of `$table` may be claimed: nobody holds it, or its holder's lease
/// is past, or it is the claimer's own and the claimer does not know. Parameters: ?1 claimer,
/// ?2 now, ?3 whether own rows come again, ?4 but these.
macro_rules! free {
    ($table:literal) => {
        concat!(
            "(",
            $table,
            ".node IS NULL OR CASE WHEN ",
            $table,
            ".node = ?1 ",
            "THEN ?3 AND ",
            $table,
            ".id NOT IN (SELECT unhex(value) FROM json_each(?4)) ",
            "ELSE NOT EXISTS (SELECT 1 FROM node WHERE node.id = ",
            $table,
            ".node ",
            "AND node.lease_until > ?2) END)"
        )
    };
}
pub(crate) use free;

/// A claim with its parameters made ready.
pub(crate) struct Ready {
    node: NodeId,
    pub(crate) now: i64,
    /// The endpoints that rows are given out of.
    pub(crate) endpoints: Vec<Name>,
    pub(crate) limit: usize,
    reclaim: bool,
    except: String,
}

const OPEN: &str = "SELECT name FROM endpoint
    WHERE NOT closed AND name IN (SELECT value FROM json_each(?1))
    ORDER BY name";

impl Ready {
    /// Only a live node claims, and nothing of a closed endpoint is given out: `None` then.
    pub(crate) async fn new(
        connection: &mut SqliteConnection,
        claim: &Claim,
        now: DateTime<Utc>,
    ) -> Result<Option<Ready>, Error> {
        if claim.limit == 0 || !nodes::is_alive(connection, claim.node, now).await? {
            return Ok(None);
        }
        let rows = sqlx::query(OPEN).bind(json(&claim.endpoints)?).fetch_all(connection).await?;
        let endpoints = rows.iter().map(|row| name(row, 0)).collect::<Result<Vec<_>, _>>()?;
        let held = claim.reclaim_except.as_deref().unwrap_or_default();
        Ok((!endpoints.is_empty()).then_some(Ready {
            node: claim.node,
            now: micros(now),
            endpoints,
            limit: claim.limit,
            reclaim: claim.reclaim_except.is_some(),
            except: ids(held.iter().map(|id| &id.0))?,
        }))
    }

    /// `sql` with the four parameters of [`free!`] bound.
    pub(crate) fn query(&self, sql: &'static str) -> Query<'_, Sqlite, SqliteArguments> {
        sqlx::query(sql)
            .bind(self.node.0)
            .bind(self.now)
            .bind(self.reclaim)
            .bind(self.except.as_str())
    }

    /// The most rows wanted, as a parameter.
    pub(crate) fn most(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    /// Of each endpoint the earliest rows, then the earliest of all. `sql` selects id and due time
    /// by ?5 endpoint, ?6 limit and, if `extra` is given, ?7.
    pub(crate) async fn earliest(
        &self,
        connection: &mut SqliteConnection,
        sql: &'static str,
        extra: Option<&str>,
    ) -> Result<Vec<Uuid>, Error> {
        let mut due: Vec<(i64, Uuid)> = Vec::new();
        for endpoint in &self.endpoints {
            let query = self.query(sql).bind(&**endpoint).bind(self.most()).bind(extra);
            for row in &query.fetch_all(&mut *connection).await? {
                due.push((get(row, 1)?, get(row, 0)?));
            }
        }
        due.sort_unstable();
        due.truncate(self.limit);
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    /// Marks rows as the claimer's; `sql` takes ?1 the claimer and ?2 the ids, and returns rows.
    pub(crate) async fn mark(
        &self,
        connection: &mut SqliteConnection,
        sql: &'static str,
        chosen: &[Uuid],
    ) -> Result<Vec<SqliteRow>, Error> {
        let query = sqlx::query(sql).bind(self.node.0).bind(ids(chosen)?);
        Ok(query.fetch_all(connection).await?)
    }
}
