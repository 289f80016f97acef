//! Calls that wait for the story to answer them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_model::ports::{Activity, Attempt};
use knarr_model::{Failure, RetryPolicy};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

/// How a story answers a call.
pub(super) type Answer = Result<Arc<RawValue>, Failure>;

/// Every call that runs now, oldest first.
#[derive(Default)]
pub(super) struct Board(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    begun: u64,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    call: String,
    payload: String,
    answer: oneshot::Sender<Answer>,
}

impl Board {
    /// How many calls run.
    pub(super) fn len(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// The names of the calls that run.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().waiting.values().map(|waiting| waiting.call.clone()).collect()
    }

    /// The data of the calls of this name that run.
    pub(super) fn payloads(&self, call: &str) -> Vec<String> {
        let calls = self.0.lock();
        let of_name = calls.waiting.values().filter(|waiting| waiting.call == call);
        of_name.map(|waiting| waiting.payload.clone()).collect()
    }

    /// Answers the oldest call of this name; `false` when none runs.
    pub(super) fn answer(&self, call: &str, answer: Answer) -> bool {
        let mut calls = self.0.lock();
        let oldest = calls.waiting.iter().find(|(_, waiting)| waiting.call == call);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        let waiting = calls.waiting.remove(&number);
        waiting.is_some_and(|waiting| waiting.answer.send(answer).is_ok())
    }
}

/// An activity that waits for the story. One failure is for good unless the call has a policy of
/// its own.
pub(super) struct Scripted {
    pub(super) call: String,
    pub(super) board: Arc<Board>,
}

#[async_trait]
impl Activity for Scripted {
    fn call(&self) -> &str {
        &self.call
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::none()
    }

    /// Longer than any story: a call without a deadline of its own waits for its answer.
    fn deadline(&self) -> Duration {
        Duration::from_secs(20 * 365 * 86_400)
    }

    async fn run(&self, call: &RawValue, _attempt: &Attempt) -> Answer {
        let (answer, answered) = oneshot::channel();
        let seat = {
            let mut calls = self.board.0.lock();
            calls.begun += 1;
            let number = calls.begun;
            let payload = call.get().to_owned();
            let waiting = Waiting { call: self.call.clone(), payload, answer };
            calls.waiting.insert(number, waiting);
            Seat { board: self.board.clone(), number }
        };
        let answer = answered.await;
        drop(seat);
        answer.unwrap_or_else(|_| Err(Failure::permanent("story", "the story is over")))
    }
}

/// A call's place on the board: gone when it is answered, and when it is cancelled.
struct Seat {
    board: Arc<Board>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.0.lock().waiting.remove(&self.number);
    }
}
