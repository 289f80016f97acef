//! The end of an incident: tried again, accepted, or thrown away.

use chrono::{DateTime, Utc};
use knarr_model::incident::{Incident, IncidentStatus, Scope, Whole};
use knarr_model::instance::PURGED;
use knarr_model::ports::guard::{Plan, Refusal, Scene};
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::work::{ActivityTask, CallEnd, EndedCall, ParkedReason};

use crate::order::Moment;
use crate::purge::with_new_guard;

/// The run comes back as it was, under the same number, with a new budget for what failed.
pub fn retry(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let incident = still_open(scene)?;
    let (Some(id), Some(kept)) = (incident.instance, &scene.snapshot) else {
        return Err(Refusal::Conflict(
            "no run was purged here: release the set-aside messages instead".to_owned(),
        ));
    };
    let stone = scene.whole.as_ref().map(|whole| &whole.instance);
    let Some(stone) = stone.filter(|stone| stone.state == PURGED && stone.run == kept.instance.run)
    else {
        return Err(Refusal::Conflict(format!(
            "instance {id} is no tombstone of run {} any more",
            kept.instance.run
        )));
    };
    let mut whole = kept.clone();
    // What waited for the incident's end is delivered behind what the run had waiting.
    let later = scene.whole.iter().flat_map(|whole| whole.parked.clone());
    let waits: Vec<_> = whole.parked.iter().map(|parked| parked.id).collect();
    whole.parked.extend(later.filter(|parked| !waits.contains(&parked.id)));
    let whole = renewed(whole, at.now);
    let mut instance = kept.instance.clone();
    instance.version = stone.version + 1;
    instance.incident = None;
    let waiting = scene.endpoint.state == EndpointState::Halted;
    let mut done = vec![format!("run {} of {}/{id} is back", instance.run, instance.saga)];
    if !whole.unsent.is_empty() {
        done.push(format!("{} unsent messages leave under their old ids", whole.unsent.len()));
    }
    if waiting {
        done.push(format!("it goes on when {} is resumed", scene.endpoint.name));
    }
    let mut plan = close(scene, at, "retry", IncidentStatus::Retried, done)?;
    // Rows of the tombstone that are restored too must not be there twice.
    plan.empty = Some((instance.saga.clone(), id, instance.run));
    plan.instance = Some(instance);
    plan.restore = Some(whole);
    plan.forget_snapshots = vec![incident.id];
    lift(&mut plan, scene);
    if let Some(audit) = &mut plan.audit {
        audit.waits = waiting;
    }
    Ok(plan)
}

/// The loss is accepted: the tombstone and the kept bytes stay.
pub fn resolve(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    still_open(scene)?;
    let done = vec!["the tombstone stays; what it kept stays too".to_owned()];
    let mut plan = close(scene, at, "resolve", IncidentStatus::Resolved, done)?;
    let_go(&mut plan, scene);
    Ok(plan)
}

/// As [`resolve`], and the kept bytes are deleted.
pub fn discard(scene: &Scene, at: &Moment) -> Result<Plan, Refusal> {
    let incident = found(scene)?;
    if incident.status == IncidentStatus::Discarded || incident.status == IncidentStatus::Retried {
        return Err(closed(incident));
    }
    let done = vec!["the tombstone stays; what it kept is deleted".to_owned()];
    let mut plan = close(scene, at, "discard", IncidentStatus::Discarded, done)?;
    plan.forget_snapshots = vec![incident.id];
    for row in &scene.quarantined {
        if row.status == Status::Held {
            plan.changed.push(emptied(row));
        }
    }
    let_go(&mut plan, scene);
    Ok(plan)
}

/// A set-aside message without its bytes.
pub(crate) fn emptied(row: &Quarantined) -> Quarantined {
    Quarantined { status: Status::Discarded, body: bytes::Bytes::new(), ..row.clone() }
}

fn found(scene: &Scene) -> Result<&Incident, Refusal> {
    scene.incident.as_ref().ok_or_else(|| Refusal::Unknown("there is no such incident".to_owned()))
}

