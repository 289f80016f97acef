//! The journal: inbox, audit trail and timeline at once; insert-only, swept when old.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use knarr_model::commit::JournalRow;
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::instance::{FINAL, PURGED};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Failed;
use crate::rows::{self, Query};

const OF_INSTANCE: &str = "
SELECT message_id AS id, digest, instance, run, seq, event, from_state, to_state, outcome, at
FROM journal WHERE saga = $1 AND instance = $2 ORDER BY line LIMIT $3";

/// Rows lie in the order of writing, so that the oldest are met first. Those of a live instance
/// stay, and those of a message that is parked: a copy that waits would be decided again. A sweep of
/// instances finds one by the row that finished it, which stays as long.
const SWEEP: &str = "
DELETE FROM journal WHERE ctid = ANY (ARRAY (
  SELECT j.ctid FROM journal j
  WHERE j.at < $1
    AND NOT EXISTS (SELECT FROM instance i
                    WHERE i.saga = j.saga AND i.id = j.instance AND i.state <> $4
                      AND (i.state <> $3 OR j.to_state IS NOT DISTINCT FROM $3))
    AND NOT EXISTS (SELECT FROM parked p
                    WHERE p.saga = j.saga AND p.message_id = j.message_id)
  LIMIT $2))";

/// A message that is journaled already keeps its line.
const ADD: &str = "
INSERT INTO journal (saga, message_id, digest, instance, run, seq, event, from_state, to_state,
                     outcome, at)
SELECT $1, new.*
FROM unnest($2::uuid[], $3::bytea[], $4::uuid[], $5::bigint[], $6::bigint[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::timestamptz[]) AS new
ON CONFLICT (message_id, saga) DO NOTHING";

const KNOWN: &str = "SELECT saga, message_id FROM journal WHERE message_id = ANY ($1)";

/// Adds lines of messages that have none.
pub(crate) async fn add(
    connection: &mut PgConnection,
    saga: &str,
    lines: &[JournalRow],
) -> Result<(), Failed> {
    let mut columns = Columns::default();
    lines.iter().for_each(|line| columns.push(line));
    columns.bind(sqlx::query(ADD).bind(saga.to_owned())).execute(connection).await?;
    Ok(())
}

/// Of these messages those that are journaled, with their sagas.
pub(crate) async fn known(
    connection: &mut PgConnection,
    messages: &[Uuid],
) -> Result<Vec<(String, Uuid)>, Failed> {
    Ok(sqlx::query_as(KNOWN).bind(messages).fetch_all(connection).await?)
}

/// The history of an instance, oldest first.
pub(crate) async fn of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
    limit: i64,
) -> Result<Vec<JournalRow>, Failed> {
    let found = sqlx::query(OF_INSTANCE)
        .bind(saga)
        .bind(instance.0)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(rows::readable(&found, "journal", read))
}

/// Deletes old rows and says how many.
pub(crate) async fn sweep(
    connection: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, Failed> {
    let swept = sqlx::query(SWEEP)
        .bind(before)
        .bind(limit)
        .bind(FINAL)
        .bind(PURGED)
        .execute(connection)
        .await?;
    Ok(swept.rows_affected())
}

fn read(row: &PgRow) -> Result<JournalRow, String> {
    let run: Option<i64> = rows::get(row, "run")?;
    Ok(JournalRow {
        message_id: MessageId(rows::get(row, "id")?),
        digest: rows::digest(row, "digest")?,
        instance: rows::get::<Option<Uuid>>(row, "instance")?.map(InstanceId),
        run: run.map(u32::try_from).transpose().map_err(|error| error.to_string())?,
        seq: rows::get(row, "seq")?,
        event: rows::text(row, "event")?,
        from_state: rows::maybe_text(row, "from_state")?,
        to_state: rows::maybe_text(row, "to_state")?,
        outcome: rows::word(row, "outcome")?,
        at: rows::get(row, "at")?,
    })
}

/// Journal rows as the columns that a commit writes, in the order of deciding.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    message_id: Vec<Uuid>,
    digest: Vec<[u8; 16]>,
    instance: Vec<Option<Uuid>>,
    run: Vec<Option<i64>>,
    seq: Vec<Option<i64>>,
    event: Vec<Cow<'a, str>>,
    from_state: Vec<Option<Cow<'a, str>>>,
    to_state: Vec<Option<Cow<'a, str>>>,
    outcome: Vec<&'static str>,
    at: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    pub(crate) fn push(&mut self, row: &'a JournalRow) {
        self.message_id.push(row.message_id.0);
        self.digest.push(row.digest.0);
        self.instance.push(row.instance.map(|id| id.0));
        self.run.push(row.run.map(i64::from));
        self.seq.push(row.seq);
        self.event.push(rows::plain(&row.event));
        self.from_state.push(row.from_state.as_deref().map(rows::plain));
        self.to_state.push(row.to_state.as_deref().map(rows::plain));
        self.outcome.push(row.outcome.as_str());
        self.at.push(row.at);
    }

    pub(crate) fn bind(self, query: Query) -> Query {
        query
            .bind(self.message_id)
            .bind(self.digest)
            .bind(self.instance)
            .bind(self.run)
            .bind(self.seq)
            .bind(self.event)
            .bind(self.from_state)
            .bind(self.to_state)
            .bind(self.outcome)
            .bind(self.at)
    }
}
