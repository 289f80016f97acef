//! What this node has in hand of one endpoint, and what became of it: told when the endpoint stops.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use knarr_model::ports::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// How long it is remembered what became of a delivery while the endpoint flows. A stop is noticed
/// much sooner, unless the store is away.
const REMEMBERED: Duration = Duration::from_secs(5);

/// The deliveries of one endpoint on this node.
pub(crate) struct Hand {
    clock: Arc<dyn Clock>,
    held: AtomicUsize,
    settled: Mutex<VecDeque<Settled>>,
    /// Nothing is held any more.
    pub(crate) empty: Notify,
}

/// What became of one delivery.
#[derive(Clone, Copy)]
struct Settled {
    taken_at: DateTime<Utc>,
    at: DateTime<Utc>,
    committed: bool,
}

impl Hand {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Hand> {
        Arc::new(Hand {
            clock,
            held: AtomicUsize::new(0),
            settled: Mutex::default(),
            empty: Notify::new(),
        })
    }

    /// Takes a delivery in hand that arrived at `taken_at`.
    pub(crate) fn take(self: &Arc<Self>, taken_at: DateTime<Utc>) -> Held {
        self.held.fetch_add(1, Ordering::SeqCst);
        Held(Arc::new(Token { hand: self.clone(), taken_at, open: AtomicUsize::new(1) }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.load(Ordering::SeqCst) == 0
    }

    /// Of the deliveries taken by `since` and in hand then: how many were committed, and how many
    /// went back.
    pub(crate) fn since(&self, since: DateTime<Utc>) -> (u64, u64) {
        let settled = self.settled.lock();
        let meant = settled.iter().filter(|one| one.taken_at <= since && one.at > since);
        meant.fold((0, 0), |(committed, returned), one| match one.committed {
            true => (committed + 1, returned),
            false => (committed, returned + 1),
        })
    }

    /// Forgets what is long over. Not called while the endpoint is stopped: then a report is due.
    pub(crate) fn forget(&self) {
        let before = self.clock.now() - TimeDelta::from_std(REMEMBERED).unwrap_or_default();
        let mut settled = self.settled.lock();
        while settled.front().is_some_and(|one| one.at < before) {
            settled.pop_front();
        }
    }

    fn settle(&self, taken_at: DateTime<Utc>, committed: bool) {
        self.settled.lock().push_back(Settled { taken_at, at: self.clock.now(), committed });
        if self.held.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.empty.notify_one();
        }
    }
}

/// A delivery in hand. What is dropped without a word went back.
#[derive(Clone)]
pub(crate) struct Held(Arc<Token>);

struct Token {
    hand: Arc<Hand>,
    taken_at: DateTime<Utc>,
    /// One until it is told what became of it: a thread that was given up may keep its share.
    open: AtomicUsize,
}

impl Held {
    /// Its outcome is durable.
    pub(crate) fn committed(&self) {
        self.0.settle(true);
    }

    /// It went back undecided.
    pub(crate) fn returned(&self) {
        self.0.settle(false);
    }
}

impl Token {
    fn settle(&self, committed: bool) {
        if self.open.swap(0, Ordering::SeqCst) == 1 {
            self.hand.settle(self.taken_at, committed);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.settle(false);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.0.taken_at).finish()
    }
}
