//! Purge steps: a saga's own statements, within the guard's transaction.

use knarr_model::incident::StepDone;
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::Statement;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::error::Failed;
use crate::rows::Query;

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
        // The statement is the saga's author's; what messages say comes as parameters only. Its
        // plan is not kept: the tables are not ours, and may change.
        let query = sqlx::query(AssertSqlSafe(step.text.postgres.clone())).persistent(false);
        let query = step.parameters.iter().fold(query, bind);
        let touched = query.execute(&mut *connection).await.map_err(|error| named(step, error))?;
        done.push(StepDone { name: step.name.clone(), rows: touched.rows_affected() });
    }
    Ok(done)
}

/// Whole numbers are bound as `bigint`, others as `double precision`, lists and objects as JSON
/// text.
fn bind(query: Query, value: &Value) -> Query {
    match value {
        Value::Null => query.bind(None::<String>),
        Value::Bool(value) => query.bind(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => query.bind(whole),
            None => query.bind(number.as_f64()),
        },
        Value::String(text) => query.bind(text.clone()),
        Value::Array(_) | Value::Object(_) => query.bind(value.to_string()),
    }
}

/// What is nobody's fault stays so; anything else is the step's.
fn named(step: &Statement, error: sqlx::Error) -> Failed {
    let failed = Failed::Sql(error);
    if failed.lost_to_another() || !failed.spares_connection() {
        return failed;
    }
    match failed.classed() {
        error if error.is_transient() => Failed::Other(error),
        error => Failed::Other(StoreError::Data(format!("purge step `{}`: {error}", step.name))),
    }
}
