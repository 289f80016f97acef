//! Connections in separate pools, and the one way to work on them: in a task that nobody aborts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::ports::StoreError;
use parking_lot::Mutex;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres, Transaction};
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::error::{Error, Failed};
use crate::schema::Schema;
use crate::session::{Purpose, Session};
use crate::settings::Settings;

/// Work that takes longer is told: the database is slow, or somebody else has its locks.
const SLOW: Duration = Duration::from_secs(1);

/// A connection that was idle this long is asked whether it is still there before it is used.
const STALE: Duration = Duration::from_secs(2);

/// So often somebody who opens a connection looks whether one has become free meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A transaction that deadlocked is begun anew until it was begun so often.
const DEADLOCKS: u32 = 3;

/// The isolation level is said, since a database may have another default: at REPEATABLE READ the
/// epoch read after the fence would be the one from before it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// The pools of one store.
#[derive(Clone)]
pub(crate) struct Pools {
    /// Loads, commits, claims.
    pub(crate) engine: Pool,
    /// Halt, resume, purge, sweep.
    pub(crate) control: Pool,
    /// What people ask about.
    pub(crate) reading: Pool,
    /// One connection for leases: a node must not die because its others are busy.
    pub(crate) lease: Pool,
    /// One connection that notifies the other nodes.
    pub(crate) notify: Pool,
    /// How to make the connection that listens to them.
    pub(crate) listen: PgConnectOptions,
}

/// Options are left out: they hold the password.
impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Pools {
    /// Makes the pools. Connections are opened when first used.
    pub(crate) fn new(settings: &Settings, schema: &Schema) -> Result<Pools, Error> {
        let all = All::default();
        let make = |purpose, size| Pool::new(settings, schema, purpose, size, &all);
        Ok(Pools {
            engine: make(Purpose::Engine, settings.engine_connections)?,
            control: make(Purpose::Control, settings.control_connections)?,
            reading: make(Purpose::Reading, settings.reading_connections)?,
            lease: make(Purpose::Lease, 1)?,
            notify: make(Purpose::Notify, 1)?,
            listen: connect_options(settings)?,
        })
    }

    /// Orders, questions and the lease have a connection from the start: were it made when it is
    /// needed, the engine might have taken all that the server has.
    pub(crate) async fn open(&self) -> Result<(), StoreError> {
        for pool in [&self.control, &self.lease, &self.notify, &self.reading] {
            pool.run(|connection| async move { Ok(connection.ping().await?) }.boxed()).await?;
        }
        Ok(())
    }

    /// Closes every connection that is not at work.
    pub(crate) async fn close(&self) {
        for pool in [&self.engine, &self.control, &self.reading, &self.lease, &self.notify] {
            pool.connections.close().await;
        }
    }
}

/// The connections of all pools of a store.
type All = Arc<Mutex<Vec<PgPool>>>;

/// A pool and its bounds.
#[derive(Clone)]
pub(crate) struct Pool {
    purpose: Purpose,
    all: All,
    connections: PgPool,
    /// As many as connections: callers queue here, where waiting is fair and bounded. A caller
    /// that the pool lets open a connection never looks at idle ones again (sqlx #2848).
    places: Arc<Semaphore>,
    acquire_timeout: Duration,
    answer_timeout: Duration,
}

