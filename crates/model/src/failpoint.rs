//! Steps of a message's way at which a test ends the process; nothing at all in a release build.
//!
//! The engine and the adapters only say that they pass a step. What happens then is up to whoever
//! armed the process, which a binary built without debug assertions cannot be: there `pass` is
//! empty, and `arm` does not exist.

macro_rules! steps {
    ($($(#[doc = $says:literal])+ $step:ident = $name:literal,)+) => {
        /// A step, in the order in which a message comes by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step { $($(#[doc = $says])+ $step,)+ }

        impl Step {
            /// All of them, in this order.
            pub const ALL: &[Step] = &[$(Step::$step),+];

            /// The name by which a test chooses it.
            pub const fn name(self) -> &'static str {
                match self { $(Step::$step => $name),+ }
            }
        }
    };
}

steps! {
    /// The broker has delivered a message, and nothing is done with it yet.
    Received = "received",
    /// Everything that a batch needs is loaded, and nothing is decided.
    Loaded = "loaded",
    /// One message is about to be decided, on its lane's thread.
    Deciding = "deciding",
    /// A batch is decided; nothing of it is written.
    Decided = "decided",
    /// The commit has begun, with its fence, and has written nothing.
    CommitBegun = "commit-begun",
    /// Within the commit: the instances are written, outbox, journal and all else are not.
    StateWritten = "state-written",
    /// Within the commit: everything is written.
    CommitWritten = "commit-written",
    /// The end of the commit was asked for, and its answer is not there.
    CommitSent = "commit-sent",
    /// The commit's answer is there; nothing is published, nothing acked.
    Committed = "committed",
    /// Committed messages are about to be published.
    BeforePublish = "before-publish",
    /// They are on their way to the broker, which has not confirmed them.
    Published = "published",
    /// The broker has confirmed, and nothing is made of it yet.
    Confirmed = "confirmed",
    /// The outbox rows of confirmed messages are about to be deleted.
    BeforeFinish = "before-finish",
    /// They are deleted.
    Finished = "finished",
    /// What was committed is about to be acked.
    BeforeAck = "before-ack",
    /// The acks are handed to the broker's client; perhaps not one is on the wire.
    AckWritten = "ack-written",
    /// A call is claimed and about to be made.
    CallClaimed = "call-claimed",
    /// A call has ended, and nobody knows but this process.
    CallAnswered = "call-answered",
    /// How a call ended is recorded, and its saga has not heard of it.
    CallRecorded = "call-recorded",
    /// A timer, an ended call or a message that waited is claimed for its lane.
    RowClaimed = "row-claimed",
}

/// The process comes by here.
#[inline]
pub fn pass(step: Step) {
    #[cfg(debug_assertions)]
    armed::pass(step);
    #[cfg(not(debug_assertions))]
    let _nobody_can_hear: Step = step;
}

/// Does `work`, and passes `step` once it has been begun and waits, as for an answer.
///
/// Cancel-safe where `work` is.
pub async fn pass_while_waiting<F: Future>(step: Step, work: F) -> F::Output {
    #[cfg(debug_assertions)]
    return armed::pass_while_waiting(step, work).await;
    #[cfg(not(debug_assertions))]
    {
        let _nobody_can_hear: Step = step;
        work.await
    }
}

/// Lets `heard` hear of every pass from now on. `false` when somebody listens already.
#[cfg(debug_assertions)]
pub fn arm(heard: impl Fn(Step) + Send + Sync + 'static) -> bool {
    armed::arm(Box::new(heard))
}

#[cfg(debug_assertions)]
mod armed {
    use std::pin::pin;
    use std::sync::OnceLock;
    use std::task::Poll;

    use super::Step;

    type Heard = Box<dyn Fn(Step) + Send + Sync>;

    static HEARD: OnceLock<Heard> = OnceLock::new();

    pub(super) fn arm(heard: Heard) -> bool {
        HEARD.set(heard).is_ok()
    }

    pub(super) fn pass(step: Step) {
        if let Some(heard) = HEARD.get() {
            heard(step);
        }
    }

    pub(super) async fn pass_while_waiting<F: Future>(step: Step, work: F) -> F::Output {
        let mut work = pin!(work);
        // Its first look sends what there is to send.
        let begun = std::future::poll_fn(|context| Poll::Ready(work.as_mut().poll(context)));
        match begun.await {
            Poll::Ready(output) => output,
            Poll::Pending => {
                pass(step);
                work.await
            }
        }
    }
}