fn still_open(scene: &Scene) -> Result<&Incident, Refusal> {
    let incident = found(scene)?;
    if incident.status == IncidentStatus::Open { Ok(incident) } else { Err(closed(incident)) }
}

fn closed(incident: &Incident) -> Refusal {
    let by = incident.closed_by.as_deref().unwrap_or("somebody");
    Refusal::Conflict(format!("incident {} was {} by {by}", incident.id, incident.status))
}

fn close(
    scene: &Scene,
    at: &Moment,
    verb: &str,
    status: IncidentStatus,
    done: Vec<String>,
) -> Result<Plan, Refusal> {
    let mut incident = found(scene)?.clone();
    incident.status = status;
    incident.closed_at = Some(at.now);
    incident.closed_by = Some(at.order.who.clone());
    let line = at.line(verb, format!("incident {}", incident.id), &scene.endpoint.name, done);
    Ok(Plan {
        endpoint: Some(with_new_guard(scene)),
        incidents: vec![incident],
        audit: Some(line),
        ..Plan::default()
    })
}

/// The start message of a run that is back is no longer set aside, and blocks nothing.
fn lift(plan: &mut Plan, scene: &Scene) {
    for row in &scene.quarantined {
        if row.status == Status::Held {
            let released = Quarantined { status: Status::Released, ..row.clone() };
            plan.changed.push(released);
        }
    }
    plan.unblocked = scene.blocks.iter().map(|block| block.quarantined).collect();
}

/// A tombstone that holds its later messages holds them no more: they are absorbed. Where a release
/// has begun the next run meanwhile, they are that run's.
fn let_go(plan: &mut Plan, scene: &Scene) {
    let held = scene.incident.as_ref().is_some_and(|incident| incident.scope == Scope::Instance);
    let Some(whole) = scene.whole.as_ref().filter(|whole| held || whole.instance.book.holds) else {
        return;
    };
    let instance = &whole.instance;
    plan.wake = Some((instance.saga.clone(), instance.id));
    if instance.book.holds && instance.incident == scene.incident.as_ref().map(|of| of.id) {
        let mut stone = instance.clone();
        stone.book.holds = false;
        stone.version += 1;
        plan.instance = Some(stone);
    }
}

