//! Business keys: who owns one, and since which generation.

use std::collections::{BTreeMap, BTreeSet};

use knarr_model::commit::{CommitOutcome, Key, KeyRow, KeyWrite, Slice};
use knarr_model::ids::{InstanceId, derived_id};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Failed;
use crate::rows::{self, Query};

const LOCK_OF_INSTANCE: &str = "
SELECT key AS id, key_name, key_value, instance, generation, free
FROM correlation WHERE saga = $1 AND instance = $2 ORDER BY key FOR UPDATE";

const LOCK: &str = "
SELECT key AS id, key_name, key_value, instance, generation, free
FROM correlation WHERE saga = $1 AND key = ANY ($2) ORDER BY key FOR UPDATE";

const PUT: &str = "
INSERT INTO correlation (saga, key, key_name, key_value, instance, generation, free)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (key, saga) DO UPDATE
SET instance = excluded.instance, generation = excluded.generation, free = excluded.free";

const DELETE_OF_INSTANCE: &str = "DELETE FROM correlation WHERE saga = $1 AND instance = $2";

/// A key as it is indexed: values may be longer than an index takes.
pub(crate) fn id(key: &Key) -> Uuid {
    derived_id(&[b"key", key.name.as_bytes(), key.value.as_bytes()])
}

/// The keys of an instance, locked, those that it has freed included.
pub(crate) async fn lock_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<Vec<(Key, KeyRow)>, Failed> {
    let query = sqlx::query(LOCK_OF_INSTANCE).bind(saga).bind(instance.0);
    let mut keys = rows::all(&query.fetch_all(connection).await?, "correlation", read)?;
    keys.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(keys)
}

/// Who has these keys now, locked.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    saga: &str,
    keys: &[(Key, KeyRow)],
) -> Result<BTreeMap<Key, KeyRow>, Failed> {
    let ids: Vec<_> = keys.iter().map(|(key, _)| id(key)).collect();
    let found = sqlx::query(LOCK).bind(saga).bind(ids).fetch_all(connection).await?;
    Ok(rows::all(&found, "correlation", read)?.into_iter().collect())
}

/// Writes keys as they are given.
pub(crate) async fn put(
    connection: &mut PgConnection,
    saga: &str,
    keys: &[(Key, KeyRow)],
) -> Result<(), Failed> {
    for (key, row) in keys {
        sqlx::query(PUT)
            .bind(saga)
            .bind(id(key))
            .bind(rows::plain(&key.name))
            .bind(rows::plain(&key.value))
            .bind(row.instance.0)
            .bind(row.generation)
            .bind(row.free)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn read(row: &PgRow) -> Result<(Key, KeyRow), String> {
    let key = Key { name: rows::text(row, "key_name")?, value: rows::text(row, "key_value")? };
    let row = KeyRow {
        instance: InstanceId(rows::get(row, "instance")?),
        generation: rows::get(row, "generation")?,
        free: rows::get(row, "free")?,
    };
    Ok((key, row))
}

/// Deletes the keys of an instance.
pub(crate) async fn delete_of_instance(
    connection: &mut PgConnection,
    saga: &str,
    instance: InstanceId,
) -> Result<(), Failed> {
    sqlx::query(DELETE_OF_INSTANCE).bind(saga).bind(instance.0).execute(connection).await?;
    Ok(())
}

/// The keys that a commit takes and frees. They are written in the order of keys, so that two
/// commits that share keys queue up instead of deadlocking.
#[derive(Debug, Default)]
pub(crate) struct Writes<'a> {
    last: BTreeMap<&'a Key, (InstanceId, &'a KeyWrite)>,
}

impl<'a> Writes<'a> {
    /// Adds a slice's keys; of several writes of one key the last counts. A key that two slices
    /// write is refused: which came first is not for a store to say.
    pub(crate) fn push(&mut self, slice: &'a Slice) -> Result<(), CommitOutcome> {
        let Some(instance) = slice.key else { return Ok(()) };
        for write in &slice.keys {
            let before = self.last.insert(&write.key, (instance, write));
            if before.is_some_and(|(owner, _)| owner != instance) {
                return Err(taken(write));
            }
        }
        Ok(())
    }

    /// The first key, in their order, that is not among those written.
    pub(crate) fn first_refused(&self, written: &[Uuid]) -> Option<CommitOutcome> {
        let written: BTreeSet<Uuid> = written.iter().copied().collect();
        self.last
            .iter()
            .find(|(key, _)| !written.contains(&id(key)))
            .map(|(_, (_, write))| taken(write))
    }

    pub(crate) fn bind(&self, query: Query) -> Query {
        let each = || self.last.values();
        query
            .bind(self.last.keys().map(|key| id(key)).collect::<Vec<_>>())
            .bind(each().map(|(_, write)| rows::plain(&write.key.name)).collect::<Vec<_>>())
            .bind(each().map(|(_, write)| rows::plain(&write.key.value)).collect::<Vec<_>>())
            .bind(each().map(|(owner, _)| owner.0).collect::<Vec<Uuid>>())
            .bind(each().map(|(_, write)| write.generation).collect::<Vec<_>>())
            .bind(each().map(|(_, write)| write.free).collect::<Vec<_>>())
    }
}

fn taken(write: &KeyWrite) -> CommitOutcome {
    CommitOutcome::KeyTaken { by: write.by, key: write.key.clone(), by_start: write.by_start }
}