impl Pool {
    fn new(
        settings: &Settings,
        schema: &Schema,
        purpose: Purpose,
        size: u32,
        all: &All,
    ) -> Result<Pool, Error> {
        let size = size.max(1);
        let options = connect_options(settings)?;
        let session = Arc::new(Session::new(settings, schema, purpose));
        // Never fewer than one for orders, questions and the lease (`open`).
        let kept = u32::from(purpose != Purpose::Engine);
        let connections = PoolOptions::<Postgres>::new()
            .max_connections(size)
            .min_connections(kept)
            .acquire_timeout(settings.acquire_timeout)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let session = Arc::clone(&session);
                Box::pin(async move { session.apply(connection).await })
            })
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > STALE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .after_release(|connection, _| {
                // The driver counts; a connection that it thinks is within a transaction is not
                // given to anybody else.
                let clean = !connection.is_in_transaction();
                Box::pin(std::future::ready(Ok(clean)))
            })
            .connect_lazy_with(options);
        all.lock().push(connections.clone());
        Ok(Pool {
            purpose,
            all: Arc::clone(all),
            connections,
            places: Arc::new(Semaphore::new(size as usize)),
            acquire_timeout: settings.acquire_timeout,
            answer_timeout: settings.answer_timeout,
        })
    }

    /// Runs `work` on a connection of its own, in a task of its own.
    ///
    /// The driver's `begin` and `commit` are not cancel-safe: a caller that goes away, in a
    /// `select!` or a timeout, must not take them with it. The task goes on without the caller,
    /// and a connection that gave no answer in time is thrown away, never used again.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failed>>
            + Send
            + 'static,
    {
        self.try_run(work).await.map_err(Failed::classed)
    }

    /// Like `run`, with the failure as it was.
    pub(crate) async fn try_run<T, F>(&self, work: F) -> Result<T, Failed>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failed>>
            + Send
            + 'static,
    {
        let pool = self.clone();
        match tokio::spawn(async move { pool.work_on_one(work).await }).await {
            Ok(result) => result,
            Err(ended) => Err(Failed::Other(StoreError::Transient(format!(
                "work on a connection was cut off: {ended}"
            )))),
        }
    }

    /// Runs `work` in a transaction. A deadlock is nobody's fault: the transaction is begun anew.
    pub(crate) async fn transact<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failed>>
            + Send
            + Sync
            + 'static,
    {
        let work = Arc::new(work);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let work = Arc::clone(&work);
            let done = self
                .try_run(move |connection| {
                    async move {
                        let mut transaction = begin(connection).await?;
                        let result = work(&mut transaction).await;
                        end(transaction, result).await
                    }
                    .boxed()
                })
                .await;
            match done {
                Err(failed) if attempt < DEADLOCKS && failed.is_deadlock() => {}
                done => return done.map_err(Failed::classed),
            }
        }
    }

    async fn work_on_one<T, F>(&self, work: F) -> Result<T, Failed>
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, Failed>>,
    {
        let Ok(place) = timeout(self.acquire_timeout, self.places.acquire()).await else {
            return Err(Failed::Other(StoreError::Transient(format!(
                "no connection was free for {:?}",
                self.acquire_timeout
            ))));
        };
        let connection = match self.acquire().await {
            Err(sqlx::Error::PoolTimedOut) => return Err(self.why_none().await),
            acquired => Some(acquired?),
        };
        let answer_timeout = self.answer_timeout;
        let mut lent = Lent { connection, spared: false, answer_timeout };
        let answer = match lent.connection.as_mut() {
            Some(connection) => self.answer(work(connection)).await,
            None => return Err(Failed::Sql(sqlx::Error::PoolClosed)),
        };
        let result = match answer {
            Ok(result) => result,
            Err(_) => {
                return Err(Failed::Other(StoreError::Transient(format!(
                    "no answer for {:?}: the outcome is unknown",
                    self.answer_timeout
                ))));
            }
        };
        lent.spared = result.as_ref().err().is_none_or(Failed::spares_connection);
        drop(lent);
        drop(place);
        if result.as_ref().is_err_and(Failed::is_read_only) {
            self.give_up_all();
        }
        result
    }

    /// A connection of the pool. Whoever opens one does not look at those that others have returned
    /// since (sqlx #2848): it begins again when there is one, since the server may have no more.
    async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        loop {
            let mut acquiring = Box::pin(self.connections.acquire());
            loop {
                match timeout(LOOK, &mut acquiring).await {
                    Ok(acquired) => return acquired,
                    Err(_) if self.connections.num_idle() > 0 => break,
                    Err(_) => {}
                }
            }
        }
    }

    /// Why there is no connection. The pool only says that it waited: it tries again by itself when
    /// nobody listens, or the server has no connection left.
    async fn why_none(&self) -> Failed {
        let options = self.connections.connect_options();
        match timeout(SLOW, options.connect()).await {
            Ok(Err(error)) => Failed::Sql(error),
            Ok(Ok(connection)) => {
                let _closed = connection.close().await;
                Failed::Sql(sqlx::Error::PoolTimedOut)
            }
            Err(_) => Failed::Sql(sqlx::Error::PoolTimedOut),
        }
    }

    /// The server takes no writes: a standby, as after a failover. None of our connections that
    /// rest, in whichever pool, is worth keeping, also where only reading is done: those that are
    /// made next find the server that is the primary now.
    fn give_up_all(&self) {
        for connections in self.all.lock().iter() {
            while let Some(resting) = connections.try_acquire() {
                drop(resting.detach());
            }
        }
    }
}

