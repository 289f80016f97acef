//! The guard on the road: a failed run halts, purges and quarantines at once, and the ways back.

use std::sync::Arc;
use std::time::Duration;

use knarr_guard::Error;
use knarr_model::Class;
use knarr_model::commit::Outcome;
use knarr_model::incident::{IncidentStatus, OnFailure, Scope};
use knarr_model::ports::guard::{Refusal, Run};
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::Status;
use knarr_saga::definition::Definition;

use crate::kit::{Act, Begin, Road, Told, anna, errand_with, fails, fails_first, id, set, tell};

const LONG: Duration = Duration::from_secs(10);

fn declares(on_failure: OnFailure) -> Arc<dyn Definition> {
    errand_with::<0>(move |m| {
        m.on_failure(on_failure);
    })
}

/// A road on which the run of instance 1 has failed for good; instance 2 is well.
async fn failed(on_failure: OnFailure, last: Vec<Act>) -> Road {
    let mut road = Road::with(declares(on_failure)).start();
    road.begin(1, vec![tell("begun"), set("one", 600_000)]);
    road.begin(2, vec![]);
    road.settle().await;
    road.go(1, 1, last);
    road.pass_and_settle(LONG).await;
    road
}

fn conflict<T: std::fmt::Debug>(answer: Result<T, Error>) {
    let refused = answer.expect_err("refused");
    assert!(matches!(refused, Error::Refused(Refusal::Conflict(_))), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn s0_12_s0_13_s0_14_s0_19_a_failed_run_halts_purges_and_quarantines_in_one_commit() {
    let mut road = failed(OnFailure::Contain, vec![fails("hopeless")]).await;
    let row = road.endpoint();
    assert_eq!((row.state, row.epoch, row.guard_version), (EndpointState::Halted, 2, 1));
    let incident = road.incidents().remove(0);
    assert_eq!((incident.scope, incident.class), (Scope::Endpoint, Class::Exhausted));
    assert_eq!(row.stop.expect("why").incident, Some(incident.id));
    assert_eq!(incident.removed.timers, 1);
    let stone = road.instance(id(1)).expect("the row stays");
    assert_eq!((stone.state.as_str(), stone.data.get()), ("Purged", "null"));
    assert!(road.rows(|rows| rows.timer.is_empty() && rows.origin.len() == 1));
    let aside = road.quarantine().remove(0);
    assert_eq!((aside.incident, aside.status), (Some(incident.id), Status::Held));

    // S0-12: nothing further is processed until somebody says so.
    let other = road.go(2, 1, vec![tell("later")]);
    road.pass_and_settle(LONG).await;
    assert_eq!((road.outcome(other), road.published::<Told>().len()), (None, 1));
    road.desk().resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(LONG).await;
    assert_eq!(road.outcome(other), Some(Outcome::Applied));

    // S0-14: the same message starts nothing, whatever its id.
    let script = vec![tell("begun"), set("one", 600_000)];
    let copy = road.begin(1, script);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.outcome(copy), Some(Outcome::Quarantined));
    assert_eq!(road.state(id(1)), "Purged");
    assert_eq!(road.quarantine()[0].copies, 1);
    assert_eq!(road.counters(0).blocked.get(), 1);

    // Until it is released: once, as run 2, under a new id.
    let desk = road.desk();
    desk.release(&anna(), &[aside.id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    let again = road.instance(id(1)).expect("it lives");
    assert_eq!((again.run, again.state.as_str(), again.book.produced), (2, "Fresh", 1));
    assert_eq!(road.published::<Told>().len(), 3);
    conflict(desk.release(&anna(), &[aside.id]).await);
    let later = road.begin(1, vec![tell("begun"), set("one", 600_000)]);
    road.pass_and_settle(LONG).await;
    assert_ne!(road.outcome(later), Some(Outcome::Applied));
}

#[tokio::test(start_paused = true)]
async fn guard_retry_brings_the_run_back_and_decides_the_failed_message_again() {
    // The last of three attempts is decided twice: its run's start message is read in between.
    let mut road = failed(OnFailure::Contain, vec![tell("went"), fails_first("go", 4)]).await;
    let incident = road.incidents().remove(0);
    let desk = road.desk();
    let shown = desk.retry(&knarr_guard::Order { run: Run::Dry, ..anna() }, incident.id).await;
    let shown = shown.expect("it would be carried out");
    assert_eq!(road.state(id(1)), "Purged", "only shown");
    let done = desk.retry(&anna(), incident.id).await.expect("it is back");
    assert_eq!(shown.audit.done, done.audit.done);
    assert!(done.audit.waits, "the endpoint is halted still");
    desk.resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(LONG).await;
    let back = road.instance(id(1)).expect("it lives");
    assert_eq!((back.run, road.log(id(1))), (1, vec!["begun".to_owned(), "go 1".to_owned()]));
    assert_eq!(road.published::<Told>().len(), 2);
    assert!(road.rows(|rows| rows.timer.len() == 1 && rows.snapshot.is_empty()));
    assert_eq!(road.incidents()[0].status, IncidentStatus::Retried);
    conflict(desk.retry(&anna(), incident.id).await);
    let told = road.broker().sent();
    let exchanges: Vec<_> = told.iter().map(|sent| sent.outgoing.exchange.as_str()).collect();
    for exchange in ["Knarr:IncidentOpened", "Knarr:IncidentResolved"] {
        assert_eq!(exchanges.iter().filter(|have| **have == exchange).count(), 1, "{exchanges:?}");
    }
    let again = road.go(1, 2, vec![]);
    road.settle().await;
    assert_eq!(road.outcome(again), Some(Outcome::Applied));
}

#[tokio::test(start_paused = true)]
async fn guard_scope_instance_holds_later_messages_until_the_incident_ends() {
    let mut road = failed(OnFailure::ContainInstance, vec![fails("hopeless")]).await;
    assert_eq!(road.endpoint().state, EndpointState::Open);
    let held = road.go(1, 2, vec![tell("never")]);
    let other = road.go(2, 1, vec![tell("flows")]);
    road.pass_and_settle(LONG).await;
    assert_eq!((road.outcome(held), road.outcome(other)), (None, Some(Outcome::Applied)));
    assert_eq!(road.parked().len(), 1);
    let incident = road.incidents().remove(0);
    road.desk().resolve(&anna(), incident.id).await.expect("the loss is accepted");
    road.pass_and_settle(LONG).await;
    assert_eq!(road.outcome(held), Some(Outcome::Absorbed));
    assert!(road.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn guard_a_released_start_takes_what_its_tombstone_held_with_it() {
    let mut road = failed(OnFailure::ContainInstance, vec![fails("hopeless")]).await;
    let held = [road.go(1, 2, vec![tell("held")]), road.go(1, 3, vec![tell("held too")])];
    road.pass_and_settle(LONG).await;
    assert_eq!(road.parked().len(), 2);
    let set_aside = road.quarantine().remove(0);
    road.desk().release(&anna(), &[set_aside.id]).await.expect("it is let go");
    road.pass_and_settle(LONG).await;
    let later = road.go(1, 4, vec![tell("later")]);
    road.pass_and_settle(LONG).await;
    for message in [held[0], held[1], later] {
        assert_eq!(road.outcome(message), Some(Outcome::Applied));
    }
    assert!(road.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn s0_14_a_start_message_beyond_its_budget_is_set_aside_and_blocked_and_the_queue_flows() {
    let mut road = Road::with(declares(OnFailure::Contain)).start();
    let first = road.begin(1, vec![fails("at the start")]);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.endpoint().state, EndpointState::Open);
    assert_eq!(road.watch().times(first).len(), 3);
    assert_eq!(road.quarantine()[0].message_id, first);
    let copy = road.begin(1, vec![fails("at the start")]);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.outcome(copy), Some(Outcome::Quarantined));
    assert!(road.watch().times(copy).is_empty(), "no behaviour sees it");
    road.desk().unblock(&anna(), road.quarantine()[0].id).await.expect("it is free");
    let third = road.begin(1, vec![fails("at the start")]);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.watch().times(third).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn b1_a_requester_hears_of_a_failed_start_at_its_own_address_once() {
    let mut road = Road::with(declares(OnFailure::Contain)).start();
    let request = uuid::Uuid::from_u128(77);
    let script = vec![fails("at the start")];
    let mut asked = road.envelope(&Begin { correlation_id: id(1), script });
    asked.request_id = Some(request);
    asked.response_address = Some("rabbitmq://localhost/asker?temporary=true".to_owned());
    road.post(&asked);
    let mut copy = asked.clone();
    copy.message_id = knarr_model::MessageId(uuid::Uuid::from_u128(78));
    road.pass_and_settle(LONG).await;
    road.post(&copy);
    road.pass_and_settle(LONG).await;
    let sent = road.broker().sent();
    let faults: Vec<_> = sent.iter().filter(|sent| sent.outgoing.exchange == "asker").collect();
    assert_eq!(faults.len(), 2, "the request and its blocked copy, once each");
    for (fault, of) in faults.iter().zip([&asked, &copy]) {
        let body: serde_json::Value =
            serde_json::from_slice(&fault.outgoing.body).expect("an envelope");
        assert_eq!(body["requestId"], request.to_string());
        assert_eq!(body["messageType"][0], "urn:message:MassTransit:Fault[[Road:Begin]]");
        assert_eq!(body["message"]["faultedMessageId"], of.message_id.to_string());
        assert_eq!(body["message"]["message"]["correlation_id"], id(1).to_string());
        assert!(fault.outgoing.sequence.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn row_084_a_bad_deploy_pauses_the_endpoint_and_sets_nothing_aside() {
    let mut road = Road::with(declares(OnFailure::Contain)).start();
    for n in 1..=30 {
        road.begin(n, vec![]);
    }
    road.settle().await;
    for n in 1..=30 {
        road.go(n, 1, vec![fails_first(&format!("deploy {n}"), 1)]);
    }
    road.settle().await;
    let row = road.endpoint();
    assert_eq!(row.state, EndpointState::Paused);
    assert!(row.stop.expect("why").internal_too);
    road.pass_and_settle(Duration::from_secs(30)).await;
    assert!(road.quarantine().is_empty() && road.log(id(1)).len() == 1, "nothing is tried again");
    assert_eq!(road.incidents()[0].class, Class::Breaker);
    // It is tried again by itself, one message at a time, and opens when ten have gone through.
    road.pass_and_settle(Duration::from_secs(120)).await;
    assert_eq!(road.endpoint().state, EndpointState::Open);
    let done = (1..=30).filter(|n| road.log(id(*n)).len() == 2).count();
    assert_eq!((done, road.quarantine().len()), (30, 0));
}

#[tokio::test(start_paused = true)]
async fn s0_10_a_purge_by_hand_cancels_the_call_in_flight_and_can_be_taken_back() {
    let mut road = Road::with(declares(OnFailure::Contain)).start();
    road.outside().script("slow", [crate::kit::Answer::Hang]);
    road.begin(1, vec![crate::kit::ask("slow")]);
    road.settle_with_calls_waiting().await;
    let desk = road.desk();
    desk.cancel(&anna().because("wrong customer"), &"errand".into(), id(1).into())
        .await
        .expect("it is ended");
    road.pass(Duration::from_secs(3)).await;
    let tried = road.outside().tried("slow");
    assert!(tried[0].ended.is_some_and(|(_, cancelled)| cancelled), "{tried:?}");
    assert_eq!(road.state(id(1)), "Purged");
    conflict(desk.purge(&anna(), &"errand".into(), id(1).into()).await);
    road.outside().script("slow", [crate::kit::Answer::Done("done".to_owned())]);
    desk.resume_instance(&anna(), &"errand".into(), id(1).into()).await.expect("it is back");
    road.pass_and_settle(LONG).await;
    assert_eq!(road.outside().tried("slow").len(), 2);
    let lines = road.rows(|rows| rows.audit.values().cloned().collect::<Vec<_>>());
    let verbs: Vec<_> = lines.iter().map(|line| (line.who.as_str(), line.verb.as_str())).collect();
    assert_eq!(verbs, [("anna", "cancel"), ("anna", "retry")]);
    assert_eq!(lines[0].reason.as_deref(), Some("wrong customer"));
}
