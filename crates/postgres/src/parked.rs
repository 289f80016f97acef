//! Parked messages: those that block their instance come in order behind their head, others alone.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::commit::Again;
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::ports::StoreError;
use knarr_model::work::Parked;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::claims::{Asked, claimable, dead, open_endpoints};
use crate::error::Failed;
use crate::rows::{self, Query};

/// A claim takes rows that block nobody, and heads: the first row that blocks its instance. A head
/// is locked and takes the rows behind it along, in `seq`, up to the first that does not go: a
/// `held` row goes with the one before it unless the guard holds it (no due time), the others go
/// when they are due. Whoever holds the head has the others too, so only heads need locks.
const CLAIM: &str = concat!(
    "
WITH head AS (
  SELECT found.*
  FROM ",
    open_endpoints!(),
    "
  CROSS JOIN LATERAL (
    SELECT h.id, h.saga, h.instance, h.seq, h.due_at,
           h.reason IN ('retry', 'held', 'suspect') AS blocks
    FROM parked h
    WHERE h.endpoint = asked.name AND h.due_at <= statement_timestamp()
      AND ",
    claimable!("h"),
    "
      AND NOT (h.reason IN ('retry', 'held', 'suspect') AND EXISTS (
        SELECT FROM parked b
        WHERE b.saga = h.saga AND b.instance = h.instance
          AND b.reason IN ('retry', 'held', 'suspect') AND (b.seq, b.id) < (h.seq, h.id)))
    ORDER BY h.due_at, h.id LIMIT $3 FOR UPDATE OF h SKIP LOCKED) found),
chosen AS (
  SELECT id, saga, instance, seq, due_at FROM head
  UNION ALL
  SELECT behind.id, head.saga, head.instance, behind.seq, behind.due_at
  FROM head CROSS JOIN LATERAL (
    SELECT f.id, f.seq, f.due_at,
           bool_and(f.due_at IS NOT NULL
                    AND (f.reason = 'held' OR f.due_at <= statement_timestamp())
                    AND ",
    claimable!("f"),
    ")
             OVER (ORDER BY f.seq, f.id) AS goes
    FROM parked f
    WHERE f.saga = head.saga AND f.instance = head.instance
      AND f.reason IN ('retry', 'held', 'suspect') AND (f.seq, f.id) > (head.seq, head.id)
    OFFSET 0) behind
  WHERE head.blocks AND behind.goes),
ordered AS (
  SELECT id, seq, coalesce(instance, id) AS whose,
         min(due_at) OVER (PARTITION BY saga, coalesce(instance, id)) AS earliest
  FROM chosen
  ORDER BY earliest, whose, seq, id LIMIT $3)
UPDATE parked SET node = $1, claims = claims + 1 WHERE id = ANY (ARRAY (SELECT id FROM ordered))
RETURNING id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims, due_at,
          error, envelope"
);

const OF_INSTANCE: &str = "
SELECT id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims, due_at,
       error, envelope
FROM parked WHERE saga = $1 AND instance = $2 ORDER BY seq, id LIMIT $3";

const LOCK_OF_INSTANCE: &str = "
SELECT id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims, due_at,
       error, envelope
FROM parked WHERE saga = $1 AND instance = $2 ORDER BY seq, id FOR UPDATE";

/// A message that is parked already waits in its own row.
const INSERT: &str = "
INSERT INTO parked (id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims,
                    due_at, error, envelope)
SELECT new.id, new.endpoint, new.saga, new.message_id, new.digest, new.instance, new.seq,
       new.reason, new.attempt, new.claims, new.due_at, new.error, new.envelope
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bytea[], $6::uuid[],
            $7::bigint[], $8::text[], $9::bigint[], $10::bigint[], $11::timestamptz[],
            $12::text[], $13::text[], $14::bool[])
     AS new (id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims, due_at,
             error, envelope, first)
ON CONFLICT DO NOTHING";

/// What waits, `held`, for an instance; `$3` includes what the guard holds without a time.
const WAKE: &str = "
UPDATE parked SET due_at = statement_timestamp()
WHERE saga = $1 AND instance = $2 AND reason = 'held'
  AND (due_at > statement_timestamp() OR $3 AND due_at IS NULL)";

