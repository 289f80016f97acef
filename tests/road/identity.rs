//! Who a message is: copies, conflicts, types that nobody takes, and runs that are over.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_model::quarantine::Status;
use knarr_model::{Class, MessageId};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::kit::{Act, Begin, Cried, Go, Op, Road, Told, ask, errand, id, set, tell};

#[tokio::test(start_paused = true)]
async fn mt_061_copies_of_one_message_are_acked_and_change_nothing() {
    let mut road = Road::with(errand()).start();
    let first = road.envelope(&Begin { correlation_id: id(1), script: vec![tell("hello")] });
    for _ in 0..3 {
        road.post(&first);
    }
    road.settle().await;
    let go = road.envelope(&Go { correlation_id: id(1), n: 7, script: vec![] });
    road.post(&go);
    road.settle().await;
    road.post(&go);
    road.post(&first);
    road.settle().await;
    assert_eq!(road.log(id(1)), ["begun", "go 7"]);
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.journal().len(), 2);
    assert_eq!(road.outcome(first.message_id), Some(Outcome::Applied));
    assert_eq!(road.counters(0).duplicates.get(), 4);
    assert_eq!(road.watch().times(go.message_id).len(), 1);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_086_a_duplicate_after_a_crash_behind_the_publish_runs_nothing() {
    let mut road = Road::with(errand()).start();
    let hour = Duration::from_secs(3600);
    // What was published is not struck off before the crash.
    road.door(0).slow(Op::Outbox, hour, Duration::ZERO);
    let begin = road.envelope(&Begin { correlation_id: id(1), script: vec![tell("hello")] });
    road.post(&begin);
    road.pass(Duration::from_secs(1)).await;
    assert_eq!(road.published::<Told>().len(), 1);
    road.crash(0);
    road.join();
    road.post(&begin);
    road.pass_and_settle(Duration::from_secs(30)).await;
    let copies = road.sent::<Told>();
    assert_eq!(copies.len(), 2);
    assert_eq!(copies[0].0.outgoing.id, copies[1].0.outgoing.id);
    assert_eq!(copies[0].0.outgoing.body, copies[1].0.outgoing.body);
    assert_eq!(road.watch().times(begin.message_id).len(), 1);
    assert_eq!(road.counters(1).duplicates.get(), 1);
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn pe_086_a_crash_between_commit_and_ack_loses_nothing_and_runs_nothing_twice() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let second = Duration::from_secs(1);
    road.door(0).slow(Op::Commit, Duration::ZERO, second);
    let begin = road.begin(1, vec![tell("hello")]);
    road.pass(second / 2).await;
    road.crash(0);
    assert_eq!(road.broker().depth("errand"), (1, 0));
    road.join();
    road.pass_and_settle(Duration::from_secs(30)).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.watch().times(begin).len(), 1);
    assert_eq!(road.broker().depth("errand"), (0, 0));
}

fn other_body(road: &mut Road, of: MessageId) -> knarr_model::Envelope {
    let script = vec![Act::Move(crate::kit::Phase::Busy)];
    let mut other = road.envelope(&Begin { correlation_id: id(1), script });
    other.message_id = of;
    other
}

