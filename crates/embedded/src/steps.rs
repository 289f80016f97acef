//! A saga's purge steps: its own statements on its own tables, in the verb's transaction.

use knarr_model::incident::StepDone;
use knarr_model::ports::guard::Statement;
use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::error::Error;

/// Runs the steps in order and says what each touched.
pub(crate) async fn run(
    connection: &mut SqliteConnection,
    steps: &[Statement],
) -> Result<Vec<StepDone>, Error> {
    let mut done = Vec::with_capacity(steps.len());
    for step in steps {
        let rows = one(connection, step).await.map_err(|error| named(step, error))?;
        done.push(StepDone { name: step.name.clone(), rows });
    }
    Ok(done)
}

async fn one(connection: &mut SqliteConnection, step: &Statement) -> Result<u64, Error> {
    // The statement is the saga author's own, fixed where the saga is defined; what varies is bound.
    let mut query = sqlx::query(AssertSqlSafe(step.text.sqlite.clone()));
    for parameter in &step.parameters {
        query = bind(query, parameter)?;
    }
    Ok(query.execute(connection).await?.rows_affected())
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

fn bind<'q>(query: Bound<'q>, parameter: &Value) -> Result<Bound<'q>, Error> {
    Ok(match parameter {
        Value::Null => query.bind(None::<String>),
        Value::Bool(flag) => query.bind(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => query.bind(whole),
            (None, Some(real)) => query.bind(real),
            (None, None) => return Err(Error::Data(format!("{number} cannot be bound"))),
        },
        Value::String(text) => query.bind(text.clone()),
        other => query.bind(other.to_string()),
    })
}

/// A step that is wrong is wrong data, not a broken store; one that the store could not carry out
/// for now may be tried again.
fn named(step: &Statement, error: Error) -> Error {
    let name = &step.name;
    match error {
        Error::Away(text) => Error::Away(format!("purge step `{name}`: {text}")),
        other => Error::Data(format!("purge step `{name}`: {other}")),
    }
}
