//! What fails is tried again as declared, kept as it came, and brought back when a person says so.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_model::incident::OnFailure;
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::Status;
use knarr_model::{Class, HeaderValue};
use knarr_saga::definition::Definition;
use knarr_saga::prelude::{RetryPolicy, seconds};

use crate::kit::{
    Act, Answer, Begin, Go, Road, Told, anna, ask, dare, errand, errand_with, fails, fails_first,
    id, respond, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);

fn contained() -> Arc<dyn Definition> {
    errand_with::<0>(|m| {
        m.on_failure(OnFailure::Contain);
    })
}

#[tokio::test(start_paused = true)]
async fn pe_058_pe_063_what_is_set_aside_is_as_it_came_and_tells_all_that_a_person_needs() {
    let mut road = Road::with(errand()).start();
    let mut begin = road.envelope(&Begin { correlation_id: id(1), script: vec![fails("no luck")] });
    begin.headers.set("Tenant", "north");
    begin.headers.set("weight", HeaderValue::I32(7));
    begin.conversation_id = Some(id(5));
    begin.initiator_id = Some(id(6));
    begin.source_address = Some("rabbitmq://there/shop".to_owned());
    let sent_at = road.now();
    begin.sent_time = Some(sent_at);
    road.post(&begin);
    road.pass_and_settle(LONG).await;
    let row = road.quarantine().remove(0);
    // Three attempts have changed nothing of it.
    let weight = row.headers.get("weight").cloned();
    assert_eq!(
        (row.headers.text("Tenant").as_deref(), weight),
        (Some("north"), Some(HeaderValue::I32(7)))
    );
    let body: serde_json::Value = serde_json::from_slice(&row.body).expect("an envelope");
    assert_eq!(body["messageId"], begin.message_id.to_string());
    assert_eq!(body["conversationId"], id(5).to_string());
    assert_eq!(body["initiatorId"], id(6).to_string());
    assert_eq!(body["sourceAddress"], "rabbitmq://there/shop");
    assert!(body["sentTime"].as_str().is_some_and(|at| at.starts_with("2026-01-01")));
    assert_eq!((&*row.endpoint, &*row.saga, row.attempts), ("errand", "errand", 3));
    assert_eq!((row.class, row.reason.as_str()), (Class::Exhausted, "no luck"));
    assert_eq!(row.message_types, ["urn:message:Road:Begin"]);
    assert!(row.at > sent_at && row.definition_version == 1);
    let incident = road.incidents().remove(0);
    assert_eq!(Some(incident.id), row.incident);
    assert_eq!(incident.failed_at.map(|at| at.attempts), Some(3));
}

