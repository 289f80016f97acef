//! A saga's statements on its own tables: one at a time, each parameter as the type that the server names.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use knarr_model::ports::StoreError;
use knarr_model::statement::Statement;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::postgres::{PgArguments, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{
    Arguments, AssertSqlSafe, Either, Encode, Executor, PgConnection, Postgres, SqlSafeStr,
    Statement as _, Type, TypeInfo,
};
use uuid::Uuid;

use crate::error::{Failed, is_infrastructure};

/// Carries one statement out; returns how many rows it touched.
///
/// # Errors
/// What is not the server's own trouble is an error of the data that names the statement.
pub(crate) async fn carry_out(
    connection: &mut PgConnection,
    statement: &Statement,
) -> Result<u64, Failed> {
    // The text is the application's own: the machine's table is part of its program.
    let text = AssertSqlSafe(statement.text.postgres.as_str()).into_sql_str();
    let named = |error: sqlx::Error| classed(&statement.name, error);
    // Prepared without types, so that the server names them; kept by the connection.
    let prepared = (&mut *connection).prepare(text).await.map_err(named)?;
    let arguments = {
        let types = match prepared.parameters() {
            Some(Either::Left(types)) => types,
            _ => &[],
        };
        bind(types, &statement.parameters).map_err(|why| data(&statement.name, &why))?
    };
    let done = prepared.query_with(arguments).execute(connection).await.map_err(named)?;
    Ok(done.rows_affected())
}

fn classed(name: &str, error: sqlx::Error) -> Failed {
    if is_infrastructure(&error) {
        return Failed::Sql(error);
    }
    data(name, &crate::error::told(&error))
}

fn data(name: &str, why: &str) -> Failed {
    Failed::Other(StoreError::Data(format!("statement `{name}`: {why}")))
}

/// The values as the types that the statement takes; the last ones may be left unused.
fn bind(types: &[PgTypeInfo], values: &[Value]) -> Result<PgArguments, String> {
    if types.len() > values.len() {
        return Err(format!("it takes {} parameters, {} were given", types.len(), values.len()));
    }
    let mut arguments = PgArguments::default();
    for (at, (kind, value)) in types.iter().zip(values).enumerate() {
        add(&mut arguments, kind.name(), value)
            .map_err(|why| format!("parameter {}: {why}", at + 1))?;
    }
    Ok(arguments)
}

fn add(to: &mut PgArguments, kind: &str, value: &Value) -> Result<(), String> {
    match kind {
        "BOOL" => one::<bool>(to, kind, value),
        "INT2" => one::<i16>(to, kind, value),
        "INT4" => one::<i32>(to, kind, value),
        "INT8" => one::<i64>(to, kind, value),
        "FLOAT4" => one::<f32>(to, kind, value),
        "FLOAT8" => one::<f64>(to, kind, value),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" => one::<String>(to, kind, value),
        "UUID" => one::<Uuid>(to, kind, value),
        "TIMESTAMPTZ" => one::<DateTime<Utc>>(to, kind, value),
        "TIMESTAMP" => one::<NaiveDateTime>(to, kind, value),
        "DATE" => one::<NaiveDate>(to, kind, value),
        "JSON" | "JSONB" => put(to, Some(Json(value.clone())).filter(|_| !value.is_null())),
        "BOOL[]" => one::<Vec<Option<bool>>>(to, kind, value),
        "INT4[]" => one::<Vec<Option<i32>>>(to, kind, value),
        "INT8[]" => one::<Vec<Option<i64>>>(to, kind, value),
        "FLOAT8[]" => one::<Vec<Option<f64>>>(to, kind, value),
        "TEXT[]" | "VARCHAR[]" => one::<Vec<Option<String>>>(to, kind, value),
        "UUID[]" => one::<Vec<Option<Uuid>>>(to, kind, value),
        "TIMESTAMPTZ[]" => one::<Vec<Option<DateTime<Utc>>>>(to, kind, value),
        // `numeric`, enumerations and others are read from text by the server itself.
        other => Err(format!("type {other} cannot be given as it is: cast a text, $n::text::type")),
    }
}

/// One value as a `T`, or NULL.
fn one<T>(to: &mut PgArguments, kind: &str, value: &Value) -> Result<(), String>
where
    T: DeserializeOwned + for<'q> Encode<'q, Postgres> + Type<Postgres>,
{
    let typed: Option<T> = serde_json::from_value(value.clone())
        .map_err(|error| format!("its value does not fit type {kind}: {error}"))?;
    put(to, typed)
}

fn put<T>(to: &mut PgArguments, value: Option<T>) -> Result<(), String>
where
    T: for<'q> Encode<'q, Postgres> + Type<Postgres>,
{
    to.add(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_does_not_fit_its_type_says_which_and_why() {
        for (kind, value) in [
            ("INT4", json!(3_000_000_000_u64)),
            ("INT8", json!(1.5)),
            ("UUID", json!("no id")),
            ("TEXT", json!(7)),
            ("TIMESTAMPTZ", json!("yesterday")),
            ("INT8[]", json!(["a"])),
        ] {
            let why = add(&mut PgArguments::default(), kind, &value).expect_err(kind);
            assert!(why.contains(kind), "{why}");
        }
        let why = add(&mut PgArguments::default(), "NUMERIC", &json!(1)).expect_err("numeric");
        assert!(why.contains("NUMERIC") && why.contains("::text::"), "{why}");
    }

    #[test]
    fn every_known_type_takes_null() {
        for kind in ["BOOL", "INT2", "FLOAT4", "TEXT", "UUID", "DATE", "JSONB", "UUID[]"] {
            add(&mut PgArguments::default(), kind, &Value::Null).expect(kind);
        }
    }
}
