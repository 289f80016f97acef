//! The table of everything that is offered: router, front page and OpenAPI are made from it.

use axum::routing::{MethodRouter, delete, get, post, put};

use super::shown::Shown;
use super::{audit, endpoints, incidents, instances, messages, quarantine, sagas, whoami};
use crate::tokens::Role;

/// What a request may bring in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Nothing.
    Nothing,
    /// A reason, if somebody gives one.
    Reason,
    /// This form, by its name among the components of the description.
    Form(&'static str),
}

/// One method of one path.
pub(crate) struct Offer {
    pub(crate) method: &'static str,
    /// Below [`BASE`].
    pub(crate) path: &'static str,
    pub(crate) role: Role,
    pub(crate) does: &'static str,
    /// Names of the query's members, by which the description finds them.
    pub(crate) query: &'static [&'static str],
    pub(crate) body: Body,
    /// The answer's form, by its name among the components of the description.
    pub(crate) answer: &'static str,
    /// Whether the largest bodies are taken.
    pub(crate) large: bool,
    pub(crate) route: MethodRouter<Shown>,
}

/// Where all of it stands.
pub(crate) const BASE: &str = "/api/v1";

const PAGE: &[&str] = &["limit", "cursor"];
const ORDER: &[&str] = &["dry_run"];

impl Offer {
    fn order(
        path: &'static str,
        role: Role,
        does: &'static str,
        route: MethodRouter<Shown>,
    ) -> Offer {
        let (query, body) = (ORDER, Body::Reason);
        Offer { method: "POST", path, role, does, query, body, answer: "Done", large: false, route }
    }

    fn look(
        path: &'static str,
        does: &'static str,
        answer: &'static str,
        route: MethodRouter<Shown>,
    ) -> Offer {
        let (query, body, role): (&[&str], _, _) = (&[], Body::Nothing, Role::Read);
        Offer { method: "GET", path, role, does, query, body, answer, large: false, route }
    }

    fn query(self, query: &'static [&'static str]) -> Offer {
        Offer { query, ..self }
    }

    fn method(self, method: &'static str) -> Offer {
        Offer { method, ..self }
    }

    fn form(self, name: &'static str) -> Offer {
        Offer { body: Body::Form(name), ..self }
    }

    fn answers(self, answer: &'static str) -> Offer {
        Offer { answer, ..self }
    }

    /// The whole path.
    pub(crate) fn full_path(&self) -> String {
        format!("{BASE}{}", self.path)
    }
}

/// Everything under [`BASE`], in the order in which it is told.
pub(crate) fn offers() -> Vec<Offer> {
    let mut all = look();
    all.extend(steer());
    all
}

#[rustfmt::skip]
fn look() -> Vec<Offer> {
    vec![
        Offer::look("/whoami", "Whose token this is, and what it may do; 403 when its role is smaller than `role`", "Caller", get(whoami::show)).query(&["role"]),
        Offer::look("/sagas", "What this process serves, and how many instances are in which state", "Sagas", get(sagas::list)).query(PAGE),
        Offer::look("/sagas/{saga}/instances", "Instances of a saga, newest change first", "Instances", get(instances::list)).query(&["state", "limit", "cursor"]),
        Offer::look("/sagas/{saga}/instances/{id}", "One instance with everything around it, and why it waits", "Instance", get(instances::show)),
        Offer::look("/endpoints", "Where each endpoint stands, why it does not flow, and how much waits in its queue", "Endpoints", get(endpoints::list)).query(PAGE),
        Offer::look("/incidents", "What failed, newest first", "Incidents", get(incidents::list)).query(&["incident_status", "endpoint", "class", "limit", "cursor"]),
        Offer::look("/incidents/{id}", "One incident: what was removed, what may have left, what is kept, what to do next", "Incident", get(incidents::show)),
        Offer::look("/quarantine", "Messages set aside, newest first; held ones unless a status is named", "QuarantineList", get(quarantine::list)).query(&["status", "endpoint", "class", "limit", "cursor"]),
        Offer::look("/quarantine/{id}", "One set-aside message: why, its errors, headers and body, and what to do next", "Quarantined", get(quarantine::show)),
        Offer::look("/audit", "Who did what and why, newest first", "Audit", get(audit::list)).query(&["endpoint", "limit", "cursor"]),
    ]
}

#[rustfmt::skip]
fn steer() -> Vec<Offer> {
    use Role::{Admin, Operate};
    vec![
        Offer::order("/messages", Operate, "Sends a message to the exchange of its type", post(messages::send)).form("Message").answers("Sent"),
        Offer::order("/endpoints/{name}/halt", Operate, "Stops an endpoint: nothing is decided any more, on no node", post(endpoints::halt)),
        Offer::order("/endpoints/{name}/pause", Operate, "Stops an endpoint's intake; what the store has waiting goes on", post(endpoints::pause)),
        Offer::order("/endpoints/{name}/resume", Operate, "Opens an endpoint, at once or with `probe` one message at a time first", post(endpoints::resume)).query(&["dry_run", "probe"]),
        Offer::order("/sagas/{saga}/instances/{id}/cancel", Operate, "Ends a run; what the saga wrote elsewhere stays, and `resume` brings it back", post(instances::cancel)),
        Offer::order("/sagas/{saga}/instances/{id}/resume", Operate, "Brings back the run that the instance's incident keeps", post(instances::resume)),
        Offer::order("/sagas/{saga}/instances/{id}/purge", Admin, "Ends a run and removes what the saga wrote elsewhere", post(instances::purge)),
        Offer::order("/incidents/{id}/retry", Operate, "Brings the purged run back as it was and tries again", post(incidents::retry)),
        Offer::order("/incidents/{id}/resolve", Operate, "Accepts the loss; the tombstone and what is kept stay", post(incidents::resolve)),
        Offer::order("/incidents/{id}/discard", Admin, "Accepts the loss and deletes what is kept", post(incidents::discard)),
        Offer::order("/quarantine/{id}/release", Operate, "Lets a set-aside message go once more, under a new id", post(quarantine::release)),
        Offer::order("/quarantine/release", Operate, "Lets everything go that is held at an endpoint, of one class or of all: all of it or nothing, at most 500", post(quarantine::release_held)).form("Which"),
        Offer::order("/quarantine/discard", Admin, "Gives everything up that is held at an endpoint, of one class or of all: all of it or nothing, at most 500", post(quarantine::discard_held)).form("Which"),
        Offer::order("/quarantine/{id}/unblock", Operate, "Lets copies of a set-aside start message start runs again", post(quarantine::unblock)),
        Offer { large: true, ..Offer::order("/quarantine/{id}/message", Admin, "Replaces what a set-aside message says, if its endpoint takes it so", put(quarantine::edit)).method("PUT").form("Edit") },
        Offer::order("/quarantine/{id}", Admin, "Gives a set-aside message up and deletes its bytes", delete(quarantine::discard)).method("DELETE"),
    ]
}
