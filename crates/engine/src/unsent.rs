//! What this node has committed and no broker has confirmed: counted, so that it has a bound.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use knarr_model::work::Outgoing;

/// Messages and their bodies' bytes.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// It was at a bound and is not yet below nine tenths of it.
    full: AtomicBool,
}

impl Unsent {
    /// Messages were committed, or taken over.
    pub(crate) fn add(&self, messages: &[Outgoing]) {
        let bytes = messages.iter().map(|message| message.body.len()).sum();
        self.messages.fetch_add(messages.len(), Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Messages are through, or another node's business.
    pub(crate) fn take(&self, messages: usize, bytes: usize) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many messages.
    pub(crate) fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Whether so much waits that nothing more should be taken in.
    pub(crate) fn is_full(&self, most_messages: usize, most_bytes: usize) -> bool {
        let was = self.full.load(Ordering::Relaxed);
        let at = |now: usize, most: usize| now >= most || was && now >= most - most / 10;
        let full = at(self.messages(), most_messages)
            || at(self.bytes.load(Ordering::Relaxed), most_bytes);
        self.full.store(full, Ordering::Relaxed);
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pe_095_either_bound_fills_it_until_below_nine_tenths() {
        for (per_message, bytes) in [(1, 0), (0, 10)] {
            let unsent = Unsent::default();
            let (most, most_bytes) = (100, 1_000);
            let full = || unsent.is_full(most, most_bytes);
            let add = |n: usize| {
                unsent.messages.fetch_add(n * per_message, Ordering::Relaxed);
                unsent.bytes.fetch_add(n * bytes, Ordering::Relaxed);
            };
            add(99);
            assert!(!full());
            add(1);
            assert!(full());
            unsent.take(10 * per_message, 10 * bytes);
            assert!(full(), "not yet below nine tenths");
            unsent.take(per_message, bytes);
            assert!(!full());
            add(5);
            assert!(!full(), "it is the bound again that counts");
        }
    }
}
