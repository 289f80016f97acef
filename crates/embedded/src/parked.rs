//! Parked messages: those that block an instance come in order behind their head, others alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::ports::store::Waiting;
use knarr_model::work::{Claim, Parked, ParkedReason};
use knarr_model::{Digest, Slice};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::claims::{Ready, free};
use crate::error::Error;
use crate::journal::refused;
use crate::rows::{
    digest, from_json, get, hex, hex_bytes, id, ids, json, micros, name, readable, some_id,
    some_instant, some_json, whole, word,
};

const FIND: &str = "SELECT p.message_id, p.digest, p.id
    FROM json_each(?2) j
    CROSS JOIN parked p ON p.saga = ?1 AND p.message_id = unhex(j.value)";
const WAITING: &str = "SELECT p.instance, p.seq, p.reason, p.due_at
    FROM json_each(?2) j
    CROSS JOIN parked p ON p.saga = ?1 AND p.instance = unhex(j.value)
    ORDER BY p.instance, p.seq, p.id";
const INSERT: &str = "INSERT INTO parked (id, endpoint, saga, message_id, digest, instance, seq,
        reason, attempt, claims, due_at, error, envelope, behind)
    SELECT unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, unhex(j.value ->> 3),
        unhex(j.value ->> 4), unhex(j.value ->> 5), j.value ->> 6, j.value ->> 7, j.value ->> 8,
        j.value ->> 9, j.value ->> 10, j.value ->> 11, j.value ->> 12,
        j.value ->> 7 = 'held'
    FROM json_each(?1) j WHERE true
    ON CONFLICT (saga, message_id) DO NOTHING
    RETURNING message_id";
const WAKE: &str = "UPDATE parked SET due_at = ?3
    WHERE saga = ?1 AND reason = 'deferred'
        AND instance IN (SELECT unhex(value) FROM json_each(?2))";
const WAKE_HELD: &str = "UPDATE parked SET due_at = ?3
    WHERE saga = ?1 AND reason = 'held'
        AND instance IN (SELECT unhex(value) FROM json_each(?2))";
const LET_GO: &str = "UPDATE parked SET due_at = ?3
    WHERE saga = ?1 AND instance = ?2 AND reason = 'held'";
/// The most rows shown of one instance.
const SHOWN: i64 = 1_000;
/// After rows came, went or changed: a held row that is now first in its line has nothing before
/// it. (One that gets something before it is found out when it is to be claimed.)
const LINE_UP: &str = "UPDATE parked SET behind = 0
    WHERE behind = 1 AND reason = 'held' AND id IN (
        SELECT (SELECT h.id FROM parked h
            WHERE h.saga = ?1 AND h.instance = unhex(j.value)
                AND h.reason IN ('retry', 'held', 'suspect')
            ORDER BY h.seq, h.id LIMIT 1)
        FROM json_each(?2) j)";
const FORGET: &str = "DELETE FROM parked WHERE saga = ?1 AND instance = ?2";
/// Rows that something can be given out with: due and free, and the first of its line if it is in
/// one; and free first rows that are held, whose head is gone.
const DUE: &str = concat!(
    "SELECT p.saga, p.instance, p.id, p.due_at FROM parked p
    WHERE p.endpoint = ?5 AND p.due_at <= ?2 AND ",
    free!("p"),
    " AND (p.reason IN ('missing', 'deferred') OR p.instance IS NULL OR NOT EXISTS (
        SELECT 1 FROM parked h
        WHERE h.saga = p.saga AND h.instance = p.instance
            AND h.reason IN ('retry', 'held', 'suspect')
            AND (h.seq < p.seq OR (h.seq = p.seq AND h.id < p.id))))
    ORDER BY p.due_at LIMIT ?6"
);
const FIRST: &str = concat!(
    "SELECT p.saga, p.instance, p.id, p.due_at FROM parked p
    WHERE p.endpoint = ?5 AND p.reason = 'held' AND p.behind = 0 AND p.due_at IS NOT NULL AND ",
    free!("p"),
    " ORDER BY p.due_at LIMIT ?6"
);
const LINE: &str = concat!(
    "SELECT p.id, p.seq, p.reason, p.due_at, ",
    free!("p"),
    " FROM parked p WHERE p.saga = ?5 AND p.instance = ?6 AND p.endpoint = ?7
    ORDER BY p.seq, p.id LIMIT 10000"
);
const CLAIM: &str = "UPDATE parked SET node = ?1, claims = claims + 1
    WHERE id IN (SELECT unhex(value) FROM json_each(?2))
    RETURNING id, endpoint, saga, message_id, digest, instance, seq, reason, attempt, claims,
        due_at, error, envelope";
