//! Hints that work waits: at once within the process, coalesced to the other nodes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use knarr_model::ports::StoreError;
use parking_lot::Mutex;
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::error::Failed;
use crate::pools::{Pool, Pools, pause};

/// NOTIFY takes a lock of the whole server at commit: never within a batch.
const NOTIFY: &str = "SELECT pg_notify($1, $2)";
const STILL_THERE: &str = "SELECT 1";
/// Names this process, so that it does not wake itself.
const TOKEN: &str = "SELECT gen_random_uuid()::text";

/// Ends the text of a notification that tells of a verb.
const VERB: &str = " verb";

/// A listener that heard nothing for so long asks whether its connection is still there.
const SILENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);
const RECONNECT: Duration = Duration::from_secs(1);

/// Rows that were made and are due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) timers: bool,
    pub(crate) parked: bool,
    pub(crate) ended: bool,
    /// Types of calls.
    pub(crate) calls: BTreeSet<String>,
    /// Rows of any kind.
    pub(crate) any: bool,
    /// A verb was carried out.
    pub(crate) verb: bool,
}

impl Made {
    pub(crate) fn anything() -> Made {
        Made { any: true, ..Made::default() }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        *self == Made::default()
    }

    fn add(&mut self, other: Made) {
        self.timers |= other.timers;
        self.parked |= other.parked;
        self.ended |= other.ended;
        self.any |= other.any;
        self.verb |= other.verb;
        self.calls.extend(other.calls);
    }

    fn remove(&mut self, other: &Made) {
        self.timers &= !other.timers;
        self.parked &= !other.parked;
        self.ended &= !other.ended;
        self.calls.retain(|call| !other.calls.contains(call));
    }
}

/// Who waits here, and what the others have not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    here: Notify,
    waiting: AtomicUsize,
    untold: Mutex<Untold>,
    to_tell: Notify,
    /// What is to be told cannot wait for more.
    at_once: Notify,
    /// A verb was carried out.
    verbs: Notify,
}

#[derive(Debug, Default)]
struct Untold {
    made: Made,
    /// Rises whenever something is added.
    version: u64,
}

impl Signal {
    /// Rows were made that are due: wakes who waits here, and the others soon, unless this process
    /// claims the rows before.
    pub(crate) fn made(&self, made: Made) {
        if made.is_nothing() {
            return;
        }
        let at_once = made.verb;
        {
            let mut untold = self.untold.lock();
            untold.made.add(made);
            untold.version += 1;
        }
        self.wake_here();
        self.to_tell.notify_one();
        if at_once {
            self.at_once.notify_one();
        }
    }

    /// A verb was carried out, here or elsewhere.
    pub(crate) fn verb_here(&self) {
        self.verbs.notify_one();
    }

    /// Waits for a verb, at most `at_most`; whether there may have been one.
    pub(crate) async fn wait_for_verb(&self, at_most: Duration) -> bool {
        timeout(at_most, self.verbs.notified()).await.is_ok()
    }

    /// To be asked before a claim, and given to `drained` after it.
    pub(crate) fn version(&self) -> u64 {
        self.untold.lock().version
    }

    /// A claim begun at `version` left nothing of `what`: there is nothing to tell.
    pub(crate) fn drained(&self, what: &Made, version: u64) {
        let mut untold = self.untold.lock();
        if untold.version == version {
            untold.made.remove(what);
        }
    }

    /// Waits for a hint, at most `at_most`.
    pub(crate) async fn wait(&self, at_most: Duration) {
        let hint = self.here.notified();
        let _counted = Counted::new(&self.waiting);
        let _late = timeout(at_most, hint).await;
    }

    /// Wakes all who wait; if nobody does, the next to wait goes on at once.
    pub(crate) fn wake_here(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.here.notify_waiters();
        } else {
            self.here.notify_one();
        }
    }
}

/// One who waits, counted until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The tasks that carry hints between nodes. They end when dropped: losing a hint is harmless, and
/// their connections are used for nothing else.
#[derive(Debug)]
pub(crate) struct Carriers(Vec<AbortHandle>);

impl Carriers {
    /// Nothing is told and nothing heard.
    pub(crate) fn none() -> Carriers {
        Carriers(Vec::new())
    }

