//! Stored rows as the API shows them: camelCase members, times in RFC 3339, durations in seconds.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::Headers;
use knarr_model::commit::JournalRow;
use knarr_model::incident::Audit;
use knarr_model::ports::records::InstanceDetail;
use knarr_model::ports::store::Stop;
use knarr_model::quarantine::{Edit, Quarantined};
use knarr_model::work::{ActivityTask, Parked, Timer};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::next::Next;
use crate::settings::Saga;

/// A saga in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SagaView {
    name: String,
    version: u32,
    endpoint: String,
    states: Vec<String>,
    takes: Vec<String>,
    calls: Vec<String>,
    /// Instances by state.
    instances: BTreeMap<String, u64>,
    diagram: String,
}

impl SagaView {
    pub(crate) fn of(saga: &Saga, instances: BTreeMap<String, u64>) -> Self {
        SagaView {
            name: saga.name.to_string(),
            version: saga.shape.version,
            endpoint: saga.name.to_string(),
            states: saga.shape.states.clone(),
            takes: saga.takes.clone(),
            calls: saga.calls.clone(),
            instances,
            diagram: saga.diagram.clone(),
        }
    }
}

/// An endpoint in the list; `depth` and `consumers` are null while the broker does not say.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointView {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) epoch: i64,
    /// Why it does not flow; null while it does.
    pub(crate) stop: Option<StopView>,
    /// The only process that serves it, where only one may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<Uuid>,
    /// When the store came back from a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restored_at: Option<DateTime<Utc>>,
    pub(crate) depth: Option<u64>,
    pub(crate) consumers: Option<u32>,
    /// Why depth and consumers are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// Why an endpoint does not flow.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StopView {
    reason: String,
    by: String,
    since: Option<DateTime<Utc>>,
    incident: Option<Uuid>,
    /// Whether what the store has waiting is held back too, though the endpoint is only paused.
    internal_too: bool,
    /// When a node tries by itself whether it goes again.
    restart_at: Option<DateTime<Utc>>,
    /// While it is tried: how many messages are still to succeed.
    probe_left: Option<u32>,
}

impl StopView {
    pub(crate) fn of(stop: Stop) -> Self {
        StopView {
            reason: stop.reason,
            by: stop.by,
            since: stop.since,
            incident: stop.incident,
            internal_too: stop.internal_too,
            restart_at: stop.restart_at,
            probe_left: stop.probe,
        }
    }
}

/// One instance with everything around it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstanceView {
    saga: String,
    id: Uuid,
    run: u32,
    state: String,
    version: i64,
    definition_version: u32,
    updated_at: DateTime<Utc>,
    /// Why nothing happens just now, in a sentence.
    waiting: String,
    data: Arc<RawValue>,
    journal: Vec<JournalView>,
    timers: Vec<TimerView>,
    activities: Vec<ActivityView>,
    parked: Vec<ParkedView>,
}

