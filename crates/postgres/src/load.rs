//! What a batch asks for before it decides: one statement, so one moment, and no locks.

use std::collections::BTreeMap;

use chrono::DateTime;
use knarr_model::commit::{Key, KeyRow};
use knarr_model::ids::{InstanceId, MessageId, NodeId, RowId};
use knarr_model::ports::StoreError;
use knarr_model::ports::store::{EndpointRow, EndpointState, Load, Loaded, Waiting};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Failed;
use crate::{correlation, instances, rows};

/// Rows of several kinds under one set of columns. `OFFSET 0` and the arrays keep each part at its
/// index, whatever the tables held when the plan was made; `IS NOT DISTINCT FROM` is a comparison
/// that no index serves, so that none is chosen for the saga alone.
const LOAD: &str = "
WITH hit AS MATERIALIZED (
  SELECT found.*
  FROM unnest($3::uuid[]) AS asked (key)
  CROSS JOIN LATERAL (
    SELECT key_name, key_value, instance, generation, free FROM correlation
    WHERE key = asked.key AND saga IS NOT DISTINCT FROM $1 OFFSET 0) found),
wanted AS MATERIALIZED (
  SELECT unnest($4::uuid[]) AS id UNION SELECT instance FROM hit)
SELECT 0 AS kind, NULL::uuid AS id, state, stop AS data, NULL::text AS book,
       epoch AS run, guard_version AS version,
       (extract(epoch FROM restored_at) * 1000000)::bigint AS definition_version,
       holder AS incident, NULL::bool AS free, NULL::bytea AS digest, watched_until AS at
FROM endpoint WHERE name = $2
UNION ALL
SELECT 1, id, state, data, book, run, version, definition_version, incident, NULL, NULL, NULL
FROM instance
WHERE id = ANY (ARRAY (SELECT id FROM wanted)) AND saga IS NOT DISTINCT FROM $1
UNION ALL
SELECT 2, instance, key_name, key_value, NULL, generation, NULL, NULL, NULL, free, NULL, NULL
FROM hit
UNION ALL
SELECT 3, message_id, outcome, NULL, NULL, NULL, NULL, NULL, NULL, NULL, digest, NULL
FROM journal WHERE message_id = ANY ($5::uuid[]) AND saga IS NOT DISTINCT FROM $1
UNION ALL
SELECT 4, message_id, NULL, NULL, NULL, NULL, NULL, NULL, id, NULL, digest, NULL
FROM parked WHERE message_id = ANY ($5::uuid[]) AND saga IS NOT DISTINCT FROM $1
UNION ALL
SELECT 5, instance, NULL, NULL, NULL, count(*) FILTER (WHERE blocks),
       min(seq) FILTER (WHERE blocks), max(seq), NULL, NULL, NULL,
       (array_agg(due_at ORDER BY seq, id) FILTER (WHERE blocks))[1]
FROM (SELECT id, instance, seq, due_at, reason IN ('retry', 'held', 'suspect') AS blocks
      FROM parked
      WHERE instance = ANY (ARRAY (SELECT id FROM wanted))
        AND saga IS NOT DISTINCT FROM $1) waits
GROUP BY instance HAVING bool_or(blocks)";

/// Reads what a batch needs.
pub(crate) async fn load(connection: &mut PgConnection, load: &Load) -> Result<Loaded, Failed> {
    let found = sqlx::query(LOAD)
        .bind(&*load.saga)
        .bind(&*load.endpoint)
        .bind(load.keys.iter().map(correlation::id).collect::<Vec<_>>())
        .bind(load.instances.iter().map(|id| id.0).collect::<Vec<_>>())
        .bind(load.messages.iter().map(|id| id.0).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut loaded = Parts::default();
    for row in &found {
        loaded.add(load, row).map_err(|error| {
            let id = rows::get::<Option<Uuid>>(row, "id").ok().flatten();
            rows::unreadable("row", id.unwrap_or_default(), &error)
        })?;
    }
    Ok(loaded.whole(load)?)
}

#[derive(Default)]
struct Parts {
    endpoint: Option<EndpointRow>,
    instances: BTreeMap<InstanceId, knarr_model::Instance>,
    unreadable: BTreeMap<InstanceId, String>,
    keys: BTreeMap<Key, KeyRow>,
    journal: BTreeMap<MessageId, (knarr_model::Digest, knarr_model::commit::Outcome)>,
    parked: BTreeMap<MessageId, (knarr_model::Digest, RowId)>,
    waiting: BTreeMap<InstanceId, Waiting>,
}

impl Parts {
    fn add(&mut self, load: &Load, row: &PgRow) -> Result<(), String> {
        match rows::get::<i32>(row, "kind")? {
            0 => self.endpoint = Some(endpoint(load, row)?),
            1 => {
                let id = InstanceId(rows::get(row, "id")?);
                match instances::read(&load.saga, row) {
                    Ok(instance) => drop(self.instances.insert(id, instance)),
                    Err(error) => drop(self.unreadable.insert(id, error)),
                }
            }
            2 => {
                let key = Key { name: rows::text(row, "state")?, value: rows::text(row, "data")? };
                let row = KeyRow {
                    instance: InstanceId(rows::get(row, "id")?),
                    generation: rows::get(row, "run")?,
                    free: rows::get(row, "free")?,
                };
                self.keys.insert(key, row);
            }
            3 => {
                let message = MessageId(rows::get(row, "id")?);
                let known = (rows::digest(row, "digest")?, rows::word(row, "state")?);
                self.journal.insert(message, known);
            }
            4 => {
                let message = MessageId(rows::get(row, "id")?);
                let held = (rows::digest(row, "digest")?, RowId(rows::get(row, "incident")?));
                self.parked.insert(message, held);
            }
            _ => {
                let waiting = Waiting {
                    rows: rows::get::<i64>(row, "run")?.unsigned_abs(),
                    first_seq: rows::get(row, "version")?,
                    last_seq: rows::get(row, "definition_version")?,
                    due_at: rows::get(row, "at")?,
                };
                self.waiting.insert(InstanceId(rows::get(row, "id")?), waiting);
            }
        }
        Ok(())
    }

    fn whole(self, load: &Load) -> Result<Loaded, StoreError> {
        let Parts { endpoint, instances, unreadable, keys, journal, parked, waiting } = self;
        let endpoint = endpoint.ok_or_else(|| {
            StoreError::Fatal(format!("endpoint `{}` has no row yet", load.endpoint))
        })?;
        Ok(Loaded { endpoint, instances, unreadable, keys, journal, parked, waiting })
    }
}

fn endpoint(load: &Load, row: &PgRow) -> Result<EndpointRow, String> {
    let state: &str = rows::get(row, "state")?;
    Ok(EndpointRow {
        name: load.endpoint.clone(),
        state: EndpointState::parse(state).ok_or_else(|| format!("`{state}` is no state"))?,
        epoch: rows::get(row, "run")?,
        guard_version: rows::get(row, "version")?,
        holder: rows::get::<Option<Uuid>>(row, "incident")?.map(NodeId),
        stop: rows::maybe_json(row, "data")?,
        watched_until: rows::get(row, "at")?,
        restored_at: rows::get::<Option<i64>>(row, "definition_version")?
            .and_then(DateTime::from_timestamp_micros),
    })
}
