//! The one SQLite file: its lock, its writer, and a few connections that read.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use knarr_model::ports::Clock;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqliteConnection};

use crate::error::Error;
use crate::lock::Lock;
use crate::settings::Settings;
use crate::writer::{Ended, Grouping, Urgency, Writer};
use crate::{migrate, scripts};

/// The open file.
pub(crate) struct File {
    writer: Writer,
    readers: SqlitePool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
}

/// Pages in the write-ahead log before it is folded into the file: 16 MiB.
const CHECKPOINT_PAGES: &str = "4000";
/// The log is cut back to this many bytes after a burst.
const LOG_BYTES: &str = "67108864";

impl File {
    /// Makes folders, takes the lock, brings the schema up to date, opens the connections.
    pub(crate) async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<File, Error> {
        let path = settings.path.clone();
        if !settings.migrate && !tokio::fs::try_exists(&path).await.unwrap_or(true) {
            return Err(migrate::older(&path, 0));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            tokio::fs::create_dir_all(folder).await.map_err(|error| Error::Unusable {
                path: path.clone(),
                why: format!("its folder cannot be made: {error}"),
            })?;
        }
        let lock = Lock::take(&path, settings.lock_wait, &*clock).await?;
        let options = options(&settings);
        let mut connection = options
            .clone()
            .create_if_missing(settings.migrate)
            .pragma("cache_size", format!("-{}", settings.cache_kib))
            .connect()
            .await
            .map_err(|error| Error::Unusable { path: path.clone(), why: error.to_string() })?;
        if settings.migrate {
            migrate::migrate(&mut connection, &path).await?;
            scripts::apply(&mut connection, &settings.scripts, clock.now()).await?;
        } else {
            migrate::verify(&mut connection, &path).await?;
            scripts::verify(&mut connection, &settings.scripts).await?;
        }
        migrate::check_durability(&mut connection, &path).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.readers.max(1))
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(
                options
                    .read_only(true)
                    .pragma("cache_size", format!("-{}", settings.cache_kib / 4)),
            )
            .await?;
        let grouping = Grouping {
            waiting: settings.waiting_writes,
            most: settings.group.max(1),
            linger: settings.linger,
        };
        let writer = Writer::start(connection, lock, grouping, clock.clone());
        Ok(File { writer, readers, clock, settings })
    }

    /// Writes, and answers when it is durable.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Ended<T>, Error>>
            + Send
            + 'static,
    {
        self.writer.write(Urgency::Ordinary, work).await
    }

    /// As [`File::write`], before everything that waits.
    pub(crate) async fn control<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Ended<T>, Error>>
            + Send
            + 'static,
    {
        self.writer.write(Urgency::Control, work).await
    }

    /// Hands over a write that may wait for company; `end` hears what became of it.
    pub(crate) async fn later<F, E>(&self, work: F, end: E)
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<Ended<()>, Error>>
            + Send
            + 'static,
        E: FnOnce(Result<(), Error>) + Send + 'static,
    {
        self.writer.later(work, end).await;
    }

    /// Reads at one moment: all statements of `work` see the same state of the file.
    ///
    /// It runs beside the caller, because sqlx must not be dropped between BEGIN and COMMIT.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>>
            + Send
            + 'static,
    {
        let readers = self.readers.clone();
        let reading = tokio::spawn(async move {
            let mut connection = readers.acquire().await?;
            sqlx::query("BEGIN").execute(&mut *connection).await?;
            let result = work(&mut connection).await;
            if let Err(error) = sqlx::query("COMMIT").execute(&mut *connection).await {
                // A connection that may still be inside a transaction is of no further use.
                drop(connection.detach());
                return Err(error.into());
            }
            result
        });
        reading.await.unwrap_or_else(|_| Err(Error::closed()))
    }

    /// Asks one thing, or several that need not be seen at one moment.
    pub(crate) async fn ask<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>> + Send,
    {
        let mut connection = self.readers.acquire().await?;
        work(&mut connection).await
    }

    /// Why the last transaction failed, if it did.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.writer.trouble()
    }

    /// Ends readers and the writer; the lock is free when this returns.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn options(settings: &Settings) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&settings.path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .statement_cache_capacity(256)
        .row_buffer_size(512)
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", LOG_BYTES)
        .disable_statement_logging()
}
