//! What was asked, and what is being answered now: for tests that look from the other side.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// One request that came.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// Path and query, keys left out.
    pub path: String,
    /// The URL that was asked about, where the request names one.
    pub about: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// The header `traceparent`, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Requests kept at most.
const KEPT: usize = 10_000;

#[derive(Default)]
pub(crate) struct Requests {
    log: Mutex<VecDeque<Request>>,
    open: AtomicUsize,
    gone: AtomicUsize,
}

/// A request being answered; dropped without an answer when its client has gone away.
pub(crate) struct Open<'a>(&'a Requests, bool);

impl Requests {
    pub(crate) fn begin(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self, false)
    }

    pub(crate) fn note(&self, request: Request) {
        let mut log = self.log.lock();
        if log.len() == KEPT {
            log.pop_front();
        }
        log.push_back(request);
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        self.log.lock().iter().cloned().collect()
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn gone(&self) -> usize {
        self.gone.load(Ordering::Relaxed)
    }
}

impl Open<'_> {
    pub(crate) fn answered(mut self) {
        self.1 = true;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if !self.1 {
            self.0.gone.fetch_add(1, Ordering::Relaxed);
        }
    }
}
