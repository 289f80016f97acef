//! Purge: an instance becomes its tombstone, and nothing of its run is left to happen.

use knarr_model::ids::InstanceId;
use sqlx::PgConnection;

use crate::error::Failed;
use crate::{activities, correlation, instances, origins, outbox, parked, timers};

/// Empties an instance and withdraws what waits for it. The fence must be closed. `false` if there
/// is no such instance.
pub(crate) async fn purge(
    connection: &mut PgConnection,
    endpoint: &str,
    saga: &str,
    instance: InstanceId,
) -> Result<bool, Failed> {
    if !instances::empty(&mut *connection, saga, instance).await? {
        return Ok(false);
    }
    delete_around(connection, endpoint, saga, instance, None).await?;
    Ok(true)
}

/// Deletes what waits for an instance, and the unsent messages of one run or of all. The fence must
/// be closed.
pub(crate) async fn delete_around(
    connection: &mut PgConnection,
    endpoint: &str,
    saga: &str,
    instance: InstanceId,
    run: Option<u32>,
) -> Result<(), Failed> {
    timers::delete_of_instance(&mut *connection, saga, instance).await?;
    activities::delete_of_instance(&mut *connection, saga, instance).await?;
    parked::delete_of_instance(&mut *connection, saga, instance).await?;
    correlation::delete_of_instance(&mut *connection, saga, instance).await?;
    origins::delete_of_instance(&mut *connection, saga, instance).await?;
    outbox::withdraw(connection, endpoint, instance, run).await
}
