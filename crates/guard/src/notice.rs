//! Incidents as messages: whoever binds to `Knarr:IncidentOpened` hears of them.

use std::sync::Arc;

use knarr_model::format::{MASS_TRANSIT, amqp_headers, masstransit};
use knarr_model::incident::{Incident, IncidentStatus, Scope};
use knarr_model::ports::guard::Plan;
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Context, Envelope, MessageId, ids};
use serde::Serialize;

use crate::order::Moment;

/// How messages of the guard are signed.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The address of an endpoint on the broker in use; its last segment is replaced.
    pub address: String,
    /// The process, as MassTransit describes it.
    pub host: masstransit::Host,
}

/// What `Knarr:IncidentOpened` and `Knarr:IncidentResolved` say.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notice<'a> {
    incident_id: uuid::Uuid,
    endpoint: &'a str,
    saga: &'a str,
    class: &'a str,
    status: &'a str,
    reason: &'a str,
    halted: bool,
    instance: Option<uuid::Uuid>,
    run: Option<u32>,
    state: Option<&'a str>,
    opened_at: String,
    closed_at: Option<String>,
    closed_by: Option<&'a str>,
}

/// Adds to a plan the messages that tell of the incidents which it opens or ends.
pub fn announce(plan: &mut Plan, at: &Moment, sender: &Sender) {
    let mut notices = Vec::new();
    for incident in &plan.incidents {
        let opens = incident.status == IncidentStatus::Open
            && incident.id == at.incident
            && incident.opened_at == at.now;
        let ends = incident.status != IncidentStatus::Open && incident.closed_at == Some(at.now);
        if opens {
            notices.push(write(incident, "IncidentOpened", sender, at));
        } else if ends {
            notices.push(write(incident, "IncidentResolved", sender, at));
        }
    }
    if notices.is_empty() {
        return;
    }
    let (_, messages) = plan.outgoing.get_or_insert_with(|| (at.chunk, Vec::new()));
    messages.extend(notices);
}

fn write(incident: &Incident, name: &str, sender: &Sender, at: &Moment) -> Outgoing {
    let notice = Notice {
        incident_id: incident.id,
        endpoint: &incident.endpoint,
        saga: &incident.saga,
        class: incident.class.as_str(),
        status: incident.status.as_str(),
        reason: &incident.reason,
        halted: incident.scope == Scope::Endpoint,
        instance: incident.instance.map(|id| id.0),
        run: incident.run,
        state: incident.state.as_deref(),
        opened_at: knarr_model::format::timestamp_text(incident.opened_at),
        closed_at: incident.closed_at.map(knarr_model::format::timestamp_text),
        closed_by: incident.closed_by.as_deref(),
    };
    let payload = serde_json::value::to_raw_value(&notice);
    let payload = payload.expect("texts, ids and flags can always be written");
    // One that was resolved may be discarded later: that is told by a message of its own.
    let what = [name.as_bytes(), incident.status.as_str().as_bytes()].concat();
    let id = MessageId(ids::derived_id(&[b"notice", incident.id.as_bytes(), &what]));
    let exchange = format!("Knarr:{name}");
    let mut envelope = Envelope::new(id, format!("urn:message:{exchange}"), Arc::from(payload));
    envelope.correlation_id = Some(incident.id);
    envelope.source_address = Some(sender.address.clone());
    envelope.sent_time = Some(at.now);
    if let Some(place) = at.place {
        let context = Context { trace_parent: Some(place.to_string()), ..Context::default() };
        context.write_trace(&mut envelope.headers);
    }
    if let Some((broker, _)) = sender.address.rsplit_once('/') {
        envelope.destination_address = Some(format!("{broker}/{exchange}"));
    }
    Outgoing {
        id,
        sequence: None,
        exchange,
        routing_key: String::new(),
        addressing: Addressing::Publish { bases: Vec::new() },
        content_type: MASS_TRANSIT.to_owned(),
        correlation_id: Some(incident.id),
        headers: amqp_headers(&envelope.headers),
        expires_at: None,
        priority: None,
        body: masstransit::encode(&envelope, &sender.host),
    }
}

#[cfg(test)]
mod tests {
    use knarr_model::Class;

    use super::*;
    use crate::purge::end_run;
    use crate::scenes::{bare, run};
    use knarr_model::ports::guard::Scene;

    #[test]
    fn guard_an_incident_is_told_when_it_opens_and_when_it_ends() {
        let at = Moment::for_test("anna");
        let sender = Sender {
            address: "rabbitmq://localhost/scan".to_owned(),
            host: masstransit::Host::default(),
        };
        let scene = Scene { whole: Some(run()), ..bare() };
        let mut plan = end_run(&scene, &at, Class::Purged, Vec::new()).expect("planned");
        announce(&mut plan, &at, &sender);
        let (_, messages) = plan.outgoing.expect("told");
        assert_eq!(messages[0].exchange, "Knarr:IncidentOpened");
        let body: serde_json::Value = serde_json::from_slice(&messages[0].body).expect("JSON");
        assert_eq!(body["message"]["class"], Class::Purged.as_str());
        let ended = Scene { incident: Some(plan.incidents[0].clone()), ..bare() };
        let mut plan = crate::incident::resolve(&ended, &at).expect("planned");
        announce(&mut plan, &at, &sender);
        let resolved = plan.outgoing.expect("told").1.remove(0);
        assert_eq!(resolved.exchange, "Knarr:IncidentResolved");
        let ended = Scene { incident: Some(plan.incidents[0].clone()), ..bare() };
        let mut plan = crate::incident::discard(&ended, &at).expect("planned");
        announce(&mut plan, &at, &sender);
        let discarded = plan.outgoing.expect("told").1.remove(0);
        assert_ne!(discarded.id, resolved.id, "it says something else");
    }
}
