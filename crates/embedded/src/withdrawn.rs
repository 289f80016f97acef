//! Runs whose messages no longer leave.

use std::collections::BTreeSet;

use knarr_model::InstanceId;
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::rows::{hex, id, json, whole};

const MARK: &str = "INSERT INTO withdrawn (endpoint, instance, run) VALUES (?1, ?2, ?3)
    ON CONFLICT DO NOTHING";
const LIFT: &str = "DELETE FROM withdrawn WHERE endpoint = ?1 AND instance = ?2 AND run = ?3";
const FIND: &str = "SELECT w.instance, w.run FROM json_each(?2) j
    CROSS JOIN withdrawn w ON w.endpoint = ?1 AND w.instance = unhex(j.value ->> 0)
        AND w.run = j.value ->> 1";

/// Marks a run.
pub(crate) async fn mark(
    connection: &mut SqliteConnection,
    endpoint: &str,
    (instance, run): (InstanceId, u32),
) -> Result<(), Error> {
    sqlx::query(MARK).bind(endpoint).bind(instance.0).bind(run).execute(connection).await?;
    Ok(())
}

/// Takes a run's mark away.
pub(crate) async fn lift(
    connection: &mut SqliteConnection,
    endpoint: &str,
    (instance, run): (InstanceId, u32),
) -> Result<(), Error> {
    sqlx::query(LIFT).bind(endpoint).bind(instance.0).bind(run).execute(connection).await?;
    Ok(())
}

/// Those of the runs that are marked, in the order asked for.
pub(crate) async fn find(
    connection: &mut SqliteConnection,
    endpoint: &str,
    runs: &[(InstanceId, u32)],
) -> Result<Vec<(InstanceId, u32)>, Error> {
    let asked: Vec<_> = runs.iter().map(|(instance, run)| (hex(instance.0), run)).collect();
    let rows = sqlx::query(FIND).bind(endpoint).bind(json(&asked)?).fetch_all(connection).await?;
    let mut marked = BTreeSet::new();
    for row in &rows {
        marked.insert((id::<InstanceId>(row, 0)?, whole::<u32>(row, 1)?));
    }
    Ok(runs.iter().filter(|run| marked.contains(run)).copied().collect())
}