const TAKE: &str = "DELETE FROM parked WHERE id = ANY ($1) RETURNING saga, instance";

const DELETE_OF_INSTANCE: &str = "DELETE FROM parked WHERE saga = $1 AND instance = $2";

/// Of one endpoint, or of all.
const GIVE_BACK: &str =
    "UPDATE parked SET node = NULL WHERE node = $1 AND ($2::text IS NULL OR endpoint = $2)";

/// Claims due messages: an instance's together in `seq`, the longest due instance first.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    asked: Asked,
) -> Result<Vec<Parked>, Failed> {
    let found = asked.bind(CLAIM).fetch_all(connection).await?;
    Ok(in_order(rows::readable(&found, "parked", read)))
}

/// Statements that return what they changed return it in no order.
fn in_order(found: Vec<Parked>) -> Vec<Parked> {
    let mut groups: BTreeMap<(Arc<str>, Uuid), Vec<Parked>> = BTreeMap::new();
    for parked in found {
        let whose = parked.instance.map_or(parked.id.0, |instance| instance.0);
        groups.entry((Arc::clone(&parked.saga), whose)).or_default().push(parked);
    }
    let mut groups: Vec<_> = groups
        .into_iter()
        .map(|((_, whose), mut rows)| {
            rows.sort_by_key(|row| (row.seq, row.id));
            (rows.iter().filter_map(|row| row.due_at).min(), whose, rows)
        })
        .collect();
    groups.sort_by_key(|(earliest, whose, _)| (*earliest, *whose));
    groups.into_iter().flat_map(|(_, _, rows)| rows).collect()
}

/// The parked messages of an instance, in `seq`.
pub(crate) async fn of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
    limit: i64,
) -> Result<Vec<Parked>, Failed> {
    let found = sqlx::query(OF_INSTANCE)
        .bind(saga)
        .bind(instance.0)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows::readable(&found, "parked", read))
}

/// The parked messages of an instance, all of them, locked, in `seq`.
pub(crate) async fn lock_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Parked>, Failed> {
    let query = sqlx::query(LOCK_OF_INSTANCE).bind(saga).bind(instance.0);
    let found = query.fetch_all(connection).await?;
    let mut parked = rows::all(&found, "parked", read)?;
    parked.sort_by_key(|row| (row.seq, row.id));
    Ok(parked)
}

/// Parks messages, claimed by nobody, but for those that are parked already.
pub(crate) async fn insert(connection: &mut PgConnection, parked: &[Parked]) -> Result<(), Failed> {
    let mut columns = Columns::default();
    for row in parked {
        columns.push(row)?;
    }
    columns.bind(sqlx::query(INSERT)).execute(connection).await?;
    Ok(())
}

/// Makes due what is held for an instance, `all` of it or what has a time.
pub(crate) async fn wake(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
    all: bool,
) -> Result<(), Failed> {
    sqlx::query(WAKE).bind(saga).bind(instance.0).bind(all).execute(connection).await?;
    Ok(())
}

/// Ends parked messages; what was held behind them is due.
pub(crate) async fn take(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), Failed> {
    let taken: Vec<(String, Option<Uuid>)> =
        sqlx::query_as(TAKE).bind(ids).fetch_all(&mut *connection).await?;
    for (saga, instance) in taken {
        if let Some(instance) = instance {
            wake(&mut *connection, &saga, InstanceId(instance), false).await?;
        }
    }
    Ok(())
}