const OF_INSTANCE: &str = "SELECT id, endpoint, saga, message_id, digest, instance, seq, reason,
        attempt, claims, due_at, error, envelope
    FROM parked WHERE saga = ?1 AND instance = ?2 ORDER BY seq, id LIMIT ?3";

/// The messages among `wanted` that are parked.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    saga: &str,
    wanted: &[MessageId],
) -> Result<BTreeMap<MessageId, (Digest, RowId)>, Error> {
    let wanted = ids(wanted.iter().map(|id| &id.0))?;
    let rows = sqlx::query(FIND).bind(saga).bind(wanted).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((id(row, 0)?, (digest(row, 1)?, id(row, 2)?)))).collect()
}

/// The instances among `asked` that have rows behind which later messages wait.
pub(crate) async fn waiting(
    connection: &mut SqliteConnection,
    saga: &str,
    asked: &BTreeSet<InstanceId>,
) -> Result<BTreeMap<InstanceId, Waiting>, Error> {
    let wanted = ids(asked.iter().map(|id| &id.0))?;
    let rows = sqlx::query(WAITING).bind(saga).bind(wanted).fetch_all(connection).await?;
    let mut waiting: BTreeMap<InstanceId, Waiting> = BTreeMap::new();
    let mut last: BTreeMap<InstanceId, i64> = BTreeMap::new();
    for row in &rows {
        let (instance, seq): (InstanceId, i64) = (id(row, 0)?, get(row, 1)?);
        last.insert(instance, seq);
        if word::<ParkedReason>(row, 2)?.blocks() {
            let due_at = some_instant(row, 3)?;
            let first = Waiting { rows: 0, first_seq: seq, last_seq: seq, due_at };
            waiting.entry(instance).or_insert(first).rows += 1;
        }
    }
    for (instance, line) in &mut waiting {
        line.last_seq = last.get(instance).copied().unwrap_or(line.last_seq);
    }
    Ok(waiting)
}

/// New rows as one parameter, and the messages in them.
pub(crate) fn rows(slices: &[&Slice]) -> Result<Option<(String, Vec<MessageId>)>, Error> {
    let (mut rows, mut messages) = (Vec::new(), Vec::new());
    for row in slices.iter().flat_map(|slice| &slice.parked) {
        messages.push(row.message_id);
        rows.push((
            hex(row.id.0),
            &row.endpoint,
            &row.saga,
            hex(row.message_id.0),
            hex_bytes(&row.digest.0),
            row.instance.map(|id| hex(id.0)),
            row.seq,
            row.reason.as_str(),
            row.attempt,
            row.claims,
            row.due_at.map(micros),
            &row.error,
            json(&*row.envelope)?,
        ));
    }
    Ok(some_json(&rows)?.map(|rows| (rows, messages)))
}

/// Parks messages and returns those that were parked already.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    (rows, messages): &(String, Vec<MessageId>),
) -> Result<Vec<MessageId>, Error> {
    let written = sqlx::query(INSERT).bind(rows).fetch_all(connection).await?;
    if written.len() == messages.len() {
        return Ok(Vec::new());
    }
    refused(&written, messages)
}

/// Makes the deferred messages of these instances due.
pub(crate) async fn wake(
    connection: &mut SqliteConnection,
    saga: &str,
    instances: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(WAKE).bind(saga).bind(instances).bind(micros(now)).execute(connection).await?;
    Ok(())
}

/// Makes what a tombstone held of these instances due.
pub(crate) async fn wake_held(
    connection: &mut SqliteConnection,
    saga: &str,
    instances: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(WAKE_HELD).bind(saga).bind(instances).bind(micros(now)).execute(connection).await?;
    Ok(())
}

/// Notes which held messages of these instances have nothing before them any more.
pub(crate) async fn line_up(
    connection: &mut SqliteConnection,
    saga: &str,
    instances: &str,
) -> Result<(), Error> {
    sqlx::query(LINE_UP).bind(saga).bind(instances).execute(connection).await?;
    Ok(())
}

/// Drops the parked messages of a purged instance.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Error> {
    sqlx::query(FORGET).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