impl InstanceView {
    pub(crate) fn of(detail: InstanceDetail, waiting: String) -> Self {
        let InstanceDetail { instance, updated_at, journal, timers, calls, parked } = detail;
        InstanceView {
            saga: instance.saga.to_string(),
            id: instance.id.0,
            run: instance.run,
            state: instance.state,
            version: instance.version,
            definition_version: instance.definition_version,
            updated_at,
            waiting,
            data: instance.data,
            journal: journal.into_iter().map(JournalView::of).collect(),
            timers: timers.into_iter().map(TimerView::of).collect(),
            activities: calls.into_iter().map(ActivityView::of).collect(),
            parked: parked.into_iter().map(ParkedView::of).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JournalView {
    message_id: Uuid,
    event: String,
    outcome: &'static str,
    from_state: Option<String>,
    to_state: Option<String>,
    run: Option<u32>,
    seq: Option<i64>,
    at: DateTime<Utc>,
}

impl JournalView {
    fn of(row: JournalRow) -> Self {
        JournalView {
            message_id: row.message_id.0,
            event: row.event,
            outcome: row.outcome.as_str(),
            from_state: row.from_state,
            to_state: row.to_state,
            run: row.run,
            seq: row.seq,
            at: row.at,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TimerView {
    id: Uuid,
    name: String,
    due_at: DateTime<Utc>,
    run: u32,
    attempt: u32,
}

impl TimerView {
    fn of(timer: Timer) -> Self {
        TimerView {
            id: timer.id.0,
            name: timer.name,
            due_at: timer.due_at,
            run: timer.run,
            attempt: timer.attempt,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActivityView {
    id: Uuid,
    call: String,
    payload: Arc<RawValue>,
    attempt: u32,
    /// Processes that died while they ran it, since it was last heard of.
    losses: u32,
    due_at: DateTime<Utc>,
    memo: Option<Value>,
    idempotency_key: Uuid,
    run: u32,
}

impl ActivityView {
    fn of(task: ActivityTask) -> Self {
        ActivityView {
            id: task.id.0,
            call: task.call,
            payload: task.payload,
            attempt: task.attempt,
            losses: task.lost.count,
            due_at: task.due_at,
            memo: task.memo,
            idempotency_key: task.idempotency_key,
            run: task.run,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ParkedView {
    id: Uuid,
    message_id: Uuid,
    message_types: Vec<String>,
    reason: &'static str,
    attempt: u32,
    due_at: Option<DateTime<Utc>>,
    error: Option<String>,
    seq: i64,
}

impl ParkedView {
    fn of(parked: Parked) -> Self {
        ParkedView {
            id: parked.id.0,
            message_id: parked.message_id.0,
            message_types: parked.envelope.message_types.clone(),
            reason: parked.reason.as_str(),
            attempt: parked.attempt,
            due_at: parked.due_at,
            error: parked.error,
            seq: parked.seq,
        }
    }
}

/// A set-aside message in the list: everything but its bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuarantineSummary {
    id: Uuid,
    status: &'static str,
    class: &'static str,
    reason: String,
    endpoint: String,
    saga: String,
    instance: Option<Uuid>,
    message_id: Uuid,
    message_types: Vec<String>,
    attempts: u32,
    size: u64,
    at: DateTime<Utc>,
    incident: Option<Uuid>,
    /// Copies of it that were blocked since.
    copies: u64,
    /// The id under which it was let go.
    released_as: Option<Uuid>,
}

impl QuarantineSummary {
    pub(crate) fn of(row: Quarantined) -> Self {
        QuarantineSummary {
            id: row.id,
            status: row.status.as_str(),
            class: row.class.as_str(),
            reason: row.reason,
            endpoint: row.endpoint.to_string(),
            saga: row.saga.to_string(),
            instance: row.instance.map(|instance| instance.0),
            message_id: row.message_id.0,
            message_types: row.message_types,
            attempts: row.attempts,
            size: row.size,
            at: row.at,
            incident: row.incident,
            copies: row.copies,
            released_as: row.released_as.map(|id| id.0),
        }
    }
}

/// A set-aside message whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QuarantineView {
    #[serde(flatten)]
    summary: QuarantineSummary,
    errors: Vec<String>,
    run: Option<u32>,
    state: Option<String>,
    digest: String,
    fingerprint: Option<String>,
    definition_version: u32,
    exchange: String,
    routing_key: String,
    content_type: Option<String>,
    headers: BTreeMap<String, Value>,
    /// The body as text; bytes that are no UTF-8 are replaced.
    body: String,
    /// Whether `body` is less than was received.
    cut: bool,
    /// What it said before it was edited, oldest first.
    edits: Vec<EditView>,
    /// What can be done now.
    next: Vec<Next>,
}

#[derive(Debug, Serialize)]
struct EditView {
    who: String,
    at: DateTime<Utc>,
    before: String,
}

impl EditView {
    fn of(edit: &Edit) -> Self {
        EditView { who: edit.who.clone(), at: edit.at, before: edit.before.clone() }
    }
}

impl QuarantineView {
    pub(crate) fn of(row: Quarantined) -> Self {
        QuarantineView {
            errors: row.errors.clone(),
            run: row.run,
            state: row.state.clone(),
            digest: row.digest.to_string(),
            fingerprint: row.fingerprint.clone(),
            definition_version: row.definition_version,
            exchange: row.exchange.clone(),
            routing_key: row.routing_key.clone(),
            content_type: row.content_type.clone(),
            headers: headers(&row.headers),
            body: String::from_utf8_lossy(&row.body).into_owned(),
            cut: row.size > row.body.len() as u64,
            edits: row.edits.iter().map(EditView::of).collect(),
            next: Next::of_quarantined(&row),
            summary: QuarantineSummary::of(row),
        }
    }
}

fn headers(headers: &Headers) -> BTreeMap<String, Value> {
    headers.0.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
}

/// One line of the audit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditView {
    id: Uuid,
    at: DateTime<Utc>,
    who: String,
    verb: String,
    target: String,
    endpoint: String,
    reason: Option<String>,
    done: Vec<String>,
    waits: bool,
}

impl AuditView {
    pub(crate) fn of(line: Audit) -> Self {
        AuditView {
            id: line.id,
            at: line.at,
            who: line.who,
            verb: line.verb,
            target: line.target,
            endpoint: line.endpoint.to_string(),
            reason: line.reason,
            done: line.done,
            waits: line.waits,
        }
    }
}
