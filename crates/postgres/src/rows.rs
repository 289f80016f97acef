//! Reading columns: from a stored row to a value of the model, and what to do with unreadable rows.

use std::borrow::Cow;
use std::sync::Arc;

use knarr_model::digest::Digest;
use knarr_model::ports::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;

/// A statement with parameters.
pub(crate) type Query = sqlx::query::Query<'static, Postgres, PgArguments>;

/// A column as it is.
pub(crate) fn get<'r, T>(row: &'r PgRow, column: &str) -> Result<T, String>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(|error| error.to_string())
}

/// Stands before the character that stands for NUL or for itself.
const ESCAPE: char = '\u{1}';

/// Text as Postgres can keep it. Its text has no NUL, ours may: type names and error texts come
/// from other people's messages. NUL becomes `\u{1}0` and `\u{1}` becomes `\u{1}1`.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => plain.extend([ESCAPE, '0']),
            ESCAPE => plain.extend([ESCAPE, '1']),
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// The text that `plain` was made of.
fn from_plain(text: &str) -> String {
    let mut own = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(ESCAPE) {
        own.push_str(before);
        own.push(if after.starts_with('0') { '\0' } else { ESCAPE });
        rest = after.get(1..).unwrap_or_default();
    }
    own.push_str(rest);
    own
}

/// A text column that `plain` was written to.
pub(crate) fn text(row: &PgRow, column: &str) -> Result<String, String> {
    get::<&str>(row, column).map(from_plain)
}

/// A text column that `plain` may have been written to.
pub(crate) fn maybe_text(row: &PgRow, column: &str) -> Result<Option<String>, String> {
    Ok(get::<Option<&str>>(row, column)?.map(from_plain))
}

/// A column that counts.
pub(crate) fn count(row: &PgRow, column: &str) -> Result<u32, String> {
    let value: i64 = get(row, column)?;
    u32::try_from(value).map_err(|_| format!("column {column} holds {value}"))
}

/// A text column that holds JSON.
pub(crate) fn json<T: DeserializeOwned>(row: &PgRow, column: &str) -> Result<T, String> {
    from_json(get(row, column)?).map_err(|error| format!("column {column}: {error}"))
}

/// A text column that may hold JSON.
pub(crate) fn maybe_json<T: DeserializeOwned>(
    row: &PgRow,
    column: &str,
) -> Result<Option<T>, String> {
    get::<Option<&str>>(row, column)?
        .map(from_json)
        .transpose()
        .map_err(|error| format!("column {column}: {error}"))
}

/// A text column that holds JSON which is kept as text.
pub(crate) fn raw(row: &PgRow, column: &str) -> Result<Arc<RawValue>, String> {
    json::<Box<RawValue>>(row, column).map(Arc::from)
}

/// A column that holds one of the words of `T`.
pub(crate) fn word<T>(row: &PgRow, column: &str) -> Result<T, String>
where
    T: std::str::FromStr<Err = String>,
{
    get::<&str>(row, column)?.parse()
}

/// A column that holds a digest.
pub(crate) fn digest(row: &PgRow, column: &str) -> Result<Digest, String> {
    let bytes: &[u8] = get(row, column)?;
    Digest::from_slice(bytes).ok_or_else(|| format!("column {column} holds {} bytes", bytes.len()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text)
}

/// A value as JSON text.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Data(error.to_string()))
}

/// The rows that can be read. Each of the others is named and left out: one bad row never hides
/// its neighbours.
pub(crate) fn readable<T>(
    rows: &[PgRow],
    table: &'static str,
    read: impl Fn(&PgRow) -> Result<T, String>,
) -> Vec<T> {
    let named = |row: &PgRow| {
        get::<Uuid>(row, "id").map_or_else(|_| "(no id)".to_owned(), |id| id.to_string())
    };
    rows.iter()
        .filter_map(|row| match read(row) {
            Ok(value) => Some(value),
            Err(error) => {
                tracing::warn!(table, row = %named(row), %error, "a stored row cannot be read");
                None
            }
        })
        .collect()
}

/// All rows, for what may leave none out.
pub(crate) fn all<T>(
    rows: &[PgRow],
    table: &'static str,
    read: impl Fn(&PgRow) -> Result<T, String>,
) -> Result<Vec<T>, StoreError> {
    rows.iter()
        .map(|row| {
            read(row).map_err(|error| {
                let id = get::<Uuid>(row, "id").unwrap_or_default();
                unreadable(table, id, &error)
            })
        })
        .collect()
}

/// An error for a row without which nothing can go on.
pub(crate) fn unreadable(table: &str, id: impl std::fmt::Display, error: &str) -> StoreError {
    StoreError::Data(format!("{table} {id} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_and_none_holds_a_nul() {
        for text in ["", "a", "\0", "\u{1}", "a\0b\u{1}\0", "\u{1}0", "\u{1}1", "é\0🐟"] {
            let plain = plain(text);
            assert!(!plain.contains('\0'), "{text:?}");
            assert_eq!(from_plain(&plain), text);
        }
        assert!(matches!(plain("usual"), Cow::Borrowed(_)));
    }
}