    /// Starts telling and listening.
    pub(crate) async fn start(
        signal: &Arc<Signal>,
        pools: &Pools,
        channel: String,
        pause: Duration,
    ) -> Result<Carriers, StoreError> {
        let token = pools.notify.run(|connection| token(connection).boxed()).await?;
        let line = Line { signal: Arc::clone(signal), channel, token };
        Ok(Carriers(vec![
            tokio::spawn(line.clone().tell(pools.notify.clone(), pause)).abort_handle(),
            tokio::spawn(line.listen(pools.listen.clone())).abort_handle(),
        ]))
    }

    /// Ends them now.
    pub(crate) fn stop(&self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Line {
    signal: Arc<Signal>,
    channel: String,
    token: String,
}

impl Line {
    /// Tells the others, at most once per `at_most_every`.
    async fn tell(self, pool: Pool, at_most_every: Duration) {
        loop {
            self.signal.to_tell.notified().await;
            tokio::select! {
                biased;
                () = self.signal.at_once.notified() => {}
                () = pause(at_most_every) => {}
            }
            let made = std::mem::take(&mut self.signal.untold.lock().made);
            if made.is_nothing() {
                continue;
            }
            let channel = self.channel.clone();
            let text = if made.verb { self.token.clone() + VERB } else { self.token.clone() };
            let told = pool.run(move |connection| notify(connection, channel, text).boxed());
            if let Err(error) = told.await {
                tracing::debug!(%error, "the other nodes were not told of work");
            }
        }
    }

    /// Hears the others, on a new connection whenever one is lost.
    async fn listen(self, options: PgConnectOptions) {
        loop {
            // A pool of its own: a connection whose peer fell silent would keep its place.
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
            if let Err(error) = self.listen_on(&pool).await {
                tracing::debug!(%error, "the listener lost its connection");
            }
            pause(RECONNECT).await;
        }
    }

    async fn listen_on(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let gone = |_| sqlx::Error::PoolTimedOut;
        let mut listener =
            timeout(ANSWER, PgListener::connect_with(pool)).await.map_err(gone)??;
        timeout(ANSWER, listener.listen(&self.channel)).await.map_err(gone)??;
        // What was said while nobody listened is not known.
        self.signal.verb_here();
        self.signal.wake_here();
        loop {
            match timeout(SILENCE, listener.try_recv()).await {
                Ok(Ok(Some(heard))) if heard.payload().starts_with(&self.token) => {}
                Ok(Ok(heard)) => {
                    // Without a message the connection was lost for a while.
                    if heard.is_none_or(|heard| heard.payload().ends_with(VERB)) {
                        self.signal.verb_here();
                    }
                    self.signal.wake_here();
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let asked = sqlx::query(STILL_THERE).execute(&mut listener);
                    timeout(ANSWER, asked).await.map_err(gone)??;
                }
            }
        }
    }
}

async fn token(connection: &mut PgConnection) -> Result<String, Failed> {
    Ok(sqlx::query_scalar(TOKEN).persistent(false).fetch_one(connection).await?)
}

async fn notify(
    connection: &mut PgConnection,
    channel: String,
    text: String,
) -> Result<(), Failed> {
    sqlx::query(NOTIFY).bind(channel).bind(text).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[&str]) -> Made {
        Made { calls: names.iter().map(|n| (*n).to_owned()).collect(), ..Made::default() }
    }

    #[test]
    fn what_was_claimed_here_is_not_told() {
        let signal = Signal::default();
        signal.made(calls(&["Look", "Scan"]));
        signal.made(Made { parked: true, ..Made::default() });
        let version = signal.version();
        signal.drained(&calls(&["Look"]), version);
        signal.drained(&Made { parked: true, ..Made::default() }, version);
        assert_eq!(signal.untold.lock().made, calls(&["Scan"]));
    }

    #[test]
    fn a_claim_that_began_before_does_not_hide_what_came_after() {
        let signal = Signal::default();
        let version = signal.version();
        signal.made(calls(&["Look"]));
        signal.drained(&calls(&["Look"]), version);
        assert_eq!(signal.untold.lock().made, calls(&["Look"]));
    }

    #[tokio::test]
    async fn a_hint_given_while_nobody_waits_is_kept_for_the_next() {
        let signal = Signal::default();
        signal.made(calls(&["Look"]));
        let long = Duration::from_secs(3_600);
        timeout(Duration::from_secs(20), signal.wait(long)).await.expect("it goes on at once");
    }
}
