//! The three steps, apart and together; what changed meanwhile stops them.

use std::time::Duration;

use chrono::DateTime;
use knarr_model::commit::Outcome;
use knarr_model::instance::PURGED;
use uuid::Uuid;

use super::*;
use crate::scenes::{bare, run, start};

fn failure(reaction: OnFailure) -> Failure {
    let instance = run().instance;
    let message_id = MessageId(Uuid::from_u128(90));
    Failure {
        saga: "scan".into(),
        run: Some(Failing { instance: instance.id, run: 1, version: instance.version }),
        epoch: 1,
        policy: FailurePolicy { on_failure: reaction, ..FailurePolicy::default() },
        start: start(),
        failed_at: FailedAt {
            message_id,
            event: "failed AskVirusTotal".to_owned(),
            envelope: None,
            row: Some(RowId(message_id.0)),
            attempts: 1,
        },
        journal: JournalRow {
            message_id,
            digest: Digest([2; 16]),
            instance: Some(instance.id),
            run: Some(1),
            seq: None,
            event: "failed AskVirusTotal".to_owned(),
            from_state: Some("Scanning".to_owned()),
            to_state: Some(PURGED.to_owned()),
            outcome: Outcome::Quarantined,
            at: DateTime::UNIX_EPOCH,
        },
        taken: Some(ClaimedRow { kind: RowKind::Call, id: RowId(message_id.0), claims: 1 }),
        faults: Vec::new(),
        steps: Vec::new(),
    }
}

fn scene() -> Scene {
    Scene { whole: Some(run()), ..bare() }
}

#[test]
fn s0_19_the_three_steps_are_one_plan() {
    let plan = contain(&scene(), &Moment::for_test("knarr"), &failure(OnFailure::Contain))
        .expect("planned");
    let row = plan.endpoint.as_ref().expect("halted");
    assert_eq!((row.state, row.epoch, row.guard_version), (EndpointState::Halted, 2, 1));
    assert_eq!(plan.instance.as_ref().expect("purged").state, PURGED);
    assert_eq!(plan.blocks[0].value, start().fingerprint.expect("a start"));
    let incident = &plan.incidents[0];
    assert_eq!(plan.set_aside[0].incident, Some(incident.id));
    assert_eq!(row.stop.as_ref().expect("why").incident, Some(incident.id));
    assert_eq!((incident.scope, incident.quarantined), (Scope::Endpoint, Some(start().id)));
    assert_eq!(plan.taken.len(), 1);
}

#[test]
fn guard_scope_instance_holds_only_that_instance() {
    let plan = contain(&scene(), &Moment::for_test("knarr"), &failure(OnFailure::ContainInstance))
        .expect("planned");
    let row = plan.endpoint.as_ref().expect("changed");
    assert_eq!((row.state, row.epoch, row.guard_version), (EndpointState::Open, 1, 1));
    assert!(plan.instance.expect("purged").book.holds);
}

#[test]
fn guard_reaction_quarantine_ends_the_run_and_the_queue_flows() {
    let mut failure = failure(OnFailure::Quarantine);
    failure.steps.push(Statement {
        name: "findings".to_owned(),
        text: knarr_model::statement::Dialects::same("DELETE"),
        parameters: Vec::new(),
    });
    let plan = contain(&scene(), &Moment::for_test("knarr"), &failure).expect("planned");
    assert_eq!(plan.endpoint.as_ref().expect("changed").state, EndpointState::Open);
    assert!(plan.steps.is_empty(), "nothing of the saga's own is removed");
    assert!(plan.snapshot.is_some() && !plan.instance.expect("ended").book.holds);
}

#[test]
fn s0_14_a_failing_start_message_is_set_aside_and_blocked_without_a_halt() {
    let mut failure = failure(OnFailure::Contain);
    failure.run = None;
    let plan = contain(&bare(), &Moment::for_test("knarr"), &failure).expect("planned");
    let row = plan.endpoint.expect("changed");
    assert_eq!((row.state, row.guard_version), (EndpointState::Open, 1));
    assert!(plan.empty.is_none() && plan.instance.is_none() && plan.blocks.len() == 1);
    failure.policy.contain_on_start = true;
    let plan = contain(&bare(), &Moment::for_test("knarr"), &failure).expect("planned");
    assert_eq!(plan.endpoint.expect("changed").state, EndpointState::Halted);
}

#[test]
fn guard_what_changed_meanwhile_is_decided_again() {
    let at = Moment::for_test("knarr");
    let mut other_version = scene();
    other_version.whole.as_mut().expect("a run").instance.version = 9;
    let mut other_epoch = scene();
    other_epoch.endpoint.epoch = 2;
    let mut stopped = scene();
    stopped.endpoint.state = EndpointState::Halted;
    let gone = Scene { owned: false, ..scene() };
    for scene in [other_version, other_epoch, stopped, gone, bare()] {
        let refused = contain(&scene, &at, &failure(OnFailure::Contain)).expect_err("changed");
        assert_eq!(refused, Refusal::Changed);
    }
}

#[test]
fn guard_the_message_at_which_it_failed_waits_in_the_snapshot() {
    let mut failure = failure(OnFailure::Contain);
    let raw = serde_json::value::RawValue::from_string("{}".to_owned()).expect("JSON");
    let id = MessageId(Uuid::from_u128(91));
    let envelope = knarr_model::Envelope::new(id, "urn:message:A".to_owned(), raw.into());
    failure.failed_at.envelope = Some(std::sync::Arc::new(envelope));
    failure.taken = None;
    let plan = contain(&scene(), &Moment::for_test("knarr"), &failure).expect("planned");
    let (_, kept) = plan.snapshot.expect("kept");
    assert_eq!(kept.parked.len(), 1);
    assert_ne!(kept.parked[0].message_id, id);
    assert_eq!(kept.parked[0].envelope.headers.text(ORIGINAL), Some(id.to_string()));
}

#[test]
fn guard_a_failed_run_during_a_probe_halts_for_twice_the_time() {
    let minute = Duration::from_secs(60);
    let mut scene = scene();
    scene.endpoint.state = EndpointState::Probing;
    scene.endpoint.stop = Some(Stop { delay: Some(minute), ..Stop::default() });
    let plan =
        contain(&scene, &Moment::for_test("knarr"), &failure(OnFailure::Contain)).expect("planned");
    let stop = plan.endpoint.expect("halted").stop.expect("why");
    assert_eq!(stop.delay, Some(2 * minute));
}
