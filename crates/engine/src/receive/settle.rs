//! What becomes of a message that failed: again, set aside, or the end of its run, which is the guard's.

use bytes::Bytes;
use knarr_guard::{Failing, Failure, Verdict as Judgement, judge};
use knarr_model::commit::{JournalRow, Origin, Outcome};
use knarr_model::durations::later;
use knarr_model::fault::{MAX_REASON, cut};
use knarr_model::format::{MASS_TRANSIT, amqp_headers, masstransit};
use knarr_model::incident::FailedAt;
use knarr_model::instance::{FINAL, PURGED};
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::work::{Outgoing, ParkedReason};
use knarr_model::{Class, Envelope, Headers, Instance, InstanceId, MessageId, digest, ids};
use serde_json::json;

use super::effects::{Why, fault, mirror, receive_fault};
use super::fate::{Fate, FateKind, event_name};
use super::fold::Fold;
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
            let due = Some(later(fold.at.now, delay));
            let error = errors.first().map(|text| cut(text, MAX_REASON));
            fold.park(incoming, Some(instance), ParkedReason::Retry, due, attempt, error);
            Fate { key: Some(instance), kind: FateKind::Failed }
        }
        Judgement::SetAside(class) => match fold.saved(instance) {
            Some(saved) if saved.is_over() => {
                set_aside(fold, incoming, Some(instance), class, errors, None)
            }
            _ => fail_run(fold, incoming, instance, event, class, errors),
        },
    }
}

/// Processes died whenever they decided this message: it is set aside, and a start message blocks its
/// copies. Nothing else changes: no run has failed, and the endpoint goes on.
pub(crate) fn convict(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    reason: String,
) -> Fate {
    let event = event_name(incoming);
    let starts = matches!(&incoming.body, Body::Message { correlated, .. } if correlated.starts);
    let errors = vec![reason];
    if starts && !fold.exists(instance) {
        let fate = fail_run(fold, incoming, instance, &event, Class::Poison, errors);
        if let Some(failure) = &mut fold.failure {
            failure.policy.contain_on_start = false;
        }
        return fate;
    }
    set_aside(fold, incoming, Some(instance), Class::Poison, errors, None)
}

/// A run has failed, or a start message beyond its budget: the guard takes it from here. Nothing of
/// it is part of a batch's commit.
pub(crate) fn fail_run(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    event: &str,
    class: Class,
    mut errors: Vec<String>,
) -> Fate {
    let key = Some(instance);
    let condemned = Fate { key, kind: FateKind::Condemned };
    let saved = fold.saved(instance).filter(|saved| !saved.is_over());
    let starts = matches!(&incoming.body, Body::Message { correlated, .. } if correlated.starts);
    if saved.is_none() && !starts {
        return set_aside(fold, incoming, key, class, errors, None);
    }
    let stored = fold.at.loaded.instances.get(&instance).map(|stored| stored.version);
    let mut start = None;
    if let (Some(saved), Some(_)) = (&saved, stored) {
        let Some(origin) = fold.at.origins.get(&(instance, saved.run)) else {
            fold.needs.push((instance, saved.run));
            return condemned;
        };
        errors.push(format!("failed at {event} ({}) in state {}", incoming.id, saved.state));
        start =
            origin.as_ref().map(|origin| of_origin(fold, incoming, saved, origin, class, &errors));
    }
    let state = saved.as_ref().map(|saved| saved.state.clone());
    let start =
        start.unwrap_or_else(|| of_incoming(fold, incoming, key, class, &errors, state.as_deref()));
    let run = saved.as_ref().zip(stored).map(|(saved, version)| Failing {
        instance,
        run: saved.run,
        version,
    });
    let to_state = if run.is_some() { Some(PURGED.to_owned()) } else { state.clone() };
    let journal = JournalRow {
        message_id: journal_id(incoming, stored),
        to_state,
        run: run.map(|run| run.run),
        ..fold.journal(incoming, event, key, state.as_deref(), Outcome::Quarantined)
    };
    let faults = failed_told(fold, incoming, &start, run);
    let saga = &fold.at.saga;
    let steps = run.map(|run| saga.purge_steps(instance, run.run)).unwrap_or_default();
    fold.failure = Some(Box::new(Failure {
        saga: saga.name().clone(),
        run,
        epoch: fold.at.loaded.endpoint.epoch,
        policy: saga.failures(),
        start,
        failed_at: FailedAt {
            message_id: incoming.id,
            event: event.to_owned(),
            envelope: incoming.envelope().cloned(),
            row: incoming.row(),
            attempts: incoming.failures() + 1,
        },
        journal,
        taken: incoming.claimed(),
        faults,
        steps,
    }));
    condemned
}

