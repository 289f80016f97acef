//! What a verb of the guard sees, read inside the writer's transaction: nobody else writes meanwhile.

use knarr_model::ids::{InstanceId, Name};
use knarr_model::incident::Whole;
use knarr_model::ports::guard::{Ask, Scene};
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::{
    activities, audit, blocks, correlation, endpoints, incidents, instances, internal, journal,
    outbox, parked, quarantine, snapshots, timers,
};

/// Reads the scene; the endpoint's row is made if there was none.
pub(crate) async fn look(connection: &mut SqliteConnection, ask: &Ask) -> Result<Scene, Error> {
    let endpoint = endpoints::make(connection, &ask.endpoint).await?;
    let whole = match &ask.instance {
        Some((saga, id)) => whole(connection, &ask.endpoint, saga, *id).await?,
        None => None,
    };
    let incident = match ask.incident {
        Some(id) => incidents::one(connection, id).await?,
        None => incidents::oldest(connection, &ask.endpoint).await?,
    };
    let snapshot = match &incident {
        Some(incident) => snapshots::one(connection, incident.id).await?,
        None => None,
    };
    let mut quarantined = Vec::with_capacity(ask.quarantined.len());
    for id in &ask.quarantined {
        quarantined.extend(quarantine::one(connection, *id).await?);
    }
    Ok(Scene {
        endpoint,
        whole,
        incident,
        snapshot,
        quarantined,
        blocks: blocks::of_messages(connection, &ask.quarantined).await?,
        repeated: match &ask.key {
            Some(key) => audit::by_key(connection, key).await?,
            None => None,
        },
        owned: match ask.row {
            Some(row) => internal::is_own(connection, ask.node, row).await?,
            None => true,
        },
    })
}

/// A run with everything around it. What cannot be read is an error: it would be lost.
async fn whole(
    connection: &mut SqliteConnection,
    endpoint: &Name,
    saga: &Name,
    id: InstanceId,
) -> Result<Option<Whole>, Error> {
    let found = instances::find(connection, saga, [&id]).await?;
    let Some((_, read)) = found.into_iter().next() else { return Ok(None) };
    let (instance, _) = read?;
    let run = instance.run;
    let (calls, ended) = activities::all_of_instance(connection, saga, id).await?;
    Ok(Some(Whole {
        instance,
        origin: journal::origin(connection, saga, id, run).await?,
        keys: correlation::of_instance(connection, saga, id).await?,
        timers: timers::all_of_instance(connection, saga, id).await?,
        calls,
        ended,
        parked: parked::all_of_instance(connection, saga, id).await?,
        unsent: outbox::unsent(connection, endpoint, id, run).await?,
    }))
}
