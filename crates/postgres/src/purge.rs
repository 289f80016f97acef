//! Purge: of a run that is emptied nothing is left to happen.

use knarr_model::ids::InstanceId;
use sqlx::PgConnection;

use crate::error::Failed;
use crate::{activities, correlation, origins, outbox, parked, timers};

/// Deletes what waits for an instance, and the unsent messages of a run. The fence must be
/// closed.
pub(crate) async fn delete_around(
    connection: &mut PgConnection,
    endpoint: &str,
    saga: &str,
    instance: InstanceId,
    run: u32,
) -> Result<(), Failed> {
    timers::delete_of_instance(&mut *connection, saga, instance).await?;
    activities::delete_of_instance(&mut *connection, saga, instance).await?;
    parked::delete_of_instance(&mut *connection, saga, instance).await?;
    correlation::delete_of_instance(&mut *connection, saga, instance).await?;
    origins::delete_of_instance(&mut *connection, saga, instance).await?;
    outbox::withdraw(connection, endpoint, instance, run).await
}
