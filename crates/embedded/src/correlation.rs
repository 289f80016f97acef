//! Business keys: who owns one, and taking or freeing it in a commit.

use std::collections::{BTreeMap, BTreeSet};

use knarr_model::Slice;
use knarr_model::commit::{CommitOutcome, Key, KeyRow, KeyWrite};
use knarr_model::ids::InstanceId;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::Error;
use crate::rows::{get, hex, id, json, some_json};

const RETIRE: [&str; 2] = [
    "DELETE FROM correlation WHERE generation = 1 AND (saga, instance) IN (
        SELECT j.value ->> 0, unhex(j.value ->> 1) FROM json_each(?1) j)",
    "UPDATE correlation SET free = 1 WHERE (saga, instance) IN (
        SELECT j.value ->> 0, unhex(j.value ->> 1) FROM json_each(?1) j)",
];
const FIND: &str = "SELECT c.key_name, c.key_value, c.instance, c.generation, c.free
    FROM json_each(?2) j
    CROSS JOIN correlation c
        ON c.saga = ?1 AND c.key_name = j.value ->> 0 AND c.key_value = j.value ->> 1";
const WRITE: &str = "INSERT INTO correlation
        (saga, key_name, key_value, instance, generation, free)
    SELECT ?1, j.value ->> 0, j.value ->> 1, unhex(j.value ->> 2), j.value ->> 3, j.value ->> 4
    FROM json_each(?2) j WHERE true
    ON CONFLICT (saga, key_name, key_value) DO UPDATE SET
        instance = excluded.instance, generation = excluded.generation, free = excluded.free
    WHERE (correlation.free AND correlation.generation = excluded.generation - 1)
        OR (correlation.instance = excluded.instance
            AND correlation.generation = excluded.generation)
    RETURNING key_name, key_value";
const FORGET: &str = "DELETE FROM correlation WHERE saga = ?1 AND instance = ?2";

const OF_INSTANCE: &str = "SELECT key_name, key_value, instance, generation, free FROM correlation
    WHERE saga = ?1 AND instance = ?2 ORDER BY key_name, key_value";
/// A key that another instance has freed meanwhile is taken at its next generation.
const RESTORE: &str = "INSERT INTO correlation
        (saga, key_name, key_value, instance, generation, free)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (saga, key_name, key_value) DO UPDATE SET
        instance = excluded.instance, free = excluded.free,
        generation = iif(correlation.instance = excluded.instance, excluded.generation,
            max(excluded.generation, correlation.generation + 1))
    WHERE correlation.instance = excluded.instance OR NOT excluded.free";

/// The keys among `wanted` that were ever taken.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    saga: &str,
    wanted: &[Key],
) -> Result<BTreeMap<Key, KeyRow>, Error> {
    let pairs: Vec<_> = wanted.iter().map(|key| (&key.name, &key.value)).collect();
    let rows = sqlx::query(FIND).bind(saga).bind(json(&pairs)?).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<(Key, KeyRow), Error> {
    let key = Key { name: get(row, 0)?, value: get(row, 1)? };
    Ok((key, KeyRow { instance: id(row, 2)?, generation: get(row, 3)?, free: get(row, 4)? }))
}

/// Every key of an instance, those that it has freed included.
pub(crate) async fn of_instance(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<(Key, KeyRow)>, Error> {
    let rows = sqlx::query(OF_INSTANCE).bind(saga).bind(instance.0).fetch_all(connection).await?;
    rows.iter().map(read).collect()
}

/// Puts a key back. That no other instance owns it was asked in the same transaction.
pub(crate) async fn restore(
    connection: &mut SqliteConnection,
    saga: &str,
    (key, row): &(Key, KeyRow),
) -> Result<(), Error> {
    sqlx::query(RESTORE)
        .bind(saga)
        .bind(&key.name)
        .bind(&key.value)
        .bind(row.instance.0)
        .bind(row.generation)
        .bind(row.free)
        .execute(connection)
        .await?;
    Ok(())
}

/// The key writes of a commit: one a key.
pub(crate) struct Writes {
    rows: Option<String>,
    by_key: BTreeMap<Key, KeyWrite>,
    /// Two slices want one key: only one can have it.
    clash: Option<KeyWrite>,
}

/// Folds the slices' key writes; within a slice the last one of a key counts.
pub(crate) fn rows(slices: &[&Slice]) -> Result<Writes, Error> {
    let mut by_key: BTreeMap<Key, KeyWrite> = BTreeMap::new();
    let (mut rows, mut clash) = (Vec::new(), None);
    for slice in slices {
        let Some(instance) = slice.key else { continue };
        let last: BTreeMap<&Key, &KeyWrite> =
            slice.keys.iter().map(|write| (&write.key, write)).collect();
        for (key, write) in last {
            if by_key.insert(key.clone(), write.clone()).is_some() {
                clash.get_or_insert_with(|| write.clone());
            }
            rows.push((&key.name, &key.value, hex(instance.0), write.generation, write.free));
        }
    }
    Ok(Writes { rows: some_json(&rows)?, by_key, clash })
}

/// Writes the keys, or says which is another's.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    saga: &str,
    writes: &Writes,
) -> Result<Option<CommitOutcome>, Error> {
    if let Some(write) = &writes.clash {
        return Ok(Some(taken(write)));
    }
    let Some(rows) = &writes.rows else { return Ok(None) };
    let written = sqlx::query(WRITE).bind(saga).bind(rows).fetch_all(connection).await?;
    if written.len() == writes.by_key.len() {
        return Ok(None);
    }
    let mut kept = BTreeSet::new();
    for row in &written {
        kept.insert(Key { name: get(row, 0)?, value: get(row, 1)? });
    }
    Ok(writes.by_key.values().find(|write| !kept.contains(&write.key)).map(taken))
}

fn taken(write: &KeyWrite) -> CommitOutcome {
    let KeyWrite { by, key, by_start, .. } = write;
    CommitOutcome::KeyTaken { by: *by, key: key.clone(), by_start: *by_start }
}

/// Lets go of the keys of swept instances. One that was used again stays, free, so that its next
/// owner does not bear the id of an earlier one.
pub(crate) async fn retire(connection: &mut SqliteConnection, old: &str) -> Result<(), Error> {
    for sql in RETIRE {
        sqlx::query(sql).bind(old).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Drops the keys of a purged instance.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Error> {
    sqlx::query(FORGET).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}
