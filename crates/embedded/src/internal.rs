//! Internal deliveries inside a commit: rows that are done are deleted, others wait again.

use knarr_model::Slice;
use knarr_model::commit::Again;
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::work::{ClaimedRow, RowKind};
use sqlx::SqliteConnection;
use std::collections::BTreeSet;

use crate::error::Error;
use crate::rows::{hex, id, ids, micros, name, some_id, some_json};

const TAKE_TIMERS: &str = "DELETE FROM timer
    WHERE node = ?1 AND (id, claims) IN
        (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?2)) RETURNING id";
const TAKE_CALLS: &str = "DELETE FROM activity
    WHERE node = ?1 AND ended IS NOT NULL AND (id, claims) IN
        (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?2)) RETURNING id";
const TAKE_PARKED: &str = "DELETE FROM parked
    WHERE node = ?1 AND (id, claims) IN
        (SELECT unhex(value ->> 0), value ->> 1 FROM json_each(?2)) RETURNING id";
const TIMERS_AGAIN: &str = "UPDATE timer
    SET node = NULL, due_at = coalesce(w.due_at, timer.due_at), attempt = w.attempt,
        error = w.error
    FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS claims, value ->> 2 AS due_at,
        value ->> 3 AS attempt, value ->> 4 AS error FROM json_each(?2)) w
    WHERE timer.id = w.id AND timer.node = ?1 AND timer.claims = w.claims
    RETURNING timer.id";
const CALLS_AGAIN: &str = "UPDATE activity
    SET node = NULL, due_at = coalesce(w.due_at, activity.due_at), decide_attempt = w.attempt,
        error = w.error
    FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS claims, value ->> 2 AS due_at,
        value ->> 3 AS attempt, value ->> 4 AS error FROM json_each(?2)) w
    WHERE activity.id = w.id AND activity.node = ?1 AND activity.claims = w.claims
        AND activity.ended IS NOT NULL
    RETURNING activity.id";
const PARKED_AGAIN: &str = "UPDATE parked
    SET node = NULL, due_at = w.due_at, attempt = w.attempt, error = w.error,
        reason = coalesce(w.reason, parked.reason),
        behind = coalesce(w.reason, parked.reason) = 'held',
        instance = coalesce(unhex(w.instance), parked.instance),
        seq = coalesce(w.seq, parked.seq)
    FROM (SELECT unhex(value ->> 0) AS id, value ->> 1 AS claims, value ->> 2 AS due_at,
        value ->> 3 AS attempt, value ->> 4 AS error, value ->> 5 AS reason,
        value ->> 6 AS instance, value ->> 7 AS seq
        FROM json_each(?2)) w
    WHERE parked.id = w.id AND parked.node = ?1 AND parked.claims = w.claims
    RETURNING parked.id";

const FORGET_TIMER: &str = "DELETE FROM timer WHERE id = ?1 RETURNING saga, instance";
const FORGET_CALL: &str = "DELETE FROM activity WHERE id = ?1 RETURNING saga, instance";
const FORGET_PARKED: &str = "DELETE FROM parked WHERE id = ?1 RETURNING saga, instance";
const OWNER_OF_TIMER: &str = "SELECT node FROM timer WHERE id = ?1 AND claims = ?2";
const OWNER_OF_CALL: &str = "SELECT node FROM activity
    WHERE id = ?1 AND claims = ?2 AND ended IS NOT NULL";
const OWNER_OF_PARKED: &str = "SELECT node FROM parked WHERE id = ?1 AND claims = ?2";
const OWN_CALLS: &str = "SELECT id FROM activity
    WHERE node = ?1 AND id IN (SELECT unhex(value) FROM json_each(?2))";

/// One statement's work: its SQL, its parameter, and the rows that it must find.
struct Step {
    sql: &'static str,
    rows: String,
    wanted: BTreeSet<RowId>,
}

/// What a commit does to internal deliveries.
pub(crate) struct Steps(Vec<Step>);

