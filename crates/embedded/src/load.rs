//! What a batch asks for before it decides: one moment's view, no locks.

use std::collections::{BTreeMap, BTreeSet};

use knarr_model::ids::InstanceId;
use knarr_model::ports::store::{Load, Loaded};
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::{correlation, endpoints, instances, journal, parked};

/// Reads what the batch needs; questions without a subject are not asked.
pub(crate) async fn load(connection: &mut SqliteConnection, load: &Load) -> Result<Loaded, Error> {
    let saga = &*load.saga;
    let endpoint = endpoints::find(connection, &load.endpoint)
        .await?
        .ok_or_else(|| Error::Fatal(format!("endpoint `{}` has no row yet", load.endpoint)))?;
    let keys = if load.keys.is_empty() {
        BTreeMap::new()
    } else {
        correlation::find(connection, saga, &load.keys).await?
    };
    let asked: BTreeSet<InstanceId> =
        load.instances.iter().copied().chain(keys.values().map(|row| row.instance)).collect();
    let (mut found, mut waiting) = (Vec::new(), BTreeMap::new());
    if !asked.is_empty() {
        found = instances::find(connection, saga, &asked).await?;
        waiting = parked::waiting(connection, saga, &asked).await?;
    }
    let (mut seen, mut parked) = (BTreeMap::new(), BTreeMap::new());
    if !load.messages.is_empty() {
        seen = journal::find(connection, saga, &load.messages).await?;
        parked = parked::find(connection, saga, &load.messages).await?;
    }
    let (mut instances, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
    for (id, read) in found {
        match read {
            Ok((instance, _)) => drop(instances.insert(id, instance)),
            Err(error) => drop(unreadable.insert(id, error.to_string())),
        }
    }
    Ok(Loaded { endpoint, instances, unreadable, keys, journal: seen, parked, waiting })
}
