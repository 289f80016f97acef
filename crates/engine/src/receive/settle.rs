//! What becomes of a message that failed: again, set aside, or the end of its run.

use bytes::Bytes;
use knarr_guard::{Verdict as Judgement, judge};
use knarr_model::commit::{Origin, Outcome};
use knarr_model::fault::{MAX_REASON, cut};
use knarr_model::format::{MASS_TRANSIT, masstransit};
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::work::ParkedReason;
use knarr_model::{Class, Envelope, Headers, Instance, InstanceId, MessageId, digest, ids};
use serde_json::json;

use super::fate::{Fate, FateKind, event_name};
use super::fold::Fold;
use super::tombstone::tombstone;
use crate::delivery::{Body, Incoming, Source};

/// A number in 0..1000 that spreads retries, the same whenever the message is decided.
pub(crate) fn spread(id: MessageId) -> u32 {
    let bytes = id.as_bytes();
    u32::from(u16::from_be_bytes([bytes[14], bytes[15]])) % 1000
}

/// A behaviour failed: the message is tried again within its budget; beyond it, a start message is
/// set aside and a run has failed.
pub(crate) fn failed(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    event: &str,
    class: Class,
    errors: Vec<String>,
) -> Fate {
    let attempt = incoming.failures() + 1;
    match judge(&fold.at.saga.retry(), attempt, class, spread(incoming.id)) {
        Judgement::Again(delay) => {
            let due = Some(fold.at.now + delay);
            let error = errors.first().map(|text| cut(text, MAX_REASON));
            fold.park(incoming, Some(instance), ParkedReason::Retry, due, attempt, error);
            Fate { key: Some(instance), kind: FateKind::Parked }
        }
        Judgement::SetAside(class) => {
            let live = fold.saved(instance).filter(|saved| !saved.is_over());
            match live {
                Some(_) => fail_run(fold, incoming, instance, event, class, errors),
                None => set_aside(fold, incoming, Some(instance), class, errors, None),
            }
        }
    }
}

/// A run has failed: its start message is set aside, the run's row becomes its tombstone.
pub(crate) fn fail_run(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    event: &str,
    class: Class,
    mut errors: Vec<String>,
) -> Fate {
    let key = Some(instance);
    let fate = Fate { key, kind: FateKind::Quarantined };
    let Some(saved) = fold.saved(instance) else {
        return set_aside(fold, incoming, key, class, errors, None);
    };
    let drafted = fold.draft(key).slice.origin.clone();
    let origin = match drafted {
        Some(origin) => Some(origin),
        None => match fold.at.origins.get(&(instance, saved.run)) {
            Some(origin) => origin.clone(),
            None => {
                fold.needs.push((instance, saved.run));
                return fate;
            }
        },
    };
    errors.push(format!("failed at {event} ({}) in state {}", incoming.id, saved.state));
    let row = match &origin {
        Some(origin) => of_origin(fold, incoming, &saved, origin, class, &errors),
        None => of_incoming(fold, incoming, key, class, &errors, Some(&saved.state)),
    };
    let journal = fold.journal(incoming, event, key, Some(&saved.state), Outcome::Quarantined);
    fold.finish(incoming, key, Some(journal));
    close(fold, &saved);
    fold.bury(tombstone(&saved));
    let slice = &mut fold.draft(key).slice;
    slice.quarantine.push(row);
    slice.forget_origin = Some(saved.run);
    slice.origin = None;
    fold.wake_deferred(instance);
    fate
}

/// Cancels what a run has open.
fn close(fold: &mut Fold<'_>, saved: &Instance) {
    let slice = &mut fold.draft(Some(saved.id)).slice;
    slice.timers.clear();
    slice.tasks.clear();
    slice.cancelled_timers.extend(saved.book.timers.values().map(|timer| timer.token));
    slice.cancelled_tasks.extend(saved.book.calls.iter().map(|call| call.token));
}

/// One message is set aside; nothing else changes.
pub(crate) fn set_aside(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: Option<InstanceId>,
    class: Class,
    errors: Vec<String>,
    state: Option<&str>,
) -> Fate {
    let row = of_incoming(fold, incoming, instance, class, &errors, state);
    let event = event_name(incoming);
    let journal = fold.journal(incoming, &event, instance, state, Outcome::Quarantined);
    fold.finish(incoming, instance, Some(journal));
    fold.draft(instance).slice.quarantine.push(row);
    Fate { key: instance, kind: FateKind::Quarantined }
}

/// The same id with another body: set aside under (id, digest); the journal keeps the first.
pub(crate) fn conflict(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    key: Option<InstanceId>,
    reason: String,
) -> Fate {
    let row = of_incoming(fold, incoming, None, Class::IdConflict, &[reason], None);
    fold.finish(incoming, key, None);
    fold.draft(key).slice.quarantine.push(row);
    Fate { key, kind: FateKind::Quarantined }
}