/// Deletes the parked messages of an instance.
pub(crate) async fn delete_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Failed> {
    sqlx::query(DELETE_OF_INSTANCE).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

/// Gives back a node's claims.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    node: Uuid,
    endpoint: Option<&str>,
) -> Result<(), Failed> {
    sqlx::query(GIVE_BACK).bind(node).bind(endpoint).execute(connection).await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<Parked, String> {
    Ok(Parked {
        id: RowId(rows::get(row, "id")?),
        endpoint: rows::get::<&str>(row, "endpoint")?.into(),
        saga: rows::get::<&str>(row, "saga")?.into(),
        message_id: MessageId(rows::get(row, "message_id")?),
        digest: rows::digest(row, "digest")?,
        instance: rows::get::<Option<Uuid>>(row, "instance")?.map(InstanceId),
        seq: rows::get(row, "seq")?,
        reason: rows::word(row, "reason")?,
        attempt: rows::count(row, "attempt")?,
        claims: rows::get(row, "claims")?,
        due_at: rows::get(row, "due_at")?,
        error: rows::maybe_text(row, "error")?,
        envelope: Arc::new(rows::json(row, "envelope")?),
    })
}

/// Parked messages as the columns that a commit writes.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    id: Vec<Uuid>,
    endpoint: Vec<&'a str>,
    saga: Vec<&'a str>,
    message_id: Vec<Uuid>,
    digest: Vec<[u8; 16]>,
    instance: Vec<Option<Uuid>>,
    seq: Vec<i64>,
    reason: Vec<&'static str>,
    attempt: Vec<i64>,
    claims: Vec<i64>,
    due_at: Vec<Option<DateTime<Utc>>>,
    error: Vec<Option<Cow<'a, str>>>,
    envelope: Vec<String>,
    blocks: Vec<bool>,
}

impl<'a> Columns<'a> {
    pub(crate) fn push(&mut self, parked: &'a Parked) -> Result<(), StoreError> {
        self.envelope.push(rows::to_json(&*parked.envelope)?);
        self.id.push(parked.id.0);
        self.endpoint.push(&parked.endpoint);
        self.saga.push(&parked.saga);
        self.message_id.push(parked.message_id.0);
        self.digest.push(parked.digest.0);
        self.instance.push(parked.instance.map(|id| id.0));
        self.seq.push(parked.seq);
        self.reason.push(parked.reason.as_str());
        self.attempt.push(parked.attempt.into());
        self.claims.push(parked.claims);
        self.due_at.push(parked.due_at);
        self.error.push(parked.error.as_deref().map(rows::plain));
        self.blocks.push(parked.reason.blocks());
        Ok(())
    }

    /// Of each row, whether no blocking row of the same commit and instance stands before it.
    fn first(&self) -> Vec<bool> {
        let mut firsts: BTreeMap<Uuid, (i64, Uuid)> = BTreeMap::new();
        for (at, id) in self.id.iter().enumerate() {
            if let (Some(instance), true) = (self.instance[at], self.blocks[at]) {
                let place = (self.seq[at], *id);
                let first = firsts.entry(instance).or_insert(place);
                *first = place.min(*first);
            }
        }
        (self.id.iter().enumerate())
            .map(|(at, id)| {
                let first = self.instance[at].and_then(|instance| firsts.get(&instance));
                first.is_none_or(|first| (self.seq[at], *id) <= *first)
            })
            .collect()
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        let first = self.first();
        query
            .bind(self.id)
            .bind(self.endpoint)
            .bind(self.saga)
            .bind(self.message_id)
            .bind(self.digest)
            .bind(self.instance)
            .bind(self.seq)
            .bind(self.reason)
            .bind(self.attempt)
            .bind(self.claims)
            .bind(self.due_at)
            .bind(self.error)
            .bind(self.envelope)
            .bind(first)
    }
}

/// Claimed messages that wait again.
#[derive(Debug, Default)]
pub(crate) struct AgainColumns<'a> {
    id: Vec<Uuid>,
    claims: Vec<i64>,
    due_at: Vec<Option<DateTime<Utc>>>,
    attempt: Vec<i64>,
    error: Vec<Option<Cow<'a, str>>>,
    reason: Vec<Option<&'static str>>,
    instance: Vec<Option<Uuid>>,
    seq: Vec<Option<i64>>,
}

impl<'a> AgainColumns<'a> {
    pub(crate) fn push(&mut self, again: &'a Again) {
        self.id.push(again.row.id.0);
        self.claims.push(again.row.claims);
        self.due_at.push(again.due_at);
        self.attempt.push(again.attempt.into());
        self.error.push(again.error.as_deref().map(rows::plain));
        self.reason.push(again.reason.map(|reason| reason.as_str()));
        self.instance.push(again.place.map(|(instance, _)| instance.0));
        self.seq.push(again.place.map(|(_, seq)| seq));
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query
            .bind(self.id)
            .bind(self.claims)
            .bind(self.due_at)
            .bind(self.attempt)
            .bind(self.error)
            .bind(self.reason)
            .bind(self.instance)
            .bind(self.seq)
    }
}
