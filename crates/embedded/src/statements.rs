//! A saga's statements on its own tables: one at a time, each value as SQLite knows it.

use knarr_model::statement::Statement;
use serde_json::Value;
use sqlx::sqlite::SqliteArguments;
use sqlx::{
    Arguments, AssertSqlSafe, Either, Executor, SqlSafeStr, SqliteConnection, Statement as _,
};

use crate::error::Error;

/// Carries one statement out; returns how many rows it touched.
///
/// # Errors
/// What is not the file's own trouble is an error of the data that names the statement.
pub(crate) async fn carry_out(
    connection: &mut SqliteConnection,
    statement: &Statement,
) -> Result<u64, Error> {
    // The text is the application's own: the machine's table is part of its program.
    let text = AssertSqlSafe(statement.text.sqlite.as_str()).into_sql_str();
    let named = |error: sqlx::Error| Error::of_statement(&statement.name, error);
    let prepared = (&mut *connection).prepare(text).await.map_err(named)?;
    let given = statement.parameters.len();
    let takes = match prepared.parameters() {
        Some(Either::Right(takes)) => takes,
        _ => 0,
    };
    if takes > given {
        // SQLite itself would take them for NULL.
        let name = &statement.name;
        let text = format!("statement `{name}`: it takes {takes} parameters, {given} were given");
        return Err(Error::Data(text));
    }
    let arguments = bind(&statement.parameters)
        .map_err(|why| Error::Data(format!("statement `{}`: {why}", statement.name)))?;
    let done = prepared.query_with(arguments).execute(connection).await.map_err(named)?;
    Ok(done.rows_affected())
}

fn bind(values: &[Value]) -> Result<SqliteArguments, String> {
    let mut arguments = SqliteArguments::default();
    for (at, value) in values.iter().enumerate() {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Bool(value) => arguments.add(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => arguments.add(whole),
                (None, Some(real)) if !number.is_u64() => arguments.add(real),
                _ => return Err(format!("parameter {}: {number} does not fit", at + 1)),
            },
            Value::String(text) => arguments.add(text.clone()),
            Value::Array(_) | Value::Object(_) => arguments.add(value.to_string()),
        };
        added.map_err(|error| format!("parameter {}: {error}", at + 1))?;
    }
    Ok(arguments)
}
