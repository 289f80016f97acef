//! Purge steps: a saga's own statements, within the guard's transaction.

use knarr_model::incident::StepDone;
use knarr_model::ports::guard::Statement;
use sqlx::PgConnection;

use crate::error::Failed;
use crate::statements;

/// Carries steps out in order and says how many rows each touched.
///
/// # Errors
/// A step that the server refuses is named in an error of the data.
pub(crate) async fn run(
    connection: &mut PgConnection,
    steps: &[Statement],
) -> Result<Vec<StepDone>, Failed> {
    let mut done = Vec::with_capacity(steps.len());
    for step in steps {
        let rows = statements::carry_out(&mut *connection, step).await?;
        done.push(StepDone { name: step.name.clone(), rows });
    }
    Ok(done)
}
