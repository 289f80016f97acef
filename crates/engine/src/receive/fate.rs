//! What became of one message, and what it is called in the journal.

use knarr_model::work::CallEnd;
use knarr_model::{Class, InstanceId};

use crate::delivery::{Body, Incoming};

/// Where one message ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// The slice it is part of; it is lost or kept with it.
    pub(crate) key: Option<InstanceId>,
    pub(crate) kind: FateKind,
}

/// What became of one message, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FateKind {
    Applied,
    Duplicate,
    PassedOver,
    Parked,
    /// Its behaviour failed; it is tried again.
    Failed,
    Quarantined(Class),
    /// A copy of a set-aside start message; that one's row counts it.
    Blocked(uuid::Uuid),
    /// Its run failed: the batch does not commit it, the guard takes it.
    Condemned,
}

/// What the journal calls it.
pub(crate) fn event_name(incoming: &Incoming) -> String {
    match &incoming.body {
        Body::Message { correlated, .. } => correlated.event.clone(),
        Body::Bad { envelope, .. } => envelope
            .as_ref()
            .and_then(|envelope| envelope.message_types.first().cloned())
            .unwrap_or_else(|| "unreadable".to_owned()),
        Body::Timer(timer) => format!("timer {}", timer.name),
        Body::Ended(ended) => match &ended.end {
            CallEnd::Done(_) => format!("done {}", ended.task.call),
            CallEnd::Failed(_) => format!("failed {}", ended.task.call),
        },
    }
}