/// The statements that the slices need; kinds without rows need none.
pub(crate) fn steps(slices: &[&Slice]) -> Result<Steps, Error> {
    let mut steps = Vec::new();
    for (kind, take, again) in [
        (RowKind::Timer, TAKE_TIMERS, TIMERS_AGAIN),
        (RowKind::Call, TAKE_CALLS, CALLS_AGAIN),
        (RowKind::Parked, TAKE_PARKED, PARKED_AGAIN),
    ] {
        let taken = slices.iter().flat_map(|slice| &slice.taken).filter(|row| row.kind == kind);
        let taken: BTreeSet<&ClaimedRow> = taken.collect();
        let columns: Vec<_> = taken.iter().map(|row| (hex(row.id.0), row.claims)).collect();
        if let Some(rows) = some_json(&columns)? {
            let wanted = taken.iter().map(|row| row.id).collect();
            steps.push(Step { sql: take, rows, wanted });
        }
        let waiting: Vec<&Again> = slices
            .iter()
            .flat_map(|slice| &slice.again)
            .filter(|again| again.row.kind == kind)
            .collect();
        if let Some(rows) = some_json(&waiting.iter().map(|a| again_row(a)).collect::<Vec<_>>())? {
            let wanted = waiting.iter().map(|again| again.row.id).collect();
            steps.push(Step { sql: again, rows, wanted });
        }
    }
    Ok(Steps(steps))
}

type AgainRow<'a> = (
    uuid::fmt::Simple,
    i64,
    Option<i64>,
    u32,
    &'a Option<String>,
    Option<&'static str>,
    Option<uuid::fmt::Simple>,
    Option<i64>,
);

fn again_row(again: &Again) -> AgainRow<'_> {
    let reason = again.reason.map(|reason| reason.as_str());
    let instance = again.place.map(|(instance, _)| hex(instance.0));
    let seq = again.place.map(|(_, seq)| seq);
    let due_at = again.due_at.map(micros);
    let ClaimedRow { id, claims, .. } = again.row;
    (hex(id.0), claims, due_at, again.attempt, &again.error, reason, instance, seq)
}

/// Carries the steps out and returns the rows that are gone or not the node's.
pub(crate) async fn run(
    connection: &mut SqliteConnection,
    node: NodeId,
    steps: &Steps,
) -> Result<Vec<RowId>, Error> {
    let mut gone = Vec::new();
    for Step { sql, rows, wanted } in &steps.0 {
        let found = sqlx::query(*sql).bind(node.0).bind(rows).fetch_all(&mut *connection).await?;
        let found = found.iter().map(|row| id(row, 0)).collect::<Result<BTreeSet<RowId>, _>>()?;
        gone.extend(wanted.difference(&found));
    }
    Ok(gone)
}

/// Whether a row is there and the node's own under this very claim.
pub(crate) async fn is_own(
    connection: &mut SqliteConnection,
    node: NodeId,
    row: ClaimedRow,
) -> Result<bool, Error> {
    let sql = match row.kind {
        RowKind::Timer => OWNER_OF_TIMER,
        RowKind::Call => OWNER_OF_CALL,
        RowKind::Parked => OWNER_OF_PARKED,
    };
    let query = sqlx::query(sql).bind(row.id.0).bind(row.claims);
    let found = query.fetch_optional(connection).await?;
    let owner = found.as_ref().map(|found| some_id(found, 0)).transpose()?;
    Ok(owner.flatten() == Some(node))
}

/// Deletes a row that is done, whoever has it, and says whose it was.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    (kind, row): (RowKind, RowId),
) -> Result<Option<(Name, Option<InstanceId>)>, Error> {
    let sql = match kind {
        RowKind::Timer => FORGET_TIMER,
        RowKind::Call => FORGET_CALL,
        RowKind::Parked => FORGET_PARKED,
    };
    let found = sqlx::query(sql).bind(row.0).fetch_optional(connection).await?;
    found.as_ref().map(|found| Ok((name(found, 0)?, some_id(found, 1)?))).transpose()
}

/// Those of the calls whose rows are gone or not the node's.
pub(crate) async fn lost_calls(
    connection: &mut SqliteConnection,
    node: NodeId,
    calls: &[RowId],
) -> Result<Vec<RowId>, Error> {
    let wanted = ids(calls.iter().map(|call| &call.0))?;
    let found = sqlx::query(OWN_CALLS).bind(node.0).bind(wanted).fetch_all(connection).await?;
    let own = found.iter().map(|row| id(row, 0)).collect::<Result<BTreeSet<RowId>, _>>()?;
    Ok(calls.iter().filter(|call| !own.contains(call)).copied().collect())
}
