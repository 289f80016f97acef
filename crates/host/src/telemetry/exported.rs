//! What became of spans: counted, so that nothing is lost in silence.

use std::sync::atomic::{AtomicU64, Ordering};

/// Spans since the process began.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Exported {
    /// The collector has taken so many.
    pub(super) fn sent(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    /// So many are lost.
    pub(super) fn dropped(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// Spans that the collector has taken.
    pub(crate) fn all_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Spans that it never got or did not want.
    pub(crate) fn all_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
