//! The span that a future runs in: who calls out from inside finds it without being handed it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::ports::Spans;
use crate::trace::TraceParent;

/// What goes on inside a span.
#[derive(Clone)]
pub struct Scope {
    /// The span.
    pub place: TraceParent,
    /// The vendors' part of its trace context.
    pub state: Option<String>,
    /// Who takes further spans; without it the place is only handed on.
    pub spans: Option<Arc<dyn Spans>>,
}

thread_local! {
    /// Set while a future within a scope is polled, and at no other time.
    static CURRENT: RefCell<Option<Arc<Scope>>> = const { RefCell::new(None) };
}

/// The scope of the future that is being polled on this thread. What it starts elsewhere (another
/// thread, a task of its own) is outside.
pub fn current() -> Option<Arc<Scope>> {
    CURRENT.with_borrow(Clone::clone)
}

/// A future within a scope, or without one.
pub struct Within<F> {
    scope: Option<Arc<Scope>>,
    future: F,
}

/// Runs `future` within `scope`.
pub fn within<F: Future + Unpin>(scope: Option<Arc<Scope>>, future: F) -> Within<F> {
    Within { scope, future }
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, waker: &mut Context<'_>) -> Poll<F::Output> {
        let before = CURRENT.replace(self.scope.clone());
        // Also when the future panics.
        let _after = Restored(before);
        Pin::new(&mut self.future).poll(waker)
    }
}

struct Restored(Option<Arc<Scope>>);

impl Drop for Restored {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, pending};

    use super::*;

    fn scope(digit: char) -> Option<Arc<Scope>> {
        let text = format!("00-{}-{}-01", "1".repeat(32), digit.to_string().repeat(16));
        let place = text.parse().expect("valid");
        Some(Arc::new(Scope { place, state: None, spans: None }))
    }

    fn seen() -> Option<String> {
        current().map(|scope| scope.place.span_id())
    }

    #[test]
    fn a_scope_holds_while_its_future_is_polled_and_not_a_moment_longer() {
        let one = Some("1".repeat(16));
        let inner: BoxFuture<'static, _> = async { seen() }.boxed();
        let outer: BoxFuture<'static, _> = async move {
            let before = seen();
            let inside = within(scope('2'), inner).await;
            (before, inside, seen())
        }
        .boxed();
        let (before, inside, after) = within(scope('1'), outer).now_or_never().expect("at once");
        assert_eq!((before, inside, after), (one.clone(), Some("2".repeat(16)), one));
        assert_eq!(seen(), None);
        let without: BoxFuture<'static, _> = async { seen() }.boxed();
        assert_eq!(within(None, without).now_or_never(), Some(None));
    }

    #[test]
    fn a_future_that_waits_or_panics_leaves_no_scope_behind() {
        let waits: BoxFuture<'static, ()> = pending().boxed();
        assert!(within(scope('1'), waits).now_or_never().is_none());
        assert_eq!(seen(), None);
        let panics: BoxFuture<'static, ()> =
            async { std::panic::resume_unwind(Box::new(1)) }.boxed();
        let run = AssertUnwindSafe(|| within(scope('1'), panics).now_or_never());
        assert!(catch_unwind(run).is_err());
        assert_eq!(seen(), None);
    }
}
