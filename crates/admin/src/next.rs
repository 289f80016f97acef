//! What can be done about something that failed: the command to type, and what it does.

use knarr_model::incident::{Incident, IncidentStatus};
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::quarantine::{Class, Quarantined, Status};
use serde::Serialize;

/// One way to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Next {
    /// The command line, without the program's name.
    command: String,
    /// What it does.
    does: &'static str,
}

fn next(command: String, does: &'static str) -> Next {
    Next { command, does }
}

impl Next {
    /// The ways out of an incident; `kept` says whether its run can be brought back.
    pub(crate) fn of_incident(
        incident: &Incident,
        kept: bool,
        endpoint: Option<&EndpointRow>,
    ) -> Vec<Next> {
        let Incident { id, endpoint: name, class, .. } = incident;
        let mut ways = Vec::new();
        if let Some(message) = incident.quarantined {
            ways.push(next(format!("quarantine show {message}"), "shows the start message"));
        }
        match incident.status {
            IncidentStatus::Open if kept => {
                ways.push(next(
                    format!("incidents retry {id}"),
                    "brings the run back as it was and tries again: when the cause is mended",
                ));
                ways.push(next(
                    format!("incidents resolve {id}"),
                    "accepts the loss of the run; what is kept stays",
                ));
            }
            IncidentStatus::Open => {
                if incident.instance.is_none() && *class != Class::Breaker {
                    let which = format!("--endpoint {name} --class {class}");
                    ways.push(next(
                        format!("quarantine list {which}"),
                        "lists the messages that it gathers",
                    ));
                    ways.push(next(
                        format!("quarantine release {which}"),
                        "lets them all go again: when the cause is mended",
                    ));
                }
                ways.push(next(format!("incidents resolve {id}"), "closes the incident"));
            }
            IncidentStatus::Resolved | IncidentStatus::Retried | IncidentStatus::Discarded => {}
        }
        if matches!(incident.status, IncidentStatus::Open | IncidentStatus::Resolved) && kept {
            ways.push(next(
                format!("incidents discard {id}"),
                "accepts the loss and deletes what is kept",
            ));
        }
        if endpoint.is_some_and(|row| stands_still(row, incident)) {
            ways.push(next(
                format!("endpoints resume {name}"),
                "lets messages flow again; with --probe one at a time first",
            ));
        }
        ways
    }

    /// What can be done with a set-aside message.
    pub(crate) fn of_quarantined(row: &Quarantined) -> Vec<Next> {
        let id = row.id;
        let mut ways = Vec::new();
        if let Some(incident) = row.incident {
            ways.push(next(
                format!("incidents show {incident}"),
                "shows the incident that it belongs to, and whether its run can be brought back",
            ));
        }
        if row.status == Status::Held {
            ways.push(next(
                format!("quarantine release {id}"),
                "lets it go once more, under a new id: when the cause is mended",
            ));
            ways.push(next(
                format!("quarantine edit {id} --file FILE"),
                "replaces what it says, if the endpoint takes it so",
            ));
            ways.push(next(
                format!("quarantine discard {id}"),
                "gives it up and deletes its bytes; copies of it stay blocked",
            ));
        }
        if row.fingerprint.is_some() {
            ways.push(next(
                format!("quarantine unblock {id}"),
                "lets copies of it start runs again, if it blocks them",
            ));
        }
        ways
    }
}

/// Whether the endpoint still stands because of this incident, or because of none that is known.
fn stands_still(row: &EndpointRow, incident: &Incident) -> bool {
    let by = row.stop.as_ref().and_then(|stop| stop.incident);
    row.state != EndpointState::Open && by.is_none_or(|by| by == incident.id)
}
