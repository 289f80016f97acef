//! The journal (inbox, audit trail and timeline at once), and the start messages of live runs.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use knarr_model::commit::{JournalRow, Origin, Outcome};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::{Digest, Slice};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{
    digest, from_json, get, hex, hex_bytes, id, ids, instant, json, micros, readable, some_id,
    some_json, word,
};

const FIND: &str = "SELECT k.message_id, k.digest, k.outcome
    FROM json_each(?2) j
    CROSS JOIN journal k ON k.saga = ?1 AND k.message_id = unhex(j.value)";
const INSERT: &str = "INSERT INTO journal (saga, message_id, digest, instance, run, seq, event,
        from_state, to_state, outcome, at)
    SELECT ?1, unhex(j.value ->> 0), unhex(j.value ->> 1), unhex(j.value ->> 2), j.value ->> 3,
        j.value ->> 4, j.value ->> 5, j.value ->> 6, j.value ->> 7, j.value ->> 8, j.value ->> 9
    FROM json_each(?2) j WHERE true
    ON CONFLICT (saga, message_id) DO NOTHING
    RETURNING message_id";
const OF_INSTANCE: &str = "SELECT message_id, digest, instance, run, seq, event, from_state,
        to_state, outcome, at
    FROM journal WHERE saga = ?1 AND instance = ?2 ORDER BY n LIMIT ?3";
/// A parked copy would be decided again, so its journal row stays as long as it waits; and a sweep
/// of instances finds one by the row that finished it.
const SWEEP: &str = "DELETE FROM journal WHERE n IN (
    SELECT k.n FROM journal k
    WHERE k.at < ?1
        AND NOT EXISTS (SELECT 1 FROM instance i
            WHERE i.saga = k.saga AND i.id = k.instance AND i.state <> 'Purged'
                AND (i.state <> 'Final' OR k.to_state IS 'Final'))
        AND NOT EXISTS (SELECT 1 FROM parked p
            WHERE p.saga = k.saga AND p.message_id = k.message_id)
    ORDER BY k.at LIMIT ?2)";
const BEGIN: &str = "INSERT INTO origin (saga, instance, run, message_id, fingerprint, envelope)
    SELECT ?1, unhex(j.value ->> 0), j.value ->> 1, unhex(j.value ->> 2), unhex(j.value ->> 3),
        j.value ->> 4
    FROM json_each(?2) j WHERE true
    ON CONFLICT (saga, instance, run) DO UPDATE SET message_id = excluded.message_id,
        fingerprint = excluded.fingerprint, envelope = excluded.envelope";
const END: &str = "DELETE FROM origin WHERE saga = ?1 AND (instance, run) IN (
    SELECT unhex(j.value ->> 0), j.value ->> 1 FROM json_each(?2) j)";
const ORIGIN: &str = "SELECT run, message_id, fingerprint, envelope FROM origin
    WHERE saga = ?1 AND instance = ?2 AND run = ?3";

/// The most rows shown of one instance.
const SHOWN: i64 = 1_000;

/// The messages among `wanted` that have a final outcome.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    saga: &str,
    wanted: &[MessageId],
) -> Result<BTreeMap<MessageId, (Digest, Outcome)>, Error> {
    let wanted = ids(wanted.iter().map(|id| &id.0))?;
    let rows = sqlx::query(FIND).bind(saga).bind(wanted).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((id(row, 0)?, (digest(row, 1)?, word(row, 2)?)))).collect()
}

/// Journal rows as one parameter, and the ids among them.
pub(crate) fn rows(slices: &[&Slice]) -> Result<Option<(String, Vec<MessageId>)>, Error> {
    let (mut rows, mut messages) = (Vec::new(), Vec::new());
    for row in slices.iter().flat_map(|slice| &slice.journal) {
        messages.push(row.message_id);
        rows.push((
            hex(row.message_id.0),
            hex_bytes(&row.digest.0),
            row.instance.map(|id| hex(id.0)),
            row.run,
            row.seq,
            &row.event,
            &row.from_state,
            &row.to_state,
            row.outcome.as_str(),
            micros(row.at),
        ));
    }
    Ok(some_json(&rows)?.map(|rows| (rows, messages)))
}

