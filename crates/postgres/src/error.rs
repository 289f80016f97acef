//! What can go wrong, classed by SQLSTATE where it arises.

use knarr_model::Name;
use knarr_model::ports::StoreError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be read.
    #[error("the database URL cannot be read: {0}")]
    Url(String),
    /// The schema's name is not allowed.
    #[error(
        "`{0}` is no schema name: it must match [a-z_][a-z0-9_]*, be at most 63 bytes long \
         and not begin with pg_"
    )]
    SchemaName(String),
    /// A newer Knarr has migrated the schema.
    #[error(
        "schema `{schema}` is at version {found}, this Knarr knows versions up to {known}: \
         start the newer Knarr that migrated it; the way back is a restore"
    )]
    NewerSchema {
        /// The schema.
        schema: String,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The schema needs migrating, and connecting may not do it.
    #[error("schema `{schema}` is at version {found}, version {needed} is needed: run `migrate`")]
    OlderSchema {
        /// The schema.
        schema: String,
        /// Its version; 0 if there is none.
        found: i64,
        /// The version needed.
        needed: i64,
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
    /// A saga's migration has not been applied, and connecting may not do it.
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
        /// What the server says.
        why: String,
    },
    /// Something before the server gives each transaction another session.
    #[error(
        "a pooler in transaction or statement mode stands before Postgres (PgBouncer's pool_mode): \
         Knarr needs sessions of its own. Set pool_mode = session for this database, or connect to \
         Postgres itself"
    )]
    Pooled,
    /// The server refused, or is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Whether trying again may help: the server is away or busy.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Store(error) if error.is_transient())
    }

    /// Whether settings, schema and program do not fit together: neither waiting nor starting
    /// again helps, a person has to change one of them.
    #[must_use]
    pub fn is_misfit(&self) -> bool {
        match self {
            Error::Url(_)
            | Error::SchemaName(_)
            | Error::NewerSchema { .. }
            | Error::OlderSchema { .. }
            | Error::ChangedMigration { .. }
            | Error::MissingMigration { .. }
            | Error::Pooled => true,
            Error::BadMigration { .. } | Error::Store(_) => false,
        }
    }
}

/// Why work on a connection failed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A statement failed.
    Sql(sqlx::Error),
    /// COMMIT failed: whether it took place is not known.
    AtCommit(sqlx::Error),
    /// Something else, classed already.
    Other(StoreError),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Failed::Sql(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Failed::Other(error)
    }
}

impl Failed {
    /// Whether the transaction lost to another one and did nothing: deadlock, serialization, lock
    /// timeout. It may be run again at once.
    pub(crate) fn lost_to_another(&self) -> bool {
        match self {
            Failed::Sql(error) => {
                matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03"))
            }
            Failed::AtCommit(_) | Failed::Other(_) => false,
        }
    }

    /// Whether another transaction wrote at the same moment what may be there once: the request's
    /// key, the incident that gathers a class. Begun again, the transaction sees it.
    pub(crate) fn met_its_like(&self) -> bool {
        let Failed::Sql(error) = self else { return false };
        let constraint = error.as_database_error().and_then(|error| error.constraint());
        matches!(constraint, Some("audit_key_key" | "incident_gathering"))
    }

    /// Whether the transaction was chosen to end a deadlock; the other one is done with it by now.
    pub(crate) fn is_deadlock(&self) -> bool {
        matches!(self, Failed::Sql(error)
            if matches!(code(error).as_deref(), Some("40001" | "40P01")))
    }

    /// Whether the server takes no writes: a standby, as after a failover.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Failed::Sql(error) if code(error).as_deref() == Some("25006"))
    }

    /// Whether the connection is as good as before: the server answered and goes on serving it.
    pub(crate) fn spares_connection(&self) -> bool {
        match self {
            Failed::Sql(error) => match (error, code(error).as_deref()) {
                // Read-only (a standby after failover), ended sessions and stale plans stay with
                // the connection.
                (_, Some("25006" | "25P03" | "0A000" | "26000")) => false,
                (_, Some("57014")) => true,
                (_, Some(code)) => !code.starts_with("57") && !code.starts_with("08"),
                (sqlx::Error::RowNotFound | sqlx::Error::Encode(_), None) => true,
                (sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_), None) => true,
                _ => false,
            },
            Failed::AtCommit(_) => false,
            Failed::Other(_) => true,
        }
    }

    /// The error that the port speaks of.
    pub(crate) fn classed(self) -> StoreError {
        match self {
            Failed::Sql(error) => classed(&error),
            // The server answered: nothing was kept. Only a check that waits for COMMIT fails there.
            Failed::AtCommit(error) if is_deferred_check(&error) => {
                StoreError::Data(format!("at COMMIT: {}", told(&error)))
            }
            Failed::AtCommit(error) => {
                StoreError::Transient(format!("COMMIT was not confirmed: {}", told(&error)))
            }
            Failed::Other(error) => error,
        }
    }
}

