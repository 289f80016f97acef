//! What a verb of the guard sees: rows around the instance are locked until it ends.

use knarr_model::ids::{InstanceId, Name};
use knarr_model::incident::Whole;
use knarr_model::ports::guard::{Ask, Scene};
use knarr_model::work::{ClaimedRow, RowKind};
use sqlx::PgConnection;

use crate::error::Failed;
use crate::{activities, audit, blocks, correlation, endpoints, incidents, instances, origins};
use crate::{outbox, parked, quarantine, timers};

/// Recording an answer and claiming need no fence: the row is held as it was found.
const OWNED_TIMER: &str =
    "SELECT id FROM timer WHERE id = $1 AND node = $2 AND claims = $3 FOR UPDATE";
const OWNED_CALL: &str = "SELECT id FROM activity WHERE id = $1 AND node = $2 AND claims = $3 AND ended IS NOT NULL FOR UPDATE";
const OWNED_PARKED: &str =
    "SELECT id FROM parked WHERE id = $1 AND node = $2 AND claims = $3 FOR UPDATE";

/// Reads what was asked for. The fence must be closed.
pub(crate) async fn look(connection: &mut PgConnection, ask: &Ask) -> Result<Scene, Failed> {
    let endpoint = endpoints::find_or_make(&mut *connection, &ask.endpoint).await?;
    let whole = match &ask.instance {
        Some((saga, id)) => whole(&mut *connection, &ask.endpoint, saga, *id).await?,
        None => None,
    };
    let incident = match ask.incident {
        Some(id) => incidents::lock(&mut *connection, id).await?,
        None => incidents::lock_oldest(&mut *connection, &ask.endpoint).await?,
    };
    let snapshot = match &incident {
        Some(incident) => incidents::snapshot(&mut *connection, incident.id).await?,
        None => None,
    };
    let repeated = match &ask.key {
        Some(key) => audit::by_key(&mut *connection, key).await?,
        None => None,
    };
    let quarantined = quarantine::lock(&mut *connection, &ask.quarantined).await?;
    let blocks = blocks::of_messages(&mut *connection, &ask.quarantined).await?;
    let owned = owned(connection, ask).await?;
    Ok(Scene { endpoint, whole, incident, snapshot, quarantined, blocks, repeated, owned })
}

/// A run with everything around it.
async fn whole(
    connection: &mut PgConnection,
    endpoint: &str,
    saga: &Name,
    id: InstanceId,
) -> Result<Option<Whole>, Failed> {
    let Some(instance) = instances::lock(&mut *connection, saga, id).await? else {
        return Ok(None);
    };
    let run = instance.run;
    let (calls, ended) = activities::lock_of_instance(&mut *connection, saga, id).await?;
    Ok(Some(Whole {
        origin: origins::one(&mut *connection, saga, id, run).await?,
        keys: correlation::lock_of_instance(&mut *connection, saga, id).await?,
        timers: timers::lock_of_instance(&mut *connection, saga, id).await?,
        calls,
        ended,
        parked: parked::lock_of_instance(&mut *connection, saga, id).await?,
        unsent: outbox::unsent(connection, endpoint, id, run).await?,
        instance,
    }))
}

/// Whether the internal delivery asked for, if any, is there and the asking node's.
async fn owned(connection: &mut PgConnection, ask: &Ask) -> Result<bool, Failed> {
    let Some(ClaimedRow { kind, id, claims }) = ask.row else { return Ok(true) };
    let sql = match kind {
        RowKind::Timer => OWNED_TIMER,
        RowKind::Call => OWNED_CALL,
        RowKind::Parked => OWNED_PARKED,
    };
    let query = sqlx::query(sql).bind(id.0).bind(ask.node.0).bind(claims);
    let found = query.fetch_optional(connection).await?;
    Ok(found.is_some())
}