#[tokio::test(start_paused = true)]
async fn the_same_id_with_another_body_is_set_aside_once() {
    let mut road = Road::with(errand()).start();
    let first = road.begin(1, vec![]);
    road.settle().await;
    let other = other_body(&mut road, first);
    road.post(&other);
    road.settle().await;
    road.post(&other);
    road.settle().await;
    let quarantine = road.quarantine();
    assert_eq!(quarantine.len(), 1);
    assert_eq!((quarantine[0].class, quarantine[0].message_id), (Class::IdConflict, first));
    assert_eq!(quarantine[0].status, Status::Held);
    assert!(String::from_utf8_lossy(&quarantine[0].body).contains("Busy"));
    assert_eq!(road.outcome(first), Some(Outcome::Applied));
    assert_eq!(road.state(id(1)), "Fresh");
    assert_eq!(road.broker().depth("errand"), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn two_bodies_under_one_id_in_one_batch_are_one_message_and_one_conflict() {
    let mut road = Road::with(errand()).start();
    let first = road.begin(1, vec![]);
    let other = other_body(&mut road, first);
    road.post(&other);
    road.settle().await;
    assert_eq!(road.state(id(1)), "Fresh");
    let classes: Vec<_> = road.quarantine().iter().map(|row| row.class).collect();
    assert_eq!(classes, [Class::IdConflict]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_parked_message_is_acked_and_another_body_is_a_conflict() {
    let mut road = Road::with(errand()).start();
    let go = road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![] });
    let mut other = road.envelope(&Go { correlation_id: id(1), n: 2, script: vec![] });
    other.message_id = go.message_id;
    road.post(&go);
    road.settle().await;
    road.post(&go);
    road.post(&other);
    road.settle().await;
    assert_eq!(road.parked().len(), 1);
    assert_eq!(road.quarantine()[0].class, Class::IdConflict);
    road.begin(1, vec![]);
    road.pass_and_settle(Duration::from_secs(4)).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    assert_eq!(road.quarantine().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pe_069_an_unreadable_message_is_set_aside_as_it_came() {
    let mut road = Road::with(errand()).start();
    let id = road.post_unreadable(b"{{{ \xff", Class::Undecodable);
    road.settle().await;
    let row = &road.quarantine()[0];
    assert_eq!((row.class, row.message_id, row.attempts), (Class::Undecodable, id, 1));
    assert_eq!(&row.body[..], b"{{{ \xff");
    assert_eq!(row.size, 5);
    assert_eq!(row.headers.text("who").as_deref(), Some("a stranger"));
    assert_eq!((&*row.exchange, &*row.routing_key), ("from-the-test", "somewhere"));
    assert_eq!(row.errors, ["not JSON at all"]);
    assert_eq!(road.outcome(id), Some(Outcome::Quarantined));
    assert_eq!(road.broker().depth("errand"), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn pe_070_types_that_nobody_takes_and_reserved_ones_are_set_aside() {
    let mut road = Road::with(errand()).start();
    let unknown = road.send(&Cried { correlation_id: id(1), what: "nobody takes this".to_owned() });
    let mut reserved = road.envelope(&Begin { correlation_id: id(1), script: vec![] });
    reserved.message_types.insert(0, "urn:message:Knarr.Internal:timer".to_owned());
    let mut quiet = road.envelope(&Begin { correlation_id: id(2), script: vec![] });
    quiet.message_types.push("URN:MESSAGE:knarr.internal:done".to_owned());
    let mut bare = road.envelope(&Begin { correlation_id: id(3), script: vec![] });
    bare.message_types.clear();
    for envelope in [&reserved, &quiet, &bare] {
        road.post(envelope);
    }
    road.settle().await;
    let mut aside: Vec<_> =
        road.quarantine().iter().map(|row| (row.message_id, row.class)).collect();
    let mut expected: Vec<_> = [unknown, reserved.message_id, quiet.message_id, bare.message_id]
        .map(|id| (id, Class::UnknownType))
        .to_vec();
    aside.sort();
    expected.sort();
    assert_eq!(aside, expected);
    assert!(road.rows(|rows| rows.instance.is_empty()));
    assert!(road.watch().decided().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_does_not_fit_or_names_no_instance_is_set_aside_and_says_why() {
    let mut road = Road::with(errand()).start();
    let mut wrong = road.envelope(&Begin { correlation_id: id(1), script: vec![] });
    let raw = RawValue::from_string(r#"{"correlation_id": 5}"#.to_owned()).expect("JSON");
    wrong.message = Arc::from(raw);
    road.post(&wrong);
    let nobody = road.send(&Begin { correlation_id: Uuid::nil(), script: vec![] });
    road.settle().await;
    let rows = road.quarantine();
    let of = |id| rows.iter().find(|row| row.message_id == id).expect("it is set aside");
    assert_eq!(of(wrong.message_id).class, Class::BadMessage);
    assert!(of(wrong.message_id).reason.contains("Road:Begin"), "{:?}", of(wrong.message_id));
    assert_eq!(of(nobody).class, Class::BadMessage);
    assert!(of(nobody).reason.contains("names no instance"), "{}", of(nobody).reason);
}

#[tokio::test(start_paused = true)]
async fn b9_a_request_past_its_time_is_discarded_undecided() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let past = road.now() - Duration::from_secs(1);
    let mut request = road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![] });
    request.request_id = Some(id(99));
    request.expiration_time = Some(past);
    let mut event = road.envelope(&Go { correlation_id: id(1), n: 2, script: vec![] });
    event.expiration_time = Some(past);
    road.post(&request);
    road.post(&event);
    road.settle().await;
    assert_eq!(road.outcome(request.message_id), Some(Outcome::Discarded));
    assert!(road.watch().times(request.message_id).is_empty());
    assert_eq!(road.log(id(1)), ["begun", "go 2"]);
}

#[tokio::test(start_paused = true)]
async fn b13_a_messages_life_counts_while_it_is_parked() {
    let mut road = Road::with(errand()).start();
    let mut go = road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![] });
    go.expiration_time = Some(road.now() + Duration::from_secs(3));
    road.post(&go);
    road.pass(Duration::from_millis(3100)).await;
    road.begin(1, vec![]);
    road.pass_and_settle(Duration::from_secs(10)).await;
    assert_eq!(road.outcome(go.message_id), Some(Outcome::Discarded));
    assert_eq!(road.log(id(1)), ["begun"]);
    assert!(road.parked().is_empty() && road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_119_an_instance_that_ends_at_once_leaves_only_its_journal() {
    let mut road = Road::with(errand()).start();
    let begin = road.begin(1, vec![tell("done"), set("one", 1_000), ask("x"), Act::Finish]);
    road.settle().await;
    assert_eq!(road.published::<Told>().len(), 1);
    road.rows(|rows| {
        assert!(rows.timer.is_empty() && rows.activity.is_empty() && rows.parked.is_empty());
        assert!(rows.origin.is_empty() && rows.correlation.is_empty() && rows.outbox.is_empty());
    });
    let late = road.go(1, 1, vec![tell("too late")]);
    let again = road.begin(1, vec![tell("once more")]);
    road.pass_and_settle(Duration::from_secs(3)).await;
    assert_eq!(road.outcome(begin), Some(Outcome::Applied));
    assert_eq!(road.outcome(late), Some(Outcome::Ignored));
    assert_eq!(road.outcome(again), Some(Outcome::Ignored));
    let finished = road.instance(id(1)).expect("the row stays");
    assert_eq!((&*finished.state, finished.run), ("Final", 1));
    assert_eq!(road.published::<Told>().len(), 1);
    assert!(road.outside().all_tried().is_empty() && road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_087_one_message_at_two_sagas_is_handled_by_both_once() {
    let mut road = Road::with(errand()).and(crate::kit::errand_with::<1>(|_| {})).start();
    let begin = road.envelope(&Begin { correlation_id: id(1), script: vec![tell("hello")] });
    for queue in ["errand", "twin", "errand", "twin"] {
        road.post_to(queue, &begin);
    }
    road.settle().await;
    assert!(road.instance_of("errand", id(1)).is_some());
    assert!(road.instance_of("twin", id(1)).is_some());
    let sent = road.sent::<Told>();
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0].0.outgoing.id, sent[1].0.outgoing.id);
}
