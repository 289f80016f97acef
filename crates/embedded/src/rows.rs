//! Between Rust values and SQLite columns: ids are bytes, instants microseconds, lists JSON arrays.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use knarr_model::{Digest, Name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;
use uuid::fmt::Simple;

use crate::error::Error;

/// A parameter for `json_each`: the rows of one statement.
pub(crate) fn json<T: Serialize + ?Sized>(rows: &T) -> Result<String, Error> {
    serde_json::to_string(rows).map_err(|error| Error::Data(format!("cannot be stored: {error}")))
}

/// As [`json`], `None` for an empty list: then the statement is left out.
pub(crate) fn some_json<T: Serialize>(rows: &[T]) -> Result<Option<String>, Error> {
    if rows.is_empty() { Ok(None) } else { json(rows).map(Some) }
}

/// An id inside a JSON parameter; SQL reads it with `unhex`.
pub(crate) fn hex(id: Uuid) -> Simple {
    id.simple()
}

/// Ids as a JSON parameter.
pub(crate) fn ids<'a>(ids: impl IntoIterator<Item = &'a Uuid>) -> Result<String, Error> {
    json(&ids.into_iter().map(|id| id.simple()).collect::<Vec<_>>())
}

/// Bytes inside a JSON parameter; SQL reads them with `unhex`.
pub(crate) fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(half), 16));
        }
        text
    })
}

/// An instant as it is stored.
pub(crate) fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// A column.
pub(crate) fn get<'r, T>(row: &'r SqliteRow, at: usize) -> Result<T, Error>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(at).map_err(Error::from)
}

/// A whole number that must fit its type.
pub(crate) fn whole<T: TryFrom<i64>>(row: &SqliteRow, at: usize) -> Result<T, Error> {
    let number: i64 = get(row, at)?;
    T::try_from(number).map_err(|_| Error::Data(format!("column {at}: {number} is out of range")))
}

/// An id.
pub(crate) fn id<T: From<Uuid>>(row: &SqliteRow, at: usize) -> Result<T, Error> {
    get::<Uuid>(row, at).map(T::from)
}

/// An id that may be absent.
pub(crate) fn some_id<T: From<Uuid>>(row: &SqliteRow, at: usize) -> Result<Option<T>, Error> {
    Ok(get::<Option<Uuid>>(row, at)?.map(T::from))
}

/// A name.
pub(crate) fn name(row: &SqliteRow, at: usize) -> Result<Name, Error> {
    get::<String>(row, at).map(Name::from)
}

/// An instant.
pub(crate) fn instant(row: &SqliteRow, at: usize) -> Result<DateTime<Utc>, Error> {
    let number = get(row, at)?;
    DateTime::from_timestamp_micros(number)
        .ok_or_else(|| Error::Data(format!("column {at}: {number} is no instant")))
}

/// An instant that may be absent.
pub(crate) fn some_instant(row: &SqliteRow, at: usize) -> Result<Option<DateTime<Utc>>, Error> {
    if get::<Option<i64>>(row, at)?.is_none() { Ok(None) } else { instant(row, at).map(Some) }
}

/// A digest.
pub(crate) fn digest(row: &SqliteRow, at: usize) -> Result<Digest, Error> {
    Digest::from_slice(&get::<Vec<u8>>(row, at)?)
        .ok_or_else(|| Error::Data(format!("column {at} is no digest")))
}

/// A word that stands for a variant.
pub(crate) fn word<T: FromStr>(row: &SqliteRow, at: usize) -> Result<T, Error>
where
    T::Err: Display,
{
    let text: String = get(row, at)?;
    text.parse().map_err(|error: T::Err| Error::Data(error.to_string()))
}

/// A column that holds JSON.
pub(crate) fn from_json<T: DeserializeOwned>(row: &SqliteRow, at: usize) -> Result<T, Error> {
    parse(&get::<String>(row, at)?, at)
}

/// A column that may hold JSON.
pub(crate) fn some_json_column<T: DeserializeOwned>(
    row: &SqliteRow,
    at: usize,
) -> Result<Option<T>, Error> {
    get::<Option<String>>(row, at)?.map(|text| parse(&text, at)).transpose()
}

/// A column that holds JSON which is not decoded.
pub(crate) fn raw(row: &SqliteRow, at: usize) -> Result<std::sync::Arc<RawValue>, Error> {
    RawValue::from_string(get(row, at)?)
        .map(Into::into)
        .map_err(|error| Error::Data(format!("column {at}: {error}")))
}

fn parse<T: DeserializeOwned>(text: &str, at: usize) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Data(format!("column {at}: {error}")))
}

/// The rows that can be read; one that cannot is reported and never hides the others.
pub(crate) fn readable<T>(
    what: &str,
    rows: &[SqliteRow],
    read: impl Fn(&SqliteRow) -> Result<T, Error>,
) -> Vec<T> {
    rows.iter()
        .filter_map(|row| match read(row) {
            Ok(value) => Some(value),
            Err(error) => {
                let id = get::<Uuid>(row, 0).map(|id| id.to_string()).unwrap_or_default();
                tracing::error!(%error, id, "a stored {what} cannot be read and is passed over");
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_hex_that_sqlite_reads() {
        assert_eq!(hex_bytes(&[0, 15, 0xa0, 255]), "000fa0ff");
    }
}
