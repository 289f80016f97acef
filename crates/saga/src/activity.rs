//! What an activity's author writes, and how the engine gets it with its types erased.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_model::ports::activity::{Activity as Port, Attempt};
use knarr_model::{Failure, RetryPolicy};
use serde_json::value::{RawValue, to_raw_value};

use crate::event::Call;
use crate::message::decode_as;

/// Answers calls of type `C`: an object with its own client and key, in a file of its own.
///
/// `run` may be dropped at any await: at its deadline, at a halt, when the run ends, at shutdown.
/// It runs at least once per call; `attempt.idempotency_key` is the same for every attempt.
///
/// ```
/// use knarr_saga::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, Call)]
/// #[call(output = usize)]
/// struct CountWords { text: String }
///
/// struct Counter;
///
/// impl Activity<CountWords> for Counter {
///     async fn run(&self, call: &CountWords, attempt: &Attempt) -> Result<usize, Failure> {
///         if call.text.is_empty() {
///             return Err(Failure::permanent("empty", "there is no text to count"));
///         }
///         Ok(call.text.split_whitespace().count() + attempt.number as usize - 1)
///     }
/// }
/// let erased = knarr_saga::erase(Counter);
/// assert_eq!(erased.call(), "CountWords");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not answer the call `{C}`",
    note = "add impl Activity<{C}> for {Self}"
)]
pub trait Activity<C: Call>: Send + Sync + 'static {
    /// Runs one attempt.
    ///
    /// # Errors
    /// A [`Failure`]: transient (tried again), permanent (`failed::<C>()` for the saga), unknown
    /// (never repeated blindly), or [`Failure::again`] (not done yet, no attempt used).
    fn run(
        &self,
        call: &C,
        attempt: &Attempt,
    ) -> impl Future<Output = Result<C::Output, Failure>> + Send;

    /// Attempts in all and the delays between them, where a call says nothing.
    /// Default: five, doubling from one second to one minute.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::doubling(5, Duration::from_secs(1), Duration::from_secs(60))
    }

    /// How long one attempt may take, where a call says nothing. Default: 30 seconds.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// The activity as the engine takes it.
pub fn erase<C: Call, A: Activity<C>>(activity: A) -> Arc<dyn Port> {
    Arc::new(Erased { activity, call: PhantomData })
}

struct Erased<A, C> {
    activity: A,
    call: PhantomData<fn() -> C>,
}

#[async_trait]
impl<C: Call, A: Activity<C>> Port for Erased<A, C> {
    fn call(&self) -> &str {
        C::name()
    }

    fn retry(&self) -> RetryPolicy {
        self.activity.retry()
    }

    fn deadline(&self) -> Duration {
        self.activity.deadline()
    }

    async fn run(&self, call: &RawValue, attempt: &Attempt) -> Result<Arc<RawValue>, Failure> {
        let call: C = decode_as(call).map_err(|why| {
            Failure::permanent("bad-call", format!("the call {} cannot be read: {why}", C::name()))
        })?;
        let output = self.activity.run(&call, attempt).await?;
        to_raw_value(&output).map(Arc::from).map_err(|error| {
            let text = format!("the answer to {} cannot be written: {error}", C::name());
            Failure::permanent("bad-answer", text)
        })
    }
}
