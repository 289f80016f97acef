//! Brings the file's schema up to date, and refuses files that are not ours or too new.

use std::path::Path;

use sqlx::{Row, SqliteConnection};

use crate::error::Error;

/// Written into the file's header so that a foreign SQLite file is recognised: "knrr".
const APPLICATION: i64 = 0x6b6e_7272;
const SET_APPLICATION: &str = "PRAGMA application_id = 1802400370";

/// Each step's tables, and the statement that records it in the same transaction.
const STEPS: &[(&str, &str)] = &[
    (include_str!("../migrations/0001_store.sql"), "PRAGMA user_version = 1"),
    (include_str!("../migrations/0002_transport.sql"), "PRAGMA user_version = 2"),
];

/// Brings the schema to the newest step.
pub(crate) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let (found, fresh) = look(connection, path).await?;
    if fresh {
        sqlx::query(SET_APPLICATION).execute(&mut *connection).await?;
    }
    for (tables, record) in STEPS.iter().skip(found.max(0) as usize) {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        sqlx::raw_sql(*tables).execute(&mut *connection).await?;
        sqlx::query(*record).execute(&mut *connection).await?;
        sqlx::query("COMMIT").execute(&mut *connection).await?;
    }
    Ok(())
}

/// Refuses a schema that is not at the newest step.
pub(crate) async fn verify(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let (found, _) = look(connection, path).await?;
    let needed = STEPS.len() as i64;
    if found == needed {
        return Ok(());
    }
    Err(Error::Older { path: path.to_owned(), found, needed })
}

/// The schema's step, and whether the file is new; refuses what is not ours or too new.
async fn look(connection: &mut SqliteConnection, path: &Path) -> Result<(i64, bool), Error> {
    let known = STEPS.len() as i64;
    let found = number(connection, "PRAGMA user_version").await?;
    let application = number(connection, "PRAGMA application_id").await?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
    let fresh = found == 0 && tables == 0;
    if !fresh && application != APPLICATION {
        let why = "it is a SQLite file of another program".to_owned();
        return Err(Error::Unusable { path: path.to_owned(), why });
    }
    if found > known {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    Ok((found, fresh))
}

/// Refuses a file that would lose commits: no write-ahead log, or no fsync per commit.
pub(crate) async fn check_durability(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), Error> {
    let mode: String =
        sqlx::query("PRAGMA journal_mode").fetch_one(&mut *connection).await?.try_get(0)?;
    let synchronous = number(connection, "PRAGMA synchronous").await?;
    if mode.eq_ignore_ascii_case("wal") && synchronous >= 2 {
        return Ok(());
    }
    let why =
        format!("journal_mode is `{mode}` and synchronous is {synchronous}, not WAL and FULL");
    Err(Error::Unusable { path: path.to_owned(), why })
}

async fn number(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, Error> {
    Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_application_id_is_the_one_that_is_checked() {
        assert_eq!(SET_APPLICATION, format!("PRAGMA application_id = {APPLICATION}"));
        for (at, (_, record)) in STEPS.iter().enumerate() {
            assert_eq!(*record, format!("PRAGMA user_version = {}", at + 1));
        }
    }
}
