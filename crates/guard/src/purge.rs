//! Clean-up in one commit: the run moves into a snapshot, its row becomes its tombstone.

use std::sync::Arc;

use knarr_model::Instance;
use knarr_model::Statement;
use knarr_model::incident::{Incident, IncidentStatus, Scope, Whole};
use knarr_model::instance::{Book, PURGED};
use knarr_model::ports::guard::{Plan, Refusal, Scene};
use knarr_model::quarantine::Class;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::order::Moment;

/// The tombstone of a run: the same row, emptied, one version on (guard.md, "Purge, exactly").
pub fn tombstone(saved: &Instance, incident: Option<Uuid>, holds: bool) -> Instance {
    let book = Book {
        applied: saved.book.applied,
        produced: saved.book.produced,
        holds,
        ..Book::default()
    };
    Instance {
        state: PURGED.to_owned(),
        version: saved.version + 1,
        data: Arc::from(RawValue::NULL.to_owned()),
        book,
        incident,
        ..saved.clone()
    }
}

/// What every purge writes; the incident's `removed` is filled in.
pub(crate) fn empty(plan: &mut Plan, whole: &Whole, incident: &mut Incident, holds: bool) {
    let instance = &whole.instance;
    plan.empty = Some((instance.saga.clone(), instance.id, instance.run));
    plan.instance = Some(tombstone(instance, Some(incident.id), holds));
    incident.removed = whole.removed();
    // Whether one of them is in a publisher's hand at this moment, no store can tell.
    incident.may_have_left = whole.unsent.iter().map(|message| message.id).collect();
    plan.snapshot = Some((incident.id, whole.clone()));
}

/// A person ends a run: its calls are cancelled, its timers and messages go, its data are kept for
/// `resume`. With `steps` the saga's own entries go too.
pub fn end_run(
    scene: &Scene,
    at: &Moment,
    class: Class,
    steps: Vec<Statement>,
) -> Result<Plan, Refusal> {
    let verb = if class == Class::Cancelled { "cancel" } else { "purge" };
    let Some(whole) = &scene.whole else {
        return Err(Refusal::Unknown("there is no such instance".to_owned()));
    };
    let instance = &whole.instance;
    if instance.is_over() {
        let state = &instance.state;
        return Err(Refusal::Conflict(format!("its run has ended already ({state})")));
    }
    let reason = at.why(&format!("{verb} by {}", at.order.who));
    let mut incident = Incident {
        scope: Scope::Nothing,
        instance: Some(instance.id),
        run: Some(instance.run),
        state: Some(instance.state.clone()),
        definition_version: instance.definition_version,
        ..opened(scene, at, &instance.saga.clone(), class, reason)
    };
    let mut plan = Plan { steps, ..Plan::default() };
    empty(&mut plan, whole, &mut incident, false);
    plan.endpoint = Some(with_new_guard(scene));
    let target = format!("{}/{}", instance.saga, instance.id);
    let mut done = vec![format!("run {} of {target} is ended", instance.run)];
    done.extend(removal(&incident));
    plan.audit = Some(at.line(verb, target, &scene.endpoint.name, done));
    plan.incidents.push(incident);
    Ok(plan)
}

/// An incident that opens now.
pub(crate) fn opened(
    scene: &Scene,
    at: &Moment,
    saga: &knarr_model::Name,
    class: Class,
    reason: String,
) -> Incident {
    Incident {
        id: at.incident,
        endpoint: scene.endpoint.name.clone(),
        saga: saga.clone(),
        class,
        status: IncidentStatus::Open,
        scope: Scope::Nothing,
        reason,
        errors: Vec::new(),
        instance: None,
        run: None,
        state: None,
        definition_version: 0,
        quarantined: None,
        failed_at: None,
        removed: knarr_model::incident::Removed::default(),
        may_have_left: Vec::new(),
        joined: Vec::new(),
        count: 1,
        opened_at: at.now,
        closed_at: None,
        closed_by: None,
    }
}

/// The endpoint's row with a new guard version: what this node and others decided on is out of
/// date, and rows that calls run for may be gone.
pub(crate) fn with_new_guard(scene: &Scene) -> knarr_model::ports::store::EndpointRow {
    let mut row = scene.endpoint.clone();
    row.guard_version += 1;
    row
}

/// What was taken away, for people.
pub(crate) fn removal(incident: &Incident) -> Vec<String> {
    let removed = &incident.removed;
    let mut parts = Vec::new();
    for (count, one, many) in [
        (removed.timers, "timer", "timers"),
        (removed.calls, "call", "calls"),
        (removed.parked, "waiting message", "waiting messages"),
        (removed.keys, "business key", "business keys"),
        (removed.unsent, "unsent message", "unsent messages"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    }
    // The incident's own id would differ between a dry run and what follows it.
    let data = format!("moved into its incident: {} bytes of data", removed.data_bytes);
    let mut told = vec![[vec![data], parts].concat().join(", ")];
    if !incident.may_have_left.is_empty() {
        let count = incident.may_have_left.len();
        told.push(format!("of its messages, {count} may have been sent already"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{bare, run};

    #[test]
    fn s0_13_a_purge_moves_everything_and_leaves_a_tombstone() {
        let at = Moment::for_test("anna");
        let scene = Scene { whole: Some(run()), ..bare() };
        let plan = end_run(&scene, &at, Class::Purged, Vec::new()).expect("planned");
        let stone = plan.instance.expect("a tombstone");
        assert_eq!((stone.state.as_str(), stone.version, stone.run), (PURGED, 5, 1));
        assert_eq!(stone.data.get(), "null");
        assert_eq!((stone.book.applied, stone.book.produced), (3, 2));
        assert_eq!(stone.incident, Some(at.incident));
        let (id, kept) = plan.snapshot.expect("kept");
        assert_eq!((id, kept.instance.data.get()), (at.incident, "{\"secret\":1}"));
        assert_eq!(plan.endpoint.expect("changed").guard_version, 1);
        assert_eq!(plan.incidents[0].removed.data_bytes, 12);
    }

    #[test]
    fn what_has_ended_or_is_not_there_is_not_purged() {
        let at = Moment::for_test("anna");
        let mut over = run();
        over.instance = tombstone(&over.instance, None, false);
        let scene = Scene { whole: Some(over), ..bare() };
        let refused = end_run(&scene, &at, Class::Purged, Vec::new()).expect_err("over");
        assert!(matches!(refused, Refusal::Conflict(_)));
        let refused = end_run(&bare(), &at, Class::Purged, Vec::new()).expect_err("unknown");
        assert!(matches!(refused, Refusal::Unknown(_)));
    }
}
