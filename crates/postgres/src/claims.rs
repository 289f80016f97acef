//! What all claims share: who may claim a row, and the parameters that say so.

use knarr_model::ids::Name;
use knarr_model::work::Claim;
use uuid::Uuid;

use crate::rows::Query;

/// SQL: whether a row may come to node `$1`: it is nobody's, or a node's whose lease is past (by
/// the database's clock), or its own and not among those that it says it holds (`$4`).
macro_rules! claimable {
    ($row:literal) => {
        concat!(
            "(",
            $row,
            ".node IS NULL OR ",
            $row,
            ".node = $1 AND ",
            $row,
            ".id <> ALL ($4::uuid[]) OR ",
            $row,
            ".node <> $1 AND ",
            dead!($row),
            ")"
        )
    };
}

/// SQL: whether the node that holds a row has no lease in the future.
macro_rules! dead {
    ($row:literal) => {
        concat!(
            "NOT EXISTS (SELECT FROM node holder WHERE holder.id = ",
            $row,
            ".node AND holder.lease_until > clock_timestamp())"
        )
    };
}

/// SQL: the endpoints among `$2` that are not closed; none unless node `$1` is itself alive. When
/// nobody's lease lives, the store was away, and that says nothing about who is dead.
macro_rules! open_endpoints {
    () => {
        "unnest($2::text[]) AS asked (name)
  JOIN endpoint ON endpoint.name = asked.name AND NOT endpoint.closed
   AND EXISTS (SELECT FROM node me WHERE me.id = $1 AND me.lease_until > clock_timestamp())"
    };
}

pub(crate) use {claimable, dead, open_endpoints};

/// The parameters `$1` to `$4` of every claim.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    node: Uuid,
    endpoints: Vec<String>,
    limit: i64,
    reclaim_except: Option<Vec<Uuid>>,
}

impl Asked {
    pub(crate) fn new(claim: &Claim) -> Asked {
        Asked {
            node: claim.node.0,
            endpoints: names(&claim.endpoints),
            limit: i64::try_from(claim.limit).unwrap_or(i64::MAX),
            reclaim_except: claim
                .reclaim_except
                .as_ref()
                .map(|held| held.iter().map(|row| row.0).collect()),
        }
    }

    /// The statement with `$1` to `$4` bound.
    pub(crate) fn bind(self, sql: &'static str) -> Query {
        sqlx::query(sql)
            .bind(self.node)
            .bind(self.endpoints)
            .bind(self.limit)
            .bind(self.reclaim_except)
    }

    /// How many rows are wanted at most.
    pub(crate) fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }
}

pub(crate) fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}