/// Writes journal rows and returns the messages that had one already.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    saga: &str,
    (rows, messages): &(String, Vec<MessageId>),
) -> Result<Vec<MessageId>, Error> {
    let written = sqlx::query(INSERT).bind(saga).bind(rows).fetch_all(connection).await?;
    if written.len() == messages.len() {
        return Ok(Vec::new());
    }
    refused(&written, messages)
}

/// Those of `wanted` that are not among the first column of `written`, or are there twice.
pub(crate) fn refused(
    written: &[SqliteRow],
    wanted: &[MessageId],
) -> Result<Vec<MessageId>, Error> {
    let mut written =
        written.iter().map(|row| id::<MessageId>(row, 0)).collect::<Result<BTreeSet<_>, _>>()?;
    let refused: BTreeSet<_> = wanted.iter().filter(|id| !written.remove(id)).copied().collect();
    Ok(refused.into_iter().collect())
}

/// An instance's history, oldest first.
pub(crate) async fn of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<JournalRow>, Error> {
    let query = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).bind(SHOWN);
    let rows = query.fetch_all(connection).await?;
    Ok(readable("journal row", &rows, |row| {
        Ok(JournalRow {
            message_id: id(row, 0)?,
            digest: digest(row, 1)?,
            instance: some_id(row, 2)?,
            run: get(row, 3)?,
            seq: get(row, 4)?,
            event: get(row, 5)?,
            from_state: get(row, 6)?,
            to_state: get(row, 7)?,
            outcome: word(row, 8)?,
            at: instant(row, 9)?,
        })
    }))
}

/// Deletes old rows of ended instances.
pub(crate) async fn sweep(
    connection: &mut SqliteConnection,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<u64, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(SWEEP).bind(micros(before)).bind(limit);
    Ok(query.execute(connection).await?.rows_affected())
}

/// Start messages of runs that begin, and runs whose start message goes, as parameters.
pub(crate) fn origins(slices: &[&Slice]) -> Result<(Option<String>, Option<String>), Error> {
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for slice in slices {
        let Some(key) = slice.key else { continue };
        // What a slice both makes and removes never existed.
        if let Some(origin) = slice.origin.as_ref().filter(|o| slice.forget_origin != Some(o.run)) {
            begun.push((
                hex(key.0),
                origin.run,
                hex(origin.message_id.0),
                hex_bytes(&origin.fingerprint),
                json(&*origin.envelope)?,
            ));
        }
        ended.extend(slice.forget_origin.map(|run| (hex(key.0), run)));
    }
    Ok((some_json(&begun)?, some_json(&ended)?))
}

/// Keeps the start messages of runs.
pub(crate) async fn begin(
    connection: &mut SqliteConnection,
    saga: &str,
    rows: &str,
) -> Result<(), Error> {
    sqlx::query(BEGIN).bind(saga).bind(rows).execute(connection).await?;
    Ok(())
}

/// Drops the start messages of ended runs.
pub(crate) async fn end(
    connection: &mut SqliteConnection,
    saga: &str,
    rows: &str,
) -> Result<(), Error> {
    sqlx::query(END).bind(saga).bind(rows).execute(connection).await?;
    Ok(())
}

/// The start message of a run.
pub(crate) async fn origin(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
    run: u32,
) -> Result<Option<Origin>, Error> {
    let query = sqlx::query(ORIGIN).bind(saga).bind(instance.0).bind(run);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let fingerprint: Vec<u8> = get(&row, 2)?;
    Ok(Some(Origin {
        run: crate::rows::whole(&row, 0)?,
        message_id: id(&row, 1)?,
        fingerprint: fingerprint
            .try_into()
            .map_err(|_| Error::Data("the fingerprint is not 32 bytes long".to_owned()))?,
        envelope: from_json(&row, 3)?,
    }))
}