fn of_incoming(
    fold: &Fold<'_>,
    incoming: &Incoming,
    instance: Option<InstanceId>,
    class: Class,
    errors: &[String],
    state: Option<&str>,
) -> Quarantined {
    let run = instance.and_then(|id| fold.saved(id)).map(|saved| saved.run);
    let mut row = blank(fold, incoming, class, errors);
    row.instance = instance;
    row.run = run;
    row.state = state.map(str::to_owned);
    if let Body::Message { envelope, correlated } = &incoming.body
        && correlated.starts
    {
        let print = digest::fingerprint(fold.at.saga.name(), &correlated.urn, &envelope.message);
        row.fingerprint = Some(hex(&print));
    }
    match (&incoming.source, incoming.envelope()) {
        (Source::Broker { raw, .. }, envelope) => {
            row.content_type = raw.content_type.clone();
            row.headers = raw.headers.clone();
            row.body = raw.body.clone();
            row.size = raw.size as u64;
            row.exchange = raw.exchange.clone();
            row.routing_key = raw.routing_key.clone();
            row.message_types =
                envelope.map(|envelope| envelope.message_types.clone()).unwrap_or_default();
        }
        (_, Some(envelope)) => fill(&mut row, envelope, &fold.at.sender.host),
        (_, None) => fill_internal(&mut row, incoming),
    }
    row
}

fn of_origin(
    fold: &Fold<'_>,
    incoming: &Incoming,
    saved: &Instance,
    origin: &Origin,
    class: Class,
    errors: &[String],
) -> Quarantined {
    let mut row = blank(fold, incoming, class, errors);
    row.message_id = origin.message_id;
    row.digest = knarr_model::Digest::of_message(&origin.envelope.message);
    row.id = row_id(&row.endpoint, row.message_id, row.digest);
    row.instance = Some(saved.id);
    row.run = Some(saved.run);
    row.state = Some(saved.state.clone());
    row.fingerprint = Some(hex(&origin.fingerprint));
    fill(&mut row, &origin.envelope, &fold.at.sender.host);
    row
}

fn blank(fold: &Fold<'_>, incoming: &Incoming, class: Class, errors: &[String]) -> Quarantined {
    let endpoint = fold.at.endpoint.clone();
    Quarantined {
        id: row_id(&endpoint, incoming.id, incoming.digest),
        endpoint,
        saga: fold.at.saga.name().clone(),
        message_id: incoming.id,
        digest: incoming.digest,
        class,
        reason: errors.first().map(|text| cut(text, MAX_REASON)).unwrap_or_default(),
        errors: errors.iter().map(|text| cut(text, MAX_REASON)).collect(),
        instance: None,
        run: None,
        state: None,
        attempts: incoming.attempt + 1,
        message_types: Vec::new(),
        content_type: None,
        headers: Headers::new(),
        body: Bytes::new(),
        size: 0,
        exchange: String::new(),
        routing_key: String::new(),
        fingerprint: None,
        definition_version: fold.at.saga.version(),
        at: fold.at.now,
        status: Status::Held,
        incident: None,
        copies: 0,
        released_as: None,
        edits: Vec::new(),
    }
}

/// Fills in a message that is known as an envelope only.
fn fill(row: &mut Quarantined, envelope: &Envelope, host: &masstransit::Host) {
    let body = masstransit::encode(envelope, host);
    row.content_type = Some(MASS_TRANSIT.to_owned());
    row.headers = envelope.headers.clone();
    row.size = body.len() as u64;
    row.body = body;
    row.message_types = envelope.message_types.clone();
}

/// Fills in a timer or a call's end: no message, but a person must see what it was.
fn fill_internal(row: &mut Quarantined, incoming: &Incoming) {
    debug_assert!(matches!(incoming.source, Source::Row { .. }));
    let shown = match &incoming.body {
        Body::Timer(timer) => json!({ "timer": timer.name, "dueAt": timer.due_at }),
        Body::Ended(ended) => {
            json!({ "call": ended.task.call, "payload": ended.task.payload, "end": ended.end })
        }
        Body::Message { .. } | Body::Bad { .. } => json!({}),
    };
    let text = shown.to_string();
    row.content_type = Some("application/json".to_owned());
    row.size = text.len() as u64;
    row.body = Bytes::from(text);
    row.message_types = vec![format!(
        "{}{}",
        knarr_model::topology::RESERVED_URN,
        event_name(incoming).replace(' ', ":")
    )];
}

fn row_id(endpoint: &str, message: MessageId, digest: knarr_model::Digest) -> uuid::Uuid {
    ids::derived_id(&[b"quarantine", endpoint.as_bytes(), message.as_bytes(), &digest.0])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
