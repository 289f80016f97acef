//! Incidents as the API shows them: what failed, what was removed, what is kept, what to do next.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::incident::{FailedAt, Incident, Removed, Scope, Whole};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::next::Next;

/// An incident in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IncidentSummary {
    id: Uuid,
    status: &'static str,
    class: &'static str,
    scope: Scope,
    reason: String,
    endpoint: String,
    saga: String,
    instance: Option<Uuid>,
    run: Option<u32>,
    state: Option<String>,
    /// The set-aside start message.
    quarantined: Option<Uuid>,
    /// How often it happened, where an incident gathers messages of one class.
    count: u64,
    opened_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
    closed_by: Option<String>,
}

impl IncidentSummary {
    pub(crate) fn of(incident: Incident) -> Self {
        IncidentSummary {
            id: incident.id,
            status: incident.status.as_str(),
            class: incident.class.as_str(),
            scope: incident.scope,
            reason: incident.reason,
            endpoint: incident.endpoint.to_string(),
            saga: incident.saga.to_string(),
            instance: incident.instance.map(|id| id.0),
            run: incident.run,
            state: incident.state,
            quarantined: incident.quarantined,
            count: incident.count,
            opened_at: incident.opened_at,
            closed_at: incident.closed_at,
            closed_by: incident.closed_by,
        }
    }
}

/// An incident whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IncidentView {
    #[serde(flatten)]
    summary: IncidentSummary,
    errors: Vec<String>,
    definition_version: u32,
    /// Where its endpoint stands now.
    endpoint_state: Option<&'static str>,
    failed_at: Option<FailedAtView>,
    removed: Removed,
    /// Messages of the run that may have left before it was purged.
    may_have_left: Vec<Uuid>,
    /// Other failures that found the endpoint halted already.
    joined: Vec<String>,
    /// What `retry` brings back; null when nothing is kept (any more).
    keeps: Option<KeptView>,
    /// What can be done now.
    next: Vec<Next>,
}

impl IncidentView {
    pub(crate) fn of(
        incident: Incident,
        kept: Option<Whole>,
        endpoint_state: Option<&'static str>,
        next: Vec<Next>,
    ) -> Self {
        IncidentView {
            errors: incident.errors.clone(),
            definition_version: incident.definition_version,
            endpoint_state,
            failed_at: incident.failed_at.clone().map(FailedAtView::of),
            removed: incident.removed.clone(),
            may_have_left: incident.may_have_left.iter().map(|id| id.0).collect(),
            joined: incident.joined.clone(),
            keeps: kept.map(KeptView::of),
            next,
            summary: IncidentSummary::of(incident),
        }
    }
}

/// The delivery at which a run failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedAtView {
    message_id: Uuid,
    event: String,
    attempts: u32,
    /// What the message said, if it was one.
    message: Option<Arc<RawValue>>,
}

impl FailedAtView {
    fn of(failed: FailedAt) -> Self {
        FailedAtView {
            message_id: failed.message_id.0,
            event: failed.event,
            attempts: failed.attempts,
            message: failed.envelope.map(|envelope| envelope.message.clone()),
        }
    }
}

/// What a snapshot keeps of its run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeptView {
    run: u32,
    state: String,
    data: Arc<RawValue>,
    /// The start message's id.
    start: Option<Uuid>,
    /// Business keys, `name=value` each.
    keys: Vec<String>,
    /// Names of the timers.
    timers: Vec<String>,
    /// Calls that had not ended.
    calls: Vec<String>,
    /// Calls that had ended and were not yet decided.
    ended: Vec<String>,
    /// Messages that waited.
    parked: Vec<Uuid>,
    /// Messages that had not left for certain: `retry` lets them leave.
    unsent: Vec<UnsentView>,
}

#[derive(Debug, Serialize)]
struct UnsentView {
    id: Uuid,
    exchange: String,
}

impl KeptView {
    fn of(whole: Whole) -> Self {
        let key = |(key, _): &(knarr_model::commit::Key, _)| format!("{}={}", key.name, key.value);
        KeptView {
            run: whole.instance.run,
            state: whole.instance.state,
            data: whole.instance.data,
            start: whole.origin.map(|origin| origin.message_id.0),
            keys: whole.keys.iter().map(key).collect(),
            timers: whole.timers.into_iter().map(|timer| timer.name).collect(),
            calls: whole.calls.into_iter().map(|task| task.call).collect(),
            ended: whole.ended.into_iter().map(|ended| ended.task.call).collect(),
            parked: whole.parked.iter().map(|parked| parked.message_id.0).collect(),
            unsent: whole
                .unsent
                .into_iter()
                .map(|message| UnsentView { id: message.id.0, exchange: message.exchange })
                .collect(),
        }
    }
}
