//! What an order did, as it is answered: 200, or 202 while it waits for a halted endpoint.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use knarr_guard::{Answer, NodeHalt};
use serde::Serialize;
use uuid::Uuid;

use crate::incident_views::IncidentSummary;

/// An order that was carried out, or shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answered {
    /// The audit's line; null for a dry run, which leaves none.
    audit_id: Option<Uuid>,
    at: DateTime<Utc>,
    who: String,
    verb: String,
    target: String,
    endpoint: String,
    reason: Option<String>,
    /// What was done, or would be: a sentence each.
    done: Vec<String>,
    /// Whether it takes effect once its endpoint is resumed.
    waits: bool,
    dry_run: bool,
    /// Whether an earlier request with the same key did it.
    repeated: bool,
    /// The incident that was opened or ended.
    incident: Option<IncidentSummary>,
    /// Of a halt: what each live process did with what it had in hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<NodeView>>,
}

/// What one process did at a halt; nulls while it has not told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    node: Uuid,
    in_hand: Option<u64>,
    drained: Option<u64>,
    returned: Option<u64>,
    abandoned: Option<u64>,
    at: Option<DateTime<Utc>>,
}

impl NodeView {
    fn of(halt: NodeHalt) -> NodeView {
        let NodeHalt { node, report } = halt;
        NodeView {
            node: node.0,
            in_hand: report.map(|report| report.in_hand()),
            drained: report.map(|report| report.drained),
            returned: report.map(|report| report.returned),
            abandoned: report.map(|report| report.abandoned),
            at: report.map(|report| report.at),
        }
    }
}

impl Answered {
    pub(crate) fn of(answer: Answer) -> Answered {
        let Answer { audit, dry_run, repeated, incident, nodes } = answer;
        Answered {
            audit_id: (!dry_run).then_some(audit.id),
            at: audit.at,
            who: audit.who,
            verb: audit.verb,
            target: audit.target,
            endpoint: audit.endpoint.to_string(),
            reason: audit.reason,
            done: audit.done,
            waits: audit.waits,
            dry_run,
            repeated,
            incident: incident.map(IncidentSummary::of),
            nodes: nodes.map(|nodes| nodes.into_iter().map(NodeView::of).collect()),
        }
    }
}

impl IntoResponse for Answered {
    fn into_response(self) -> Response {
        let later = self.waits && !self.dry_run;
        let status = if later { StatusCode::ACCEPTED } else { StatusCode::OK };
        (status, Json(self)).into_response()
    }
}