#[tokio::test(start_paused = true)]
async fn pe_066_a_message_with_a_time_to_live_outlives_it_once_it_is_set_aside() {
    let mut road = Road::with(contained()).settings(|s| s.mirror_errors = true).start();
    let script = vec![fails_first("mended", 3), tell("late")];
    let mut begin = road.envelope(&Begin { correlation_id: id(1), script });
    begin.expiration_time = Some(road.now() + 30 * SECOND);
    road.post(&begin);
    road.pass_and_settle(LONG).await;
    let sent = road.broker().sent();
    let copy = sent.iter().find(|sent| sent.outgoing.exchange == "errand_error").expect("a copy");
    assert_eq!(copy.outgoing.expires_at, None);
    road.pass(3600 * SECOND).await;
    let row = road.quarantine().remove(0);
    assert_eq!(row.status, Status::Held);
    road.desk().release(&anna(), &[row.id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    assert_eq!((road.state(id(1)).as_str(), road.published::<Told>().len()), ("Fresh", 1));
}

#[tokio::test(start_paused = true)]
async fn pe_073_pe_074_a_burst_of_unreadable_messages_is_one_incident_and_the_queue_flows() {
    let mut road = Road::with(contained()).start();
    let unreadable: Vec<_> =
        (0..200).map(|_| road.post_unreadable(b"\x00\x01", Class::Undecodable)).collect();
    let poison = road.begin(1, vec![fails("cannot be processed")]);
    let well = road.begin(2, vec![]);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.endpoint().state, EndpointState::Open);
    assert_eq!(road.outcome(well), Some(Outcome::Applied));
    // What cannot be read and what cannot be processed are told apart, and nothing is dropped.
    let rows = road.quarantine();
    let of = |class| rows.iter().filter(|row| row.class == class).collect::<Vec<_>>();
    assert_eq!(of(Class::Undecodable).len(), 200);
    assert!(unreadable.iter().all(|message| road.watch().times(*message).is_empty()));
    assert_eq!(of(Class::Exhausted)[0].message_id, poison);
    let incidents = road.incidents();
    let gathered: Vec<_> = incidents.iter().filter(|i| i.class == Class::Undecodable).collect();
    assert_eq!((gathered.len(), gathered[0].count), (1, 200));
}

/// A saga whose failed runs halt it for three seconds.
fn restarting() -> Arc<dyn Definition> {
    errand_with::<0>(|m| {
        m.on_failure(OnFailure::Contain);
        m.restart_after(seconds(3));
    })
}

#[tokio::test(start_paused = true)]
async fn pe_077_a_halted_endpoint_tries_again_by_itself_after_its_pause() {
    let mut road = Road::with(restarting()).start();
    road.begin(1, vec![]);
    for n in 2..=40 {
        road.begin(n, vec![]);
    }
    road.settle().await;
    road.go(1, 1, vec![Act::Fail("once".to_owned())]);
    road.pass(SECOND).await;
    let waiting: Vec<_> = (2..=40).map(|n| road.go(n, 1, vec![])).collect();
    road.pass(SECOND).await;
    assert_eq!(road.endpoint().state, EndpointState::Halted);
    assert!(waiting.iter().all(|message| road.outcome(*message).is_none()));
    road.pass(3 * SECOND).await;
    assert_ne!(road.endpoint().state, EndpointState::Halted, "it is tried");
    road.pass_and_settle(60 * SECOND).await;
    assert_eq!(road.endpoint().state, EndpointState::Open);
    assert!(waiting.iter().all(|message| road.outcome(*message) == Some(Outcome::Applied)));
}

#[tokio::test(start_paused = true)]
async fn pe_267_when_the_prober_dies_another_goes_on_probing_one_at_a_time() {
    let mut road = Road::with(restarting()).pace(SECOND / 2).start();
    road.join();
    road.join();
    for n in 1..=30 {
        road.begin(n, vec![]);
    }
    road.pass_and_settle(LONG).await;
    road.go(1, 1, vec![Act::Fail("once".to_owned())]);
    road.pass(2 * SECOND).await;
    assert_eq!(road.endpoint().state, EndpointState::Halted);
    for n in 2..=30 {
        road.go(n, 1, vec![]);
    }
    let mut prober = None;
    for _ in 0..100 {
        let row = road.endpoint();
        prober = row.holder.filter(|_| row.state == EndpointState::Probing);
        if prober.is_some() {
            break;
        }
        road.pass(SECOND / 10).await;
    }
    let prober = prober.expect("one node probes");
    let number = (0..3).find(|n| road.node_id(*n) == prober).expect("one of ours");
    road.crash(number);
    let mut probers = std::collections::BTreeSet::from([prober]);
    for _ in 0..600 {
        let row = road.endpoint();
        if row.state == EndpointState::Open {
            break;
        }
        probers.extend(row.holder);
        road.pass(SECOND / 10).await;
    }
    assert_eq!((road.endpoint().state, probers.len()), (EndpointState::Open, 2), "{probers:?}");
    road.pass_and_settle(60 * SECOND).await;
    assert!((2..=30).all(|n| road.log(id(n)) == ["begun", "go 1"]));
}

#[tokio::test(start_paused = true)]
async fn pe_275_a_released_message_that_fails_again_is_set_aside_as_the_same_ones_successor() {
    let mut road = Road::with(contained()).start();
    let first = road.begin(1, vec![fails_first("mended", 6), tell("at last")]);
    road.pass_and_settle(LONG).await;
    let desk = road.desk();
    let row = road.quarantine().remove(0);
    desk.release(&anna(), &[row.id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].id, rows[0].status), (row.id, Status::Released));
    assert_eq!(rows[0].released_as, Some(rows[1].message_id), "it went under this id");
    let original = rows[1].headers.text("Knarr-Original-Message-Id");
    assert_eq!(original, Some(first.to_string()), "no stranger");
    assert_eq!(rows[1].status, Status::Held);
    // It works at last.
    desk.release(&anna(), &[rows[1].id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert!(road.quarantine().iter().all(|row| row.status == Status::Released));
}

#[tokio::test(start_paused = true)]
async fn pe_286_a_run_that_stopped_goes_on_under_its_id_after_a_deploy() {
    let hasty = errand_with::<0>(|m| {
        m.retry(RetryPolicy::none());
        m.on_failure(OnFailure::Contain);
    });
    let mut road = Road::with(hasty).start();
    road.begin(1, vec![tell("begun"), set("one", 3_600_000)]);
    road.settle().await;
    road.go(1, 1, vec![fails_first("deploy", 2), Act::Move(crate::kit::Phase::Busy)]);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.state(id(1)), "Purged");
    road.stop(0).await;
    road.join_with(errand_with::<0>(|m| {
        m.version(2);
        m.on_failure(OnFailure::Contain);
    }));
    let incident = road.incidents().remove(0);
    let desk = road.desk();
    desk.retry(&anna(), incident.id).await.expect("it is back");
    desk.resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(LONG).await;
    let back = road.instance(id(1)).expect("it lives");
    assert_eq!((back.run, back.state.as_str(), back.definition_version), (1, "Busy", 2));
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    assert!(road.rows(|rows| rows.timer.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn pe_295_a_pause_and_a_resume_make_the_consumer_anew() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    // It says that it consumes, and gets nothing.
    road.broker().serve_only(Some(7));
    let lost = road.begin(1, vec![]);
    road.pass(60 * SECOND).await;
    assert_eq!((road.broker().consumers("errand"), road.outcome(lost)), (1, None));
    let desk = road.desk();
    desk.pause(&anna(), &"errand".into()).await.expect("it pauses");
    road.pass(2 * SECOND).await;
    assert_eq!(road.broker().consumers("errand"), 0, "its consumer is given up");
    road.broker().serve_only(None);
    desk.resume(&anna(), &"errand".into(), false).await.expect("it goes on");
    road.pass_and_settle(2 * SECOND).await;
    assert_eq!(
        (road.broker().consumers("errand"), road.outcome(lost)),
        (1, Some(Outcome::Applied))
    );
}

#[tokio::test(start_paused = true)]
async fn pe_297_malformed_trace_and_correlation_headers_are_as_good_as_none() {
    let mut road = Road::with(errand()).start();
    let odd = "\u{0}\u{7f} 00-zz-💥-";
    for (n, name) in
        (1..).zip(["traceparent", "tracestate", "baggage", "MT-Activity-Id", "CorrelationId"])
    {
        let script = vec![tell(name), ask("x")];
        let mut begin = road.envelope(&Begin { correlation_id: id(n), script });
        begin.headers.set(name, odd);
        begin.headers.set(&format!("{name}-list"), HeaderValue::List(vec![HeaderValue::Null]));
        road.post(&begin);
    }
    road.pass_and_settle(LONG).await;
    assert_eq!(road.published::<Told>().len(), 5);
    assert!((1..=5).all(|n| road.log(id(n)) == ["begun", "done fine"]));
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn mt_131_mt_133_a_row_takes_a_calls_failure_goes_on_or_ends_the_run() {
    let mut road = Road::with(errand()).start();
    for what in ["passed over", "the end"] {
        road.outside().script(what, [Answer::Permanent]);
    }
    road.begin(1, vec![ask("passed over")]);
    road.begin(2, vec![ask("the end"), Act::OnEnd(vec![tell("over"), Act::Finish])]);
    road.pass_and_settle(LONG).await;
    // A row that does nothing has dealt with it: the run goes on with what comes next.
    assert_eq!(
        (road.state(id(1)).as_str(), road.log(id(1))),
        ("Fresh", vec!["begun".to_owned(), "failed no".to_owned()])
    );
    let next = road.go(1, 1, vec![]);
    road.settle().await;
    assert_eq!(road.outcome(next), Some(Outcome::Applied));
    assert_eq!((road.state(id(2)).as_str(), road.published::<Told>().len()), ("Final", 1));
    assert!(road.quarantine().is_empty() && road.incidents().is_empty());
}

#[tokio::test(start_paused = true)]
async fn mt_135_mt_138_what_has_no_second_attempt_is_tried_once_and_what_it_changed_is_undone() {
    let saga = errand_with::<0>(|m| {
        m.retry(RetryPolicy::none());
        m.on_failure(OnFailure::Contain);
    });
    let mut road = Road::with(saga).start();
    road.begin(1, vec![]);
    road.settle().await;
    let script = vec![tell("no"), set("one", 5), Act::Grow(10), fails("once is enough")];
    let go = road.go(1, 1, script);
    road.pass_and_settle(LONG).await;
    // Decided twice, for its run's start message is read in between; tried once.
    let row = road.quarantine().remove(0);
    assert_eq!((row.attempts, road.outcome(go)), (1, Some(Outcome::Quarantined)));
    let kept = road.rows(|rows| rows.snapshot.values().next().cloned()).expect("its run is kept");
    assert!(kept.instance.data.get().contains("\"log\":[\"begun\"]"), "{}", kept.instance.data);
    assert!(kept.timers.is_empty() && road.published::<Told>().is_empty());
}

#[tokio::test(start_paused = true)]
async fn mt_151_a_call_that_gives_itself_up_has_failed_like_any_other() {
    let mut road = Road::with(contained()).start();
    road.outside().script("gives up", [Answer::Permanent]);
    let begin = road.begin(1, vec![dare("gives up")]);
    road.pass_and_settle(LONG).await;
    let tried = road.outside().tried("gives up");
    assert!(tried[0].ended.is_some_and(|(_, cancelled)| !cancelled), "nobody cancelled it");
    let row = road.quarantine().remove(0);
    assert_eq!((row.message_id, row.class), (begin, Class::Activity));
    let sent = road.broker().sent();
    let told = sent.iter().filter(|s| s.outgoing.exchange.starts_with("MassTransit:Fault--"));
    assert_eq!(told.count(), 1, "and whoever waits is told");
}

#[tokio::test(start_paused = true)]
async fn mt_225_pe_025_a_step_that_answers_and_then_fails_sends_a_fault_and_never_the_answer() {
    let mut road = Road::with(contained()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let script = vec![respond("the answer"), fails("after all")];
    let mut asked = road.envelope(&Go { correlation_id: id(1), n: 1, script });
    asked.request_id = Some(id(9));
    asked.response_address = Some("queue:asker".to_owned());
    road.post(&asked);
    road.pass_and_settle(LONG).await;
    let sent = road.broker().sent();
    let answers: Vec<_> = sent.iter().filter(|s| s.outgoing.exchange == "asker").collect();
    assert_eq!(answers.len(), 1);
    let body: serde_json::Value =
        serde_json::from_slice(&answers[0].outgoing.body).expect("an envelope");
    assert_eq!(body["messageType"][0], "urn:message:MassTransit:Fault[[Road:Go]]");
    assert_eq!(body["requestId"], id(9).to_string());
    assert!(road.published::<Told>().is_empty());
}
