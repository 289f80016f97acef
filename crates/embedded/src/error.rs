//! What can go wrong with the file, classed where it arises.

use std::path::PathBuf;

use knarr_model::Name;
use knarr_model::ports::StoreError;
use knarr_model::statement::Script;

/// What went wrong with the embedded store or transport.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process works on the file.
    #[error(
        "{} is in use by {holder}; one process at a time may work on an embedded store",
        path.display()
    )]
    Locked {
        /// The SQLite file.
        path: PathBuf,
        /// Who has it, as far as known.
        holder: String,
    },
    /// The file was written by a newer Knarr.
    #[error(
        "{} is at schema version {found}, this Knarr knows versions up to {known}: start the newer \
         Knarr that migrated it; the way back is a restore",
        path.display()
    )]
    Newer {
        /// The SQLite file.
        path: PathBuf,
        /// The schema in the file.
        found: i64,
        /// The newest schema this code knows.
        known: i64,
    },
    /// The schema needs migrating, and opening may not do it.
    #[error(
        "{} is at schema version {found}, version {needed} is needed: run `migrate`",
        path.display()
    )]
    Older {
        /// The SQLite file.
        path: PathBuf,
        /// The schema in the file; 0 if there is none, or no file.
        found: i64,
        /// The schema needed.
        needed: i64,
    },
    /// The file is not one of ours, or its settings cannot be had.
    #[error("{} cannot be used: {why}", path.display())]
    Unusable {
        /// The SQLite file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A saga's migration was changed after it had been applied.
    #[error(
        "saga {saga}: migration `{name}` was applied on {at} with another text. One that has been \
         applied is never changed: restore it, and add another"
    )]
    ChangedMigration {
        /// The saga.
        saga: Name,
        /// The migration.
        name: String,
        /// When it was applied.
        at: String,
    },
    /// A saga's migration has not been applied, and opening may not do it.
    #[error("saga {saga}: migration `{name}` has not been applied: run `migrate`")]
    MissingMigration {
        /// The saga.
        saga: Name,
        /// The migration.
        name: String,
    },
    /// A saga's migration cannot be applied.
    #[error("saga {saga}: migration `{name}`: {why}")]
    BadMigration {
        /// The saga.
        saga: Name,
        /// The migration.
        name: String,
        /// What SQLite says.
        why: String,
    },
    /// Busy, full, unreadable for now: trying again may help.
    #[error("{0}")]
    Away(String),
    /// Some row's data are at fault.
    #[error("{0}")]
    Data(String),
    /// Trying again will not mend it.
    #[error("{0}")]
    Fatal(String),
}

impl Error {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Away(_))
    }

    /// Whether settings, file and program do not fit together: neither waiting nor starting again
    /// helps, a person has to change one of them.
    pub fn is_misfit(&self) -> bool {
        matches!(
            self,
            Error::Newer { .. }
                | Error::Older { .. }
                | Error::Unusable { .. }
                | Error::ChangedMigration { .. }
                | Error::MissingMigration { .. }
        )
    }

    /// What a saga's own statement failed with: unless it is the file's trouble, the data's.
    pub(crate) fn of_statement(name: &str, error: sqlx::Error) -> Error {
        match Error::from(error) {
            Error::Away(text) => Error::Away(text),
            other => Error::Data(format!("statement `{name}`: {other}")),
        }
    }

    /// What a saga's migration failed with.
    pub(crate) fn of_migration(script: &Script, error: sqlx::Error) -> Error {
        match Error::from(error) {
            Error::Away(text) => Error::Away(text),
            other => Error::BadMigration {
                saga: script.saga.clone(),
                name: script.name.clone(),
                why: other.to_string(),
            },
        }
    }

    /// What is said once the file has been closed.
    pub(crate) fn closed() -> Error {
        Error::Away("the embedded store is closed".to_owned())
    }
}

/// SQLite's primary result codes that matter here (https://sqlite.org/rescode.html).
fn class(code: i64, text: String) -> Error {
    match code & 0xff {
        // BUSY LOCKED NOMEM READONLY INTERRUPT IOERR FULL CANTOPEN PROTOCOL
        5..=10 | 13..=15 => Error::Away(text),
        // TOOBIG CONSTRAINT MISMATCH
        18..=20 => Error::Data(text),
        _ => Error::Fatal(text),
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().and_then(|code| code.parse().ok()).unwrap_or(1);
                class(code, text)
            }
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::Away(text),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Error::Data(text),
            _ => Error::Fatal(text),
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Away(text) => StoreError::Transient(text),
            Error::Data(text) => StoreError::Data(text),
            other => StoreError::Fatal(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_transient_and_a_constraint_is_data() {
        assert!(class(13, "full".into()).is_transient());
        assert!(class(10 | (3 << 8), "io, write".into()).is_transient());
        assert!(matches!(class(2067, "unique".into()), Error::Data(_)));
        assert!(matches!(class(11, "corrupt".into()), Error::Fatal(_)));
    }
}