impl Pool {
    /// Waits for an answer, and says when it does not come soon.
    async fn answer<T>(&self, work: BoxFuture<'_, T>) -> Result<T, Elapsed> {
        let mut work = work;
        let soon = SLOW.min(self.answer_timeout);
        if let Ok(answer) = timeout(soon, &mut work).await {
            return Ok(answer);
        }
        let purpose = self.purpose.told();
        tracing::warn!(purpose, "the database has given no answer for {soon:?}; waiting on");
        timeout(self.answer_timeout - soon, work).await
    }
}

/// A connection that returns to its pool only if nothing went wrong with it, panics included.
struct Lent {
    connection: Option<PoolConnection<Postgres>>,
    spared: bool,
    answer_timeout: Duration,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        if self.spared {
            // The driver asks a returning connection whether it is still there, for as long as it
            // takes: when the peer has fallen silent, its place would be lost.
            let returned = timeout(self.answer_timeout, connection.return_to_pool());
            tokio::spawn(async move {
                let _lost_with_its_peer = returned.await;
            });
        } else {
            // Its place is free at once; a polite end would wait for a peer that may be gone.
            drop(connection.detach());
        }
    }
}

/// Begins a READ COMMITTED transaction.
pub(crate) async fn begin(
    connection: &mut PgConnection,
) -> Result<Transaction<'_, Postgres>, Failed> {
    Ok(connection.begin_with(BEGIN).await?)
}

/// Ends a transaction according to what came of it.
pub(crate) async fn end<T>(
    transaction: Transaction<'_, Postgres>,
    result: Result<T, Failed>,
) -> Result<T, Failed> {
    match result {
        Ok(value) => {
            transaction.commit().await.map_err(Failed::AtCommit)?;
            Ok(value)
        }
        Err(failed) => {
            // A failed rollback shows when the connection is returned, and ends it.
            if let Err(error) = transaction.rollback().await {
                tracing::debug!(%error, "rollback failed; the connection is given up");
            }
            Err(failed)
        }
    }
}

/// Pauses between attempts.
#[expect(
    clippy::disallowed_methods,
    reason = "this waits for a real server, which no simulation replaces on this side of the port"
)]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

pub(crate) fn connect_options(settings: &Settings) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(&settings.url)
        .map_err(|error| Error::Url(without_values(&error.to_string())))?
        // The driver would write whole statements into the log; `Pool::answer` says what is slow.
        .disable_statement_logging()
        // The server's default is exact; a pooler before it does not know this parameter.
        .extra_float_digits(None);
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("knarr"),
    })
}

/// Errors about URLs quote parts of them: what stands in quotes is left out.
fn without_values(text: &str) -> String {
    text.split('"').step_by(2).collect::<Vec<_>>().join("…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_the_url_does_not_tell_the_password() {
        let settings = Settings::new("postgres://me:secret@host:notaport/db");
        let error = connect_options(&settings).expect_err("the port is no number");
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!format!("{settings:?}").contains("secret"));
        let settings = Settings::new("postgres://me@host/db?sslmode=secret");
        let told = connect_options(&settings).expect_err("no such mode").to_string();
        assert!(told.contains("ssl_mode") && !told.contains("secret"), "{told}");
    }
}
