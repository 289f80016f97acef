//! Everything about the connections to Postgres that can be set.

use std::fmt;
use std::time::Duration;

use knarr_model::statement::Script;

/// How the store reaches Postgres, and how long it waits there.
///
/// One application, one schema: lock classes and the notification channel derive from its name, so
/// several applications share a database without meeting.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// `postgres://user:password@host:port/database?sslmode=…`.
    pub url: String,
    /// The schema that holds the tables: `[a-z_][a-z0-9_]*`, at most 63 bytes. Default `knarr`.
    pub schema: String,
    /// Whether `connect` brings the schema up to date; else an older schema is refused.
    /// Default `true`.
    pub migrate: bool,
    /// Migrations of the sagas' own tables, carried out with those of the schema. Default none.
    pub scripts: Vec<Script>,
    /// Connections for loading, committing and claiming, at most. Default 8.
    pub engine_connections: u32,
    /// Connections for halt, resume, purge and sweeps, at most: those must get through when the
    /// engine's are all busy. Default 2.
    pub control_connections: u32,
    /// Connections for what people ask about, at most. Default 2.
    pub reading_connections: u32,
    /// How long a batch waits for a lock (`lock_timeout`). Default 2 s.
    pub lock_timeout: Duration,
    /// How long halt, resume and purge wait for the fence: long enough to outlast a node that
    /// hangs within a commit. Default 20 s.
    pub control_lock_timeout: Duration,
    /// How long one statement may take (`statement_timeout`). Default 15 s.
    pub statement_timeout: Duration,
    /// After how long the server ends a transaction whose client went silent. Default 5 s.
    pub idle_in_transaction_timeout: Duration,
    /// How long a call waits for a free connection. Default 5 s.
    pub acquire_timeout: Duration,
    /// After how long without an answer a call gives up its connection; the outcome is unknown
    /// then. Must exceed every other timeout here. Default 30 s.
    pub answer_timeout: Duration,
    /// Whether nodes tell each other of work and of verbs (LISTEN / NOTIFY). Without it they see
    /// both at their next look. Default `true`.
    pub notify: bool,
    /// At most one notification of work to the other nodes in this time; of a verb they are told at
    /// once. Default 50 ms.
    pub notify_pause: Duration,
}

impl Settings {
    /// The defaults for `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Settings {
            url: url.into(),
            schema: "knarr".to_owned(),
            migrate: true,
            scripts: Vec::new(),
            engine_connections: 8,
            control_connections: 2,
            reading_connections: 2,
            lock_timeout: Duration::from_secs(2),
            control_lock_timeout: Duration::from_secs(20),
            statement_timeout: Duration::from_secs(15),
            idle_in_transaction_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            notify: true,
            notify_pause: Duration::from_millis(50),
        }
    }

    /// The same with another schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }
}

/// The URL is left out: it may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("schema", &self.schema)
            .field("migrate", &self.migrate)
            .field("engine_connections", &self.engine_connections)
            .field("control_connections", &self.control_connections)
            .field("reading_connections", &self.reading_connections)
            .finish_non_exhaustive()
    }
}
