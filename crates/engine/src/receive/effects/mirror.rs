//! `<endpoint>_error` for teams with tools on it: a copy of each set-aside message as MassTransit
//! moves one (behaviours 20, masstransit-wire §9).

use knarr_model::fault::{MAX_REASON, cut};
use knarr_model::format::masstransit::Host;
use knarr_model::format::timestamp_text;
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Class, Envelope, Headers, MessageId, ids};

use super::fault::exception_type;
use crate::receive::fold::Situation;

/// The header by which a copy that is moved back is known.
pub(in crate::receive) const QUARANTINE_ID: &str = "Knarr-Quarantine-Id";

/// The copy, if the endpoint is to make any. It bears its message's id, so that it starts nothing
/// when it is moved back: that message has its outcome, and its content is blocked.
pub(in crate::receive) fn mirror(
    at: &Situation,
    row: &Quarantined,
    message: Option<&Envelope>,
) -> Option<Outgoing> {
    if !at.mirror_errors || row.size > row.body.len() as u64 {
        return None;
    }
    let mut headers = row.headers.clone();
    name_host(&mut headers, &at.sender.host);
    headers.set("MT-Reason", "fault".to_owned());
    headers.set("MT-Fault-ExceptionType", exception_type(row.class.as_str()));
    headers.set("MT-Fault-InputAddress", at.sender.address.clone());
    headers.set("MT-Fault-Message", cut(&row.reason, MAX_REASON));
    headers.set("MT-Fault-StackTrace", row.errors.join("\n"));
    headers.set("MT-Fault-Timestamp", timestamp_text(row.at));
    headers.set("MT-Fault-ConsumerType", row.saga.to_string());
    if let Some(urn) = row.message_types.first() {
        let name = urn.trim_start_matches("urn:message:").replace(':', ".");
        headers.set("MT-Fault-MessageType", name);
    }
    headers.set(QUARANTINE_ID, row.id.to_string());
    // Two bodies under one id may be on their way at once.
    let id = match row.class {
        Class::IdConflict => MessageId(ids::derived_id(&[b"mirror", row.id.as_bytes()])),
        _ => row.message_id,
    };
    Some(Outgoing {
        id,
        sequence: None,
        exchange: format!("{}_error", row.endpoint),
        routing_key: row.routing_key.clone(),
        addressing: Addressing::Queue,
        content_type: row.content_type.clone().unwrap_or_default(),
        correlation_id: message.and_then(|message| message.correlation_id),
        headers,
        expires_at: None,
        priority: None,
        body: row.body.clone(),
    })
}

/// Who set it aside.
fn name_host(headers: &mut Headers, host: &Host) {
    let process = host.process_id.map(|id| id.to_string());
    for (name, value) in [
        ("MachineName", &host.machine_name),
        ("ProcessName", &host.process_name),
        ("ProcessId", &process),
        ("Assembly", &host.assembly),
        ("AssemblyVersion", &host.assembly_version),
        ("MassTransitVersion", &host.mass_transit_version),
        ("FrameworkVersion", &host.framework_version),
        ("OperatingSystemVersion", &host.operating_system_version),
    ] {
        if let Some(value) = value {
            headers.set(&format!("MT-Host-{name}"), value.clone());
        }
    }
}
