//! The outside world of the road's tests: calls answered by script, every attempt noted.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::TraceParent;
use knarr_model::ports::Clock;
use knarr_model::within::current;
use knarr_saga::prelude::*;
use parking_lot::Mutex;
use serde_json::Value;
use uuid::Uuid;

use super::errand::{Ask, Dare};

/// How one attempt goes.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Done(String),
    Transient,
    /// Transient, with a time before which it is of no use to try again.
    Busy(Duration),
    Permanent,
    Unknown,
    /// Not done yet: again after this, with this memo.
    Again(Duration, Value),
    Panic,
    /// Never comes back.
    Hang,
    /// Answers after so long.
    Slow(Duration, String),
}

/// One attempt that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) what: String,
    pub(crate) node: usize,
    pub(crate) number: u32,
    pub(crate) key: Uuid,
    pub(crate) memo: Option<Value>,
    pub(crate) at: DateTime<Utc>,
    /// The span that it ran in.
    pub(crate) within: Option<TraceParent>,
    /// When it ended, and whether its token was cancelled then.
    pub(crate) ended: Option<(DateTime<Utc>, bool)>,
}

/// The world that calls go to.
pub(crate) struct Outside {
    clock: Arc<dyn Clock>,
    scripts: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    tried: Mutex<Vec<Tried>>,
    /// The node on which nothing works.
    broken: Mutex<Option<usize>>,
}

impl Outside {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Outside {
            clock,
            scripts: Mutex::default(),
            tried: Mutex::default(),
            broken: Mutex::default(),
        }
    }

    /// The next attempts at `what` go like this; after them it is answered at once.
    pub(crate) fn script(&self, what: &str, answers: impl IntoIterator<Item = Answer>) {
        self.scripts.lock().entry(what.to_owned()).or_default().extend(answers);
    }

    /// From now on every attempt on this node fails, and on no other.
    pub(crate) fn break_node(&self, node: Option<usize>) {
        *self.broken.lock() = node;
    }

    /// Attempts at `what`, in order.
    pub(crate) fn tried(&self, what: &str) -> Vec<Tried> {
        self.tried.lock().iter().filter(|one| one.what == what).cloned().collect()
    }

    /// Every attempt begun.
    pub(crate) fn all_tried(&self) -> Vec<Tried> {
        self.tried.lock().clone()
    }

    /// Attempts that have not ended.
    pub(crate) fn running(&self) -> usize {
        self.tried.lock().iter().filter(|one| one.ended.is_none()).count()
    }

    async fn attempt(
        self: &Arc<Self>,
        node: usize,
        what: &str,
        attempt: &Attempt,
    ) -> Result<String, Failure> {
        let number = self.tried.lock().len();
        self.tried.lock().push(Tried {
            what: what.to_owned(),
            node,
            number: attempt.number,
            key: attempt.idempotency_key,
            memo: attempt.memo.clone(),
            at: self.clock.now(),
            within: current().map(|scope| scope.place),
            ended: None,
        });
        let _end = End { outside: self.clone(), number, token: attempt.token.clone() };
        if *self.broken.lock() == Some(node) {
            return Err(Failure::transient("resolver", "no address for anything"));
        }
        let answer = self.scripts.lock().get_mut(what).and_then(VecDeque::pop_front);
        match answer {
            None => Ok("fine".to_owned()),
            Some(Answer::Done(text)) => Ok(text),
            Some(Answer::Transient) => Err(Failure::transient("busy", "try later")),
            Some(Answer::Busy(after)) => Err(Failure::transient("busy", "try later").after(after)),
            Some(Answer::Permanent) => Err(Failure::permanent("no", "will never work")),
            Some(Answer::Unknown) => Err(Failure::unknown("lost", "it may have been done")),
            Some(Answer::Again(after, memo)) => Err(Failure::again(after, memo)),
            // As a panic, but without a word on standard error.
            Some(Answer::Panic) => std::panic::resume_unwind(Box::new("the script says so")),
            Some(Answer::Hang) => std::future::pending().await,
            Some(Answer::Slow(wait, text)) => {
                tokio::time::sleep(wait).await;
                Ok(text)
            }
        }
    }
}

/// Notes that an attempt ended, however it did.
struct End {
    outside: Arc<Outside>,
    number: usize,
    token: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        let ended = (self.outside.clock.now(), self.token.is_cancelled());
        self.outside.tried.lock()[self.number].ended = Some(ended);
    }
}

/// Answers [`Ask`] on one node.
pub(crate) struct Asker(pub(crate) Arc<Outside>, pub(crate) usize);

/// Answers [`Dare`] on one node.
pub(crate) struct Darer(pub(crate) Arc<Outside>, pub(crate) usize);

impl Activity<Ask> for Asker {
    async fn run(&self, call: &Ask, attempt: &Attempt) -> Result<String, Failure> {
        self.0.attempt(self.1, &call.what, attempt).await
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::doubling(4, seconds(1), seconds(60))
    }

    fn deadline(&self) -> Duration {
        seconds(30)
    }
}

impl Activity<Dare> for Darer {
    async fn run(&self, call: &Dare, attempt: &Attempt) -> Result<String, Failure> {
        self.0.attempt(self.1, &call.what, attempt).await
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::none()
    }
}
