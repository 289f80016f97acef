//! `POST /api/v1/messages`: a person sends a message, on the embedded default too.

use std::collections::BTreeMap;

use axum::Extension;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use knarr_guard::Order;
use knarr_model::envelope::{ACTIVITY_ID, TRACE_PARENT};
use knarr_model::ids::derived_id;
use knarr_model::ports::guard::Run;
use knarr_model::ports::transport::Published;
use knarr_model::{HeaderValue, Headers, MessageId, TraceParent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::asking::{key, reason};
use super::body;
use super::shown::Shown;
use crate::draft::Draft;
use crate::paging::{Asked, query};
use crate::problem::Problem;
use crate::tokens::Caller;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    /// `Namespace:Name` or the URN.
    #[serde(rename = "type")]
    name: String,
    message: Box<RawValue>,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    /// Why; the audit keeps it.
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// The audit's line; null for a dry run, which leaves none.
    audit_id: Option<Uuid>,
    message_id: Uuid,
    #[serde(rename = "type")]
    urn: String,
    exchange: String,
    /// True when nothing was sent because only a check was asked for.
    dry_run: bool,
}

pub(crate) async fn send(
    State(shown): State<Shown>,
    Extension(caller): Extension<Caller>,
    asked: Asked<Options>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Answer>, Problem> {
    let Options { dry_run } = query(asked)?;
    let sent: Sent = body::read(shown.settings.max_body, &headers, body)?;
    let given =
        sent.headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_json(value)));
    let mut given = Headers(given.collect());
    go_on_in_trace(&mut given, &headers);
    let draft = Draft::new(&sent.name, &sent.message, given)
        .map_err(|bad| Problem::bad_request(format!("{bad}.")))?;
    let reason = reason(sent.reason.as_deref())?;
    let key = key(&headers)?.map(str::to_owned);
    let id = message_id(&shown, key.as_deref());
    let (urn, exchange) = (draft.urn(), draft.exchange());
    let order = Order { who: caller.name, reason, key, run: Run::ForReal };
    // Whether the key is free is asked before, and that it was sent is noted after.
    note(&shown, &Order { run: Run::Dry, ..order.clone() }, id, &exchange).await?;
    let mut audit_id = None;
    if !dry_run {
        publish(&shown, draft, id).await?;
        audit_id = Some(note(&shown, &order, id, &exchange).await?.audit.id);
    }
    Ok(Json(Answer { audit_id, message_id: id.0, urn, exchange, dry_run }))
}

/// The message belongs to the trace of the request, unless it says otherwise itself.
fn go_on_in_trace(given: &mut Headers, request: &HeaderMap) {
    let of_request = |name: &str| request.get(name)?.to_str().ok();
    if given.get(TRACE_PARENT).is_some() || given.get(ACTIVITY_ID).is_some() {
        return;
    }
    if let Some(parent) = of_request(TRACE_PARENT).filter(|it| it.parse::<TraceParent>().is_ok()) {
        given.set(TRACE_PARENT, parent);
        if let Some(state) = of_request("tracestate") {
            given.set("tracestate", state);
        }
    }
}

/// A line of the audit, at the endpoint that takes what this exchange is sent.
async fn note(
    shown: &Shown,
    order: &Order,
    id: MessageId,
    exchange: &str,
) -> Result<knarr_guard::Answer, Problem> {
    let sagas = &shown.sources.sagas;
    let takes = sagas.iter().find(|saga| saga.takes.iter().any(|taken| taken == exchange));
    let Some(saga) = takes.or(sagas.first()) else {
        return Err(Problem::unknown("This process serves no saga. Ask one that does."));
    };
    let noted = shown.sources.desk.note_sent(order, &saga.name, id, exchange).await;
    noted.map_err(|error| Problem::of_order(error, "/api/v1/audit"))
}

/// The same `Idempotency-Key` gives the same message id: what is sent twice counts as a duplicate.
fn message_id(shown: &Shown, key: Option<&str>) -> MessageId {
    MessageId(match key {
        Some(key) => derived_id(&[b"idempotency-key", key.as_bytes()]),
        None => shown.sources.clock.new_id(),
    })
}

async fn publish(shown: &Shown, draft: Draft, id: MessageId) -> Result<(), Problem> {
    let (name, exchange) = (draft.urn(), draft.exchange());
    let message = draft.outgoing(id, shown.sources.clock.now(), &shown.sources.host);
    match shown.sources.transport.publish(&[message]).await.pop() {
        Some(Published::Confirmed) => Ok(()),
        Some(Published::Returned(_)) => Err(Problem::unknown(format!(
            "Nobody takes {name}: no queue is bound to the exchange {exchange}. Is the name right?"
        ))),
        Some(Published::Impossible(why)) => Err(Problem::bad_request(format!("{why}."))),
        Some(Published::Unknown(why)) => Err(Problem::away(format!(
            "It is not known whether message {id} was sent: {why}. Sent again with the same \
             Idempotency-Key it counts once."
        ))),
        None => Err(Problem::away("The broker gave no answer.")),
    }
}
