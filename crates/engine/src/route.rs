//! What is put on a lane, and on which: messages and rows alike become deliveries here.

use std::sync::Arc;

use knarr_model::topology::is_reserved;
use knarr_model::work::{ClaimedRow, EndedCall, Parked, ParkedReason, RowKind, Timer};
use knarr_model::{Class, Digest, Envelope, InstanceId, MessageId, NodeId, RowId};
use knarr_saga::definition::{BadMessage, Correlated, Definition, Target};

use crate::delivery::{Body, Incoming, Source, keyed_instance};

/// A parked message that is due.
pub(crate) fn of_parked(
    saga: &dyn Definition,
    parked: Parked,
    node: NodeId,
    now: chrono::DateTime<chrono::Utc>,
) -> Incoming {
    Incoming {
        id: parked.message_id,
        digest: parked.digest,
        body: of_envelope(saga, parked.envelope),
        suspect: parked.reason == ParkedReason::Suspect,
        source: Source::Parked {
            row: parked.id,
            claims: parked.claims,
            node,
            seq: parked.seq,
            reason: parked.reason,
            placed: parked.instance.is_some(),
        },
        received_at: now,
        attempt: parked.attempt,
        lost: 0,
        held: None,
        span: None,
    }
}

/// A timer that is due.
pub(crate) fn of_timer(timer: Timer, node: NodeId, now: chrono::DateTime<chrono::Utc>) -> Incoming {
    Incoming {
        id: MessageId(timer.id.0),
        digest: Digest::of_bytes(timer.id.as_bytes()),
        source: Source::Row { claimed: claimed(RowKind::Timer, timer.id, timer.claims), node },
        attempt: timer.attempt,
        // A store's clock may run ahead of ours; a timer never fires before its own time.
        received_at: now.max(timer.due_at),
        body: Body::Timer(Box::new(timer)),
        lost: 0,
        held: None,
        span: None,
        suspect: false,
    }
}

/// A call that ended.
pub(crate) fn of_ended(
    ended: EndedCall,
    node: NodeId,
    now: chrono::DateTime<chrono::Utc>,
) -> Incoming {
    Incoming {
        id: MessageId(ended.task.id.0),
        digest: Digest::of_bytes(ended.task.id.as_bytes()),
        source: Source::Row {
            claimed: claimed(RowKind::Call, ended.task.id, ended.task.claims),
            node,
        },
        attempt: ended.decide_attempt,
        body: Body::Ended(Box::new(ended)),
        received_at: now,
        lost: 0,
        held: None,
        span: None,
        suspect: false,
    }
}

fn claimed(kind: RowKind, id: RowId, claims: i64) -> ClaimedRow {
    ClaimedRow { kind, id, claims }
}

/// A message, its type and target found.
pub(crate) fn of_envelope(saga: &dyn Definition, envelope: Arc<Envelope>) -> Body {
    if let Some(urn) = envelope.message_types.iter().find(|urn| is_reserved(urn)) {
        let reason = format!("{urn} is a type of Knarr's own; no transport may deliver it");
        return Body::Bad { class: Class::UnknownType, reason, envelope: Some(envelope) };
    }
    match saga.correlate(&envelope) {
        Ok(correlated) => Body::Message { envelope, correlated },
        Err(bad) => {
            let class = match bad {
                BadMessage::UnknownType(_) => Class::UnknownType,
                _ => Class::BadMessage,
            };
            Body::Bad { class, reason: bad.to_string(), envelope: Some(envelope) }
        }
    }
}

/// The instance whose lane a message travels on. A key whose owner is not known goes with the
/// instance it would make; should that be another one, the version check covers.
pub(crate) fn lane_instance(
    saga: &dyn Definition,
    incoming: &Incoming,
    cached: impl Fn(&Correlated) -> Option<InstanceId>,
) -> InstanceId {
    match (&incoming.body, incoming.instance()) {
        (_, Some(id)) => id,
        (Body::Message { correlated, .. }, None) => {
            cached(correlated).unwrap_or_else(|| match &correlated.target {
                Target::Id(id) => *id,
                Target::Key(key) => keyed_instance(saga.name(), &key.name, &key.value, 1),
            })
        }
        _ => InstanceId(incoming.id.0),
    }
}