/// The class of an error of the driver or the server.
pub(crate) fn classed(error: &sqlx::Error) -> StoreError {
    let text = told(error);
    match code(error).as_deref() {
        Some(code) => of_code(code, text),
        None => match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
            | sqlx::Error::Protocol(_) => StoreError::Transient(text),
            sqlx::Error::Encode(_) => StoreError::Data(text),
            _ => StoreError::Fatal(text),
        },
    }
}

/// Whether an error is the server's or the network's own trouble, whatever was asked.
pub(crate) fn is_infrastructure(error: &sqlx::Error) -> bool {
    match code(error).as_deref() {
        // Only a plan older than the schema: another connection does better. The same code says
        // that something is not offered at all.
        Some("0A000") => told(error).contains("cached plan"),
        Some(code) => of_code(code, String::new()).is_transient(),
        // Without a code it is the driver's: only what cannot be written is the data's.
        None => !matches!(error, sqlx::Error::Encode(_)),
    }
}

/// Whether COMMIT was refused for what a statement of the saga's wrote (a deferred constraint, a
/// constraint trigger): our own tables have no such checks.
fn is_deferred_check(error: &sqlx::Error) -> bool {
    let own = ["22", "23", "P0"];
    code(error).is_some_and(|code| own.iter().any(|class| code.starts_with(class)))
}

fn of_code(code: &str, text: String) -> StoreError {
    match code {
        // Read-only, silent within a transaction, plans older than the schema: another connection
        // does better.
        "25006" | "25P03" | "0A000" | "26000" => StoreError::Transient(text),
        // What the URL asks for, and a pooler before the server does not know.
        "08P01" if text.contains("unsupported startup parameter") => StoreError::Fatal(text),
        // 54 is data too: an index row that is too large, JSON nested too deeply.
        _ if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Data(text)
        }
        _ if ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Transient(text)
        }
        _ => StoreError::Fatal(text),
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned())
}

/// The error as a person reads it: the server's words and the SQLSTATE to look up.
pub(crate) fn told(error: &sqlx::Error) -> String {
    match (error.as_database_error(), code(error)) {
        (Some(database), Some(code)) => format!("{} (SQLSTATE {code})", database.message()),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_sqlstate() {
        let class = |code: &str| of_code(code, String::new());
        for code in ["22021", "22P05", "23505", "23514", "54000", "54001"] {
            assert!(class(code).is_data(), "{code}");
        }
        for code in [
            "08006", "40001", "40P01", "53300", "55P03", "57014", "57P01", "58030", "25006",
            "25P03",
        ] {
            assert!(class(code).is_transient(), "{code}");
        }
        for code in ["42P01", "42501", "28P01", "3D000", "XX000"] {
            let error = class(code);
            assert!(!error.is_data() && !error.is_transient(), "{code}");
        }
    }

    #[test]
    fn what_a_pooler_does_not_know_is_no_outage() {
        let of = |text: &str| of_code("08P01", text.to_owned());
        assert!(!of("unsupported startup parameter: options (SQLSTATE 08P01)").is_transient());
        assert!(of("server conn crashed? (SQLSTATE 08P01)").is_transient());
    }

    #[test]
    fn a_broken_stream_is_transient_and_costs_the_connection() {
        let failed = Failed::Sql(sqlx::Error::Io(std::io::Error::other("reset")));
        assert!(!failed.spares_connection());
        assert!(failed.classed().is_transient());
    }

    #[test]
    fn an_unconfirmed_commit_is_transient_and_never_run_again_at_once() {
        let failed = Failed::AtCommit(sqlx::Error::PoolClosed);
        assert!(!failed.lost_to_another() && !failed.spares_connection());
        assert!(failed.classed().is_transient());
    }
}