/// When a run has failed, whoever sent its start message is told, and whoever sent the message at
/// which it failed.
fn failed_told(
    fold: &Fold<'_>,
    incoming: &Incoming,
    start: &Quarantined,
    run: Option<Failing>,
) -> Vec<Outgoing> {
    let at = fold.at;
    let origin = run.and_then(|run| at.origins.get(&(run.instance, run.run)).cloned().flatten());
    let first = origin.map(|origin| origin.envelope);
    let other = incoming
        .envelope()
        .filter(|last| first.as_ref().is_none_or(|first| first.message_id != last.message_id));
    // The start message of a run is told what its run failed on; only the other one was tried again.
    let aside = first.clone().or_else(|| other.cloned());
    let told = first.iter().map(|of| (of, 0)).chain(other.map(|of| (of, incoming.failures())));
    let faults = told.filter_map(|(of, retries)| {
        let kind = start.class.as_str();
        let failed_at = run.map(|run| run.version);
        fault(at, of, &Why { retries, failed_at, ..Why::once(incoming, kind, &start.errors) })
    });
    faults.chain(mirror(at, start, aside.as_deref())).collect()
}

/// A timer or call that comes back by `retry` is journaled anew, so its failure has a line of its own.
fn journal_id(incoming: &Incoming, version: Option<i64>) -> MessageId {
    match &incoming.body {
        Body::Timer(_) | Body::Ended(_) => {
            let version = version.unwrap_or_default().to_be_bytes();
            MessageId(ids::derived_id(&[b"failed", incoming.id.as_bytes(), &version]))
        }
        Body::Message { .. } | Body::Bad { .. } => incoming.id,
    }
}

/// A copy of a set-aside start message starts nothing.
pub(crate) fn blocked(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    by: uuid::Uuid,
) -> Fate {
    let key = Some(instance);
    let event = event_name(incoming);
    let journal = fold.journal(incoming, &event, key, None, Outcome::Quarantined);
    fold.finish(incoming, key, Some(journal));
    if let Some(asked) = incoming.envelope().filter(|asked| asked.request_id.is_some()) {
        let reason = format!("a copy of it is set aside as {by}: it starts nothing");
        let told = fault(fold.at, asked, &Why::once(incoming, Class::Failed.as_str(), &[reason]));
        fold.draft(key).slice.outgoing.extend(told);
    }
    Fate { key, kind: FateKind::Blocked(by) }
}

/// A message came for a run that is over: whoever asked with it is told, never left in silence.
pub(crate) fn too_late(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    state: &str,
) {
    let Some(asked) = incoming.envelope().filter(|asked| asked.request_id.is_some()) else {
        return;
    };
    let (kind, what) = match state {
        FINAL => ("already-finished", "has finished"),
        PURGED => (Class::Purged.as_str(), "was purged"),
        _ => return,
    };
    let reason = format!("{} {instance} {what}", fold.at.saga.name());
    let told = fault(fold.at, asked, &Why::once(incoming, kind, &[reason]));
    fold.draft(Some(instance)).slice.outgoing.extend(told);
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
    let told = told(fold, incoming, &row);
    let event = event_name(incoming);
    let journal = fold.journal(incoming, &event, instance, state, Outcome::Quarantined);
    fold.finish(incoming, instance, Some(journal));
    let slice = &mut fold.draft(instance).slice;
    slice.quarantine.push(row);
    slice.outgoing.extend(told);
    Fate { key: instance, kind: FateKind::Quarantined(class) }
}

/// The same id with another body: set aside under (id, digest); the journal keeps the first.
pub(crate) fn conflict(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    key: Option<InstanceId>,
    reason: String,
) -> Fate {
    let row = of_incoming(fold, incoming, None, Class::IdConflict, &[reason], None);
    let told = told(fold, incoming, &row);
    fold.finish(incoming, key, None);
    let slice = &mut fold.draft(key).slice;
    slice.quarantine.push(row);
    slice.outgoing.extend(told);
    Fate { key, kind: FateKind::Quarantined(Class::IdConflict) }
}

/// Who waits for a set-aside message is told, once; teams with tools on `_error` get their copy.
fn told(fold: &Fold<'_>, incoming: &Incoming, row: &Quarantined) -> Vec<Outgoing> {
    let at = fold.at;
    let fault = match (&incoming.body, incoming.envelope()) {
        // What is asked for inside is nobody's message.
        (Body::Timer(_) | Body::Ended(_), _) => None,
        (_, Some(envelope)) if !envelope.message_types.is_empty() => {
            let (kind, retries) = (row.class.as_str(), incoming.failures());
            fault(at, envelope, &Why { retries, ..Why::once(incoming, kind, &row.errors) })
        }
        _ => {
            let media = row.content_type.as_deref();
            let why = Why::once(incoming, row.class.as_str(), &row.errors);
            receive_fault(at, incoming.id, media, &why)
        }
    };
    fault.into_iter().chain(mirror(at, row, incoming.envelope().map(|of| &**of))).collect()
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
    // The body has them all; beside it they stand as on the wire.
    row.headers = amqp_headers(&envelope.headers);
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

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