/// A run as it comes back: what had failed may fail anew, and what waited goes at once.
fn renewed(mut whole: Whole, now: DateTime<Utc>) -> Whole {
    let (failed, ended): (Vec<EndedCall>, Vec<EndedCall>) =
        whole.ended.drain(..).partition(|ended| matches!(ended.end, CallEnd::Failed(_)));
    whole.ended = ended;
    let again = failed.into_iter().map(|ended| ended.task);
    whole.calls.extend(again.map(|task| ActivityTask { attempt: 0, due_at: now, ..task }));
    for parked in &mut whole.parked {
        parked.attempt = 0;
        if parked.reason != ParkedReason::Deferred {
            parked.due_at = Some(now);
        }
    }
    for timer in &mut whole.timers {
        timer.attempt = 0;
    }
    whole
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use knarr_model::work::Parked;
    use knarr_model::{Digest, Envelope, MessageId, RowId};
    use uuid::Uuid;

    use super::*;
    use crate::purge::{opened, tombstone};
    use crate::scenes::{bare, run, start};

    /// A message that waits for the end of an incident.
    fn held() -> Parked {
        let raw = serde_json::value::RawValue::from_string("{}".to_owned()).expect("JSON");
        let id = MessageId(Uuid::from_u128(90));
        let urn = "urn:message:Knarr.UrlScan:Seen".to_owned();
        let envelope = Envelope::new(id, urn, Arc::from(raw));
        Parked {
            id: RowId(Uuid::from_u128(91)),
            endpoint: "scan".into(),
            saga: "scan".into(),
            message_id: id,
            digest: Digest::of_message(&envelope.message),
            instance: Some(run().instance.id),
            seq: 1,
            reason: ParkedReason::Held,
            attempt: 0,
            claims: 0,
            due_at: None,
            error: None,
            envelope: Arc::new(envelope),
        }
    }

    fn purged(at: &Moment) -> Scene {
        let mut scene = bare();
        let mut incident =
            opened(&scene, at, &"scan".into(), knarr_model::Class::Failed, "why".to_owned());
        incident.instance = Some(run().instance.id);
        incident.quarantined = Some(start().id);
        let mut stone = run();
        stone.instance = tombstone(&stone.instance, Some(incident.id), true);
        scene.whole = Some(stone);
        scene.snapshot = Some(run());
        scene.incident = Some(incident);
        scene.quarantined = vec![start()];
        scene
    }

    #[test]
    fn guard_retry_brings_the_run_back_under_the_same_number() {
        let at = Moment::for_test("anna");
        let scene = purged(&at);
        let plan = retry(&scene, &at).expect("planned");
        let back = plan.instance.expect("back");
        assert_eq!((back.run, back.version, back.state.as_str()), (1, 6, "Scanning"));
        assert_eq!((back.data.get(), back.incident), ("{\"secret\":1}", None));
        assert_eq!(plan.changed[0].status, Status::Released);
        assert_eq!(plan.incidents[0].status, IncidentStatus::Retried);
        assert_eq!(plan.forget_snapshots, [plan.incidents[0].id]);
    }

    #[test]
    fn guard_a_tombstone_that_holds_lets_go_when_the_incident_is_resolved() {
        let at = Moment::for_test("anna");
        let scene = purged(&at);
        for plan in [resolve(&scene, &at), discard(&scene, &at)] {
            let plan = plan.expect("planned");
            assert!(plan.wake.is_some());
            let stone = plan.instance.expect("changed");
            assert!(!stone.book.holds && stone.version == 6 && stone.state == PURGED);
        }
        assert!(discard(&scene, &at).expect("planned").changed[0].body.is_empty());
    }

    #[test]
    fn guard_what_waited_for_the_incident_is_due_once_the_run_is_back() {
        let at = Moment::for_test("anna");
        let mut scene = purged(&at);
        scene.whole.as_mut().expect("a tombstone").parked = vec![held()];
        let back = retry(&scene, &at).expect("planned").restore.expect("back");
        assert_eq!(back.parked.len(), 1);
        assert_eq!(back.parked[0].due_at, Some(at.now), "without a time it waits for ever");
    }

    #[test]
    fn guard_what_waited_for_the_incident_goes_to_the_run_that_a_release_began() {
        let at = Moment::for_test("anna");
        let mut scene = purged(&at);
        scene.incident.as_mut().expect("open").scope = Scope::Instance;
        let mut next = run();
        next.instance.run = 2;
        scene.whole = Some(next);
        for plan in [resolve(&scene, &at), discard(&scene, &at)] {
            let plan = plan.expect("planned");
            assert!(plan.wake.is_some(), "it would wait for ever");
            assert!(plan.instance.is_none(), "the next run is nobody's tombstone");
        }
    }

    #[test]
    fn an_incident_ends_once() {
        let at = Moment::for_test("anna");
        let mut scene = purged(&at);
        let done = retry(&scene, &at).expect("planned");
        scene.incident = Some(done.incidents[0].clone());
        for verb in [retry, resolve, discard] {
            assert!(matches!(verb(&scene, &at), Err(Refusal::Conflict(_))));
        }
        scene.incident = None;
        assert!(matches!(retry(&scene, &at), Err(Refusal::Unknown(_))));
    }

    #[test]
    fn guard_a_run_that_began_anew_is_not_overwritten() {
        let at = Moment::for_test("anna");
        let mut scene = purged(&at);
        let whole = scene.whole.as_mut().expect("a tombstone");
        whole.instance.run = 2;
        whole.instance.id = run().instance.id;
        assert!(matches!(retry(&scene, &at), Err(Refusal::Conflict(_))));
        assert_ne!(Uuid::nil(), at.incident);
    }
}
