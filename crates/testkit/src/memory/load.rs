//! What a batch asks for before it decides.

use std::collections::{BTreeMap, BTreeSet};

use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::ports::StoreError;
use knarr_model::ports::store::{Load, Loaded, Waiting};

use super::rows::Rows;

pub(super) fn load(rows: &Rows, load: &Load) -> Result<Loaded, StoreError> {
    let endpoint =
        rows.endpoint.get(&load.endpoint).cloned().ok_or_else(|| {
            StoreError::Fatal(format!("endpoint `{}` has no row yet", load.endpoint))
        })?;
    let saga = &load.saga;
    let keys: BTreeMap<_, _> = load
        .keys
        .iter()
        .filter_map(|key| Some((key.clone(), *rows.correlation.get(&(saga.clone(), key.clone()))?)))
        .collect();
    let asked: BTreeSet<InstanceId> =
        load.instances.iter().copied().chain(keys.values().map(|row| row.instance)).collect();
    let spoilt = |id: &&InstanceId| rows.spoilt.contains(id);
    let unreadable = asked.iter().filter(spoilt).map(|id| (*id, "it was spoilt".to_owned()));
    let unreadable = unreadable.collect();
    let instances = asked
        .iter()
        .filter(|id| !spoilt(id))
        .filter_map(|id| Some((*id, rows.instance.get(&(saga.clone(), *id))?.instance.clone())))
        .collect();
    let journal = load
        .messages
        .iter()
        .filter_map(|id| {
            let row = &rows.journal.get(&(saga.clone(), *id))?.row;
            Some((*id, (row.digest, row.outcome)))
        })
        .collect();
    let messages: BTreeSet<MessageId> = load.messages.iter().copied().collect();
    let mut parked = BTreeMap::new();
    let mut waiting: BTreeMap<InstanceId, Waiting> = BTreeMap::new();
    let mut last: BTreeMap<InstanceId, i64> = BTreeMap::new();
    let mut ordered: Vec<_> =
        rows.parked.values().map(|held| &held.row).filter(|row| row.saga == *saga).collect();
    ordered.sort_by_key(|row| (row.seq, row.id));
    for row in ordered {
        if messages.contains(&row.message_id) {
            parked.insert(row.message_id, (row.digest, row.id));
        }
        let Some(instance) = row.instance.filter(|id| asked.contains(id)) else { continue };
        last.insert(instance, row.seq);
        if row.reason.blocks() {
            waiting
                .entry(instance)
                .or_insert(Waiting { rows: 0, first_seq: row.seq, last_seq: 0, due_at: row.due_at })
                .rows += 1;
        }
    }
    for (instance, entry) in &mut waiting {
        entry.last_seq = last.get(instance).copied().unwrap_or(0);
    }
    Ok(Loaded { endpoint, instances, unreadable, keys, journal, parked, waiting })
}
