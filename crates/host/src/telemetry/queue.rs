//! Where spans wait to be sent: a bounded queue that never makes anybody wait.

use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::TraceParent;
use knarr_model::ports::{Clock, Spans};
use knarr_model::trace::Span;
use tokio::sync::mpsc;

use super::exported::Exported;
use super::sampler::Sampler;

/// The way in.
pub(super) struct Queue {
    clock: Arc<dyn Clock>,
    sampler: Sampler,
    to: mpsc::Sender<Span>,
    exported: Arc<Exported>,
}

impl Queue {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        sampler: Sampler,
        bound: usize,
        exported: Arc<Exported>,
    ) -> (Queue, mpsc::Receiver<Span>) {
        let (to, from) = mpsc::channel(bound);
        (Queue { clock, sampler, to, exported }, from)
    }

    fn random(&self) -> u64 {
        let half = || u64::from(self.clock.random(u32::MAX));
        half() << 32 | half()
    }

    fn trace(&self) -> NonZeroU128 {
        let id = u128::from(self.random()) << 64 | u128::from(self.random());
        NonZeroU128::new(id).unwrap_or(NonZeroU128::MIN)
    }
}

impl Spans for Queue {
    fn begin(&self, parent: Option<TraceParent>) -> TraceParent {
        let trace = parent.map_or_else(|| self.trace(), |parent| parent.trace);
        let sampled = self.sampler.keeps(trace.get(), parent);
        match parent {
            // Of a trace that is not kept the parent stays the last one known.
            Some(parent) if !sampled => TraceParent { sampled, ..parent },
            _ => {
                let span = NonZeroU64::new(self.random()).unwrap_or(NonZeroU64::MIN);
                TraceParent { trace, span, sampled }
            }
        }
    }

    fn end(&self, span: Span) {
        if self.to.try_send(span).is_err() {
            self.exported.dropped(1);
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use knarr_model::trace::SpanKind;

    use super::*;
    use crate::clock::SystemClock;

    fn queue(share: f64, bound: usize) -> (Queue, mpsc::Receiver<Span>) {
        let clock = Arc::new(SystemClock::new());
        Queue::new(clock, Sampler::new(true, share), bound, Arc::default())
    }

    #[test]
    fn a_span_begins_under_its_parent_or_a_trace_begins() {
        let (queue, _from) = queue(1.0, 1);
        let root = queue.begin(None);
        let other = queue.begin(None);
        assert!(root.sampled && root.trace != other.trace && root.span != other.span);
        let child = queue.begin(Some(root));
        assert_eq!((child.trace, child.sampled), (root.trace, true));
        assert_ne!(child.span, root.span);
    }

    #[test]
    fn of_a_trace_that_is_not_kept_the_parent_stays_the_last_one() {
        let (queue, _from) = queue(0.0, 1);
        let root = queue.begin(None);
        assert!(!root.sampled);
        assert_eq!(queue.begin(Some(root)), root);
    }

    #[test]
    fn row_063_what_finds_no_room_is_dropped_and_counted_at_once() {
        let (queue, mut from) = queue(1.0, 2);
        let now = queue.now();
        for n in 0..5 {
            queue.end(Span {
                place: queue.begin(None),
                parent: None,
                state: None,
                name: format!("span {n}"),
                kind: SpanKind::Internal,
                began: now,
                ended: now,
                attributes: Vec::new(),
                links: Vec::new(),
                error: None,
            });
        }
        assert_eq!(queue.exported.all_dropped(), 3);
        let kept: Vec<String> =
            std::iter::from_fn(|| from.try_recv().ok()).map(|span| span.name).collect();
        assert_eq!(kept, ["span 0", "span 1"]);
    }
}
