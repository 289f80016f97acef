//! A machine with its types erased: all that the engine knows of a saga.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::commit::Key;
use knarr_model::incident::FailurePolicy;
use knarr_model::shape::Shape;
use knarr_model::topology::Subscription;
use knarr_model::{
    Effect, Envelope, Failure, Instance, InstanceId, MessageId, Name, RetryPolicy, RowId, Script,
    Statement,
};
use serde_json::value::RawValue;

use crate::check::Finding;

/// A saga as the engine sees it. Everything here is pure.
pub trait Definition: Send + Sync {
    /// The saga's name; also its receive endpoint's.
    fn name(&self) -> &Name;

    /// The definition's version; instances carry the one that wrote them last.
    fn version(&self) -> u32;

    /// The message types it takes, in declared order.
    fn subscriptions(&self) -> Vec<Subscription>;

    /// Names of the call types it asks for; each needs an activity.
    fn calls(&self) -> Vec<String>;

    /// Budget and backoff of a message whose behaviour fails (attempts in all, default 3).
    fn retry(&self) -> RetryPolicy;

    /// Whether one process at a time serves its endpoint, so that what leaves does so in order.
    fn is_ordered(&self) -> bool;

    /// The table as a value.
    fn shape(&self) -> Shape;

    /// Whether a business key of this name is freed when its run finishes.
    fn key_is_reusable(&self, name: &str) -> bool;

    /// What happens when something in it fails for good.
    fn failures(&self) -> FailurePolicy {
        FailurePolicy::default()
    }

    /// Statements that remove what a run has written into the saga's own tables, in order.
    fn purge_steps(&self, instance: InstanceId, run: u32) -> Vec<Statement> {
        let _ = (instance, run);
        Vec::new()
    }

    /// Scripts that make the saga's own tables, in order.
    fn migrations(&self) -> Vec<Script> {
        Vec::new()
    }

    /// Everything that is wrong with the table, all at once.
    fn findings(&self) -> Vec<Finding>;

    /// Which instance a message is for.
    ///
    /// # Errors
    /// [`BadMessage`] when no type fits or the payload does not.
    fn correlate(&self, envelope: &Envelope) -> Result<Correlated, BadMessage>;

    /// Whether it has this state, so that it can take up instances that are in it.
    fn has_state(&self, state: &str) -> bool;

    /// Takes an instance up for deciding; `stored` is `None` when there is no row.
    ///
    /// # Errors
    /// A reason for people when the stored row cannot be read by this definition.
    fn open(&self, id: InstanceId, stored: Option<&Instance>) -> Result<Box<dyn Live>, String>;

    /// Takes up an instance whose run is over (finished or purged) for its next run: a start
    /// message is decided as if there were no row, and `save` gives run + 1 with `version` as
    /// loaded. For released messages only; `open` lets nothing start such an instance again.
    fn reopen(&self, over: &Instance) -> Box<dyn Live>;
}

/// A message whose type and target are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlated {
    /// The event's name, as the journal shows it: the exchange name of the matched type.
    pub event: String,
    /// The matched type's URN.
    pub urn: String,
    /// Whether a start row takes it.
    pub starts: bool,
    /// The instance.
    pub target: Target,
}

/// How a message names its instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By id.
    Id(InstanceId),
    /// By business key; the store knows whose it is.
    Key(Key),
}

/// Why a message has no instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMessage {
    /// None of its types is one of the machine's.
    #[error("no type of this saga is among {0:?}")]
    UnknownType(Vec<String>),
    /// Its payload does not fit the type; says which member and why.
    #[error("{event}: {reason}")]
    Payload {
        /// The type that it claims to be.
        event: String,
        /// What is wrong and where.
        reason: String,
    },
}

/// One instance taken up for deciding. Several messages are folded one after another.
pub trait Live: Send {
    /// Decides one event. Transactional: with any verdict but `Applied` nothing has changed, but
    /// for the token of an ignored call's or timer's end (see [`Live::is_changed`]).
    /// Panics of behaviours are caught and become [`Verdict::Broken`].
    fn decide(&mut self, cause: &Cause, event: &Event<'_>) -> Decision;

    /// The state's name now; [`knarr_model::instance::INITIAL`] when there is no instance.
    fn state(&self) -> &str;

    /// The instance as it stands now, `version` as it was loaded (0 when new); `None` when there
    /// still is none.
    ///
    /// # Errors
    /// A reason when the data cannot be written as JSON.
    fn save(&self) -> Result<Option<Instance>, String>;

    /// Whether `save` would give something else than what was loaded. True after `Applied`, after
    /// a noted deferral, and after an `Ignored` end of a call or timer (its token left the book,
    /// which would otherwise grow without bound).
    fn is_changed(&self) -> bool;

    /// Notes that a message of this type was deferred; part of the next save.
    fn note_deferred(&mut self, event: &str);

    /// A copy, to come back to.
    fn snapshot(&self) -> Box<dyn Live>;
}

/// Where an event comes from; ids and times of its effects derive from it.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// The journal id of the message or internal delivery.
    pub id: MessageId,
    /// The time that `out.now()` shows.
    pub at: DateTime<Utc>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A message came.
    Message(&'a Envelope),
    /// A call was answered. `token` is the call's row.
    Done {
        /// The call's type name.
        call: &'a str,
        /// The row that the book must know.
        token: RowId,
        /// The run that asked.
        run: u32,
        /// The answer.
        output: &'a Arc<RawValue>,
    },
    /// A call failed for good.
    Failed {
        /// The call's type name.
        call: &'a str,
        /// The row that the book must know.
        token: RowId,
        /// The run that asked.
        run: u32,
        /// Why.
        failure: &'a Failure,
    },
    /// A timer is due.
    Timer {
        /// Its name.
        name: &'a str,
        /// The row that the book must know.
        token: RowId,
        /// The run that set it.
        run: u32,
    },
}

/// What a machine answers to an event.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What became of it.
    pub verdict: Verdict,
    /// The event's name for the journal: an exchange name, `done <call>`, `failed <call>` or
    /// `timer <name>`.
    pub event: String,
    /// The state before.
    pub from: String,
    /// The state after; the same unless applied.
    pub to: String,
    /// What it asked for, in order; empty unless applied.
    pub effects: Vec<Effect>,
    /// Warnings for the log (a timer set in the row that finishes …).
    pub warnings: Vec<String>,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// A row ran.
    Applied,
    /// The table says that it does not matter here; or it is a late `done`, timer or start.
    Ignored,
    /// It met a tombstone, another run, or a token that is not live any more.
    Absorbed,
    /// It is for an instance that does not exist: try again by this policy, then set it aside.
    Missing(RetryPolicy),
    /// It waits until the instance changes state.
    Deferred,
    /// No row takes it in this state.
    Unhandled,
    /// Its payload does not fit.
    Bad(BadMessage),
    /// The behaviour failed or panicked: the chain of errors, outermost first.
    Broken(Vec<String>),
    /// The run itself failed: the declared target `Fail`, or a failed call that no row takes.
    RunFailed {
        /// `failed` or `activity`.
        class: knarr_model::Class,
        /// Why, outermost first.
        errors: Vec<String>,
    },
}