/// Claims messages that are due; an instance's rows come together in the order of `seq`.
pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<Vec<Parked>, Error> {
    let Some(ready) = Ready::new(connection, claim, now).await? else { return Ok(Vec::new()) };
    let chosen = choose(connection, &ready).await?;
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let rows = ready.mark(connection, CLAIM, &chosen).await?;
    let mut found: BTreeMap<Uuid, Parked> =
        readable("parked message", &rows, read).into_iter().map(|row| (row.id.0, row)).collect();
    Ok(chosen.iter().filter_map(|id| found.remove(id)).collect())
}

/// Whose rows are given out together: a saga and one of its instances.
type Line = (String, Uuid);

/// The rows to claim, lines with the earliest due time first.
async fn choose(connection: &mut SqliteConnection, ready: &Ready) -> Result<Vec<Uuid>, Error> {
    let mut groups: Vec<(i64, Vec<Uuid>)> = Vec::new();
    for endpoint in &ready.endpoints {
        let mut lines: BTreeSet<Line> = BTreeSet::new();
        for sql in [DUE, FIRST] {
            let query = ready.query(sql).bind(&**endpoint).bind(ready.most());
            for row in &query.fetch_all(&mut *connection).await? {
                let instance: Option<Uuid> = get(row, 1)?;
                let row_id: Uuid = get(row, 2)?;
                match instance {
                    Some(instance) => drop(lines.insert((get(row, 0)?, instance))),
                    None => groups.push((get(row, 3)?, vec![row_id])),
                }
            }
        }
        for (saga, instance) in lines {
            let query = ready.query(LINE).bind(saga).bind(instance).bind(&**endpoint);
            let rows = query.fetch_all(&mut *connection).await?;
            groups.extend(in_line(&rows, ready.now)?);
        }
    }
    groups.sort_unstable();
    let mut chosen: Vec<Uuid> = groups.into_iter().flat_map(|(_, rows)| rows).collect();
    chosen.truncate(ready.limit);
    Ok(chosen)
}

/// Of one instance's rows in order, those that may be given out now, with their earliest due time.
fn in_line(rows: &[SqliteRow], now: i64) -> Result<Option<(i64, Vec<Uuid>)>, Error> {
    let (mut blocked, mut earliest, mut chosen) = (false, None::<i64>, Vec::new());
    for row in rows {
        let reason: ParkedReason = word(row, 2)?;
        let due_at: Option<i64> = get(row, 3)?;
        let free: bool = get(row, 4)?;
        let due = due_at.is_some_and(|at| at <= now);
        let goes = match reason {
            ParkedReason::Missing | ParkedReason::Deferred => due && free,
            // A held row goes with the row before it; as the first, its head is gone and it is
            // due. Without a due time the guard holds it.
            ParkedReason::Held => {
                blocked |= due_at.is_none() || !free;
                !blocked
            }
            ParkedReason::Retry | ParkedReason::Suspect => {
                blocked |= !due || !free;
                !blocked
            }
        };
        if goes {
            chosen.push(get(row, 0)?);
            earliest = earliest.into_iter().chain(due_at).min();
        }
    }
    Ok(earliest.map(|at| (at, chosen)))
}

/// An instance's parked messages in order, as many as are shown.
pub(crate) async fn of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Parked>, Error> {
    let query = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).bind(SHOWN);
    let rows = query.fetch_all(connection).await?;
    Ok(readable("parked message", &rows, read))
}

/// Every parked message of an instance, in order.
pub(crate) async fn all_of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<Parked>, Error> {
    let query = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).bind(-1);
    query.fetch_all(connection).await?.iter().map(read).collect()
}

/// What waits, `held`, for an instance goes now.
pub(crate) async fn let_go(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query(LET_GO).bind(saga).bind(instance.0).bind(micros(now)).execute(connection).await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Parked, Error> {
    Ok(Parked {
        id: id(row, 0)?,
        endpoint: name(row, 1)?,
        saga: name(row, 2)?,
        message_id: id(row, 3)?,
        digest: digest(row, 4)?,
        instance: some_id(row, 5)?,
        seq: get(row, 6)?,
        reason: word(row, 7)?,
        attempt: whole(row, 8)?,
        claims: get(row, 9)?,
        due_at: some_instant(row, 10)?,
        error: get(row, 11)?,
        envelope: from_json(row, 12)?,
    })
}
