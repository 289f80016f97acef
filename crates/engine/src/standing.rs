//! How attempts went on this node lately, and whether it stands back since its peers do far better.

use std::collections::VecDeque;
use std::time::Duration;

use knarr_guard::Lately;
use knarr_model::ports::crash::{Record, Used};
use parking_lot::Mutex;

/// Used attempts that are remembered at most.
const REMEMBERED: usize = 10_000;

/// This node among its peers.
#[derive(Default)]
pub(crate) struct Standing(Mutex<State>);

#[derive(Default)]
struct State {
    lately: Lately,
    /// Attempts used up here, and when.
    used: VecDeque<(Duration, Used)>,
    back: Option<Back>,
}

/// It takes in nothing.
struct Back {
    why: String,
    until: Duration,
}

impl Standing {
    /// Attempts worked.
    pub(crate) fn worked(&self, now: Duration, attempts: u64) {
        if attempts > 0 {
            self.0.lock().lately.note(now, attempts, 0);
        }
    }

    /// An attempt failed, and may have used up one of its budget.
    pub(crate) fn failed(&self, now: Duration, used: Option<Used>) {
        let mut state = self.0.lock();
        state.lately.note(now, 0, 1);
        if let Some(used) = used {
            if state.used.len() >= REMEMBERED {
                state.used.pop_front();
            }
            state.used.push_back((now, used));
        }
    }

    pub(crate) fn record(&self, now: Duration, window: Duration) -> Record {
        self.0.lock().lately.record(now, window)
    }

    /// From now on it takes in nothing. Returns the attempts that it used up within `window`.
    pub(crate) fn step_back(
        &self,
        why: String,
        (now, window, rest): (Duration, Duration, Duration),
    ) -> Vec<Used> {
        let mut state = self.0.lock();
        state.back = Some(Back { why, until: now + rest });
        state.lately.reset();
        let since = now.saturating_sub(window);
        let used = std::mem::take(&mut state.used);
        used.into_iter().filter(|(at, _)| *at >= since).map(|(_, used)| used).collect()
    }

    pub(crate) fn is_back(&self) -> bool {
        self.0.lock().back.is_some()
    }

    /// Whether it has stood back for long enough.
    pub(crate) fn has_rested(&self, now: Duration) -> bool {
        self.0.lock().back.as_ref().is_some_and(|back| back.until <= now)
    }

    pub(crate) fn come_back(&self) {
        self.0.lock().back = None;
    }

    /// Why it stands back, if it does.
    pub(crate) fn why(&self) -> Option<String> {
        self.0.lock().back.as_ref().map(|back| back.why.clone())
    }
}
