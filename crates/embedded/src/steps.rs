//! A saga's purge steps: its own statements on its own tables, in the verb's transaction.

use knarr_model::incident::StepDone;
use knarr_model::ports::guard::Statement;
use sqlx::SqliteConnection;

use crate::error::Error;
use crate::statements;

/// Runs the steps in order and says what each touched.
pub(crate) async fn run(
    connection: &mut SqliteConnection,
    steps: &[Statement],
) -> Result<Vec<StepDone>, Error> {
    let mut done = Vec::with_capacity(steps.len());
    for step in steps {
        let rows = statements::carry_out(&mut *connection, step).await?;
        done.push(StepDone { name: step.name.clone(), rows });
    }
    Ok(done)
}
