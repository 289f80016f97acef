//! Where a message waits: for its instance, for a state that takes it, behind one that failed.

use std::time::Duration;

use knarr_model::Class;
use knarr_model::commit::Outcome;
use knarr_model::work::ParkedReason;
use knarr_saga::prelude::{MissingPolicy, RetryPolicy};

use crate::kit::{
    Act, Go, Later, Phase, Road, Told, cry, errand, errand_with, fails_first, id, millis_between,
    respond, tell,
};

#[tokio::test(start_paused = true)]
async fn row_068_mt_050_a_message_without_instance_is_tried_five_times_more_then_set_aside() {
    let mut road = Road::with(errand()).start();
    let go = road.go(1, 1, vec![]);
    road.settle().await;
    assert_eq!(road.broker().depth("errand"), (0, 0), "it waits here, not at the broker");
    assert_eq!(road.parked()[0].reason, ParkedReason::Missing);
    // Others are not held up.
    road.begin(2, vec![]);
    road.go(2, 1, vec![]);
    road.settle().await;
    assert_eq!(road.log(id(2)), ["begun", "go 1"]);
    road.pass_and_settle(Duration::from_secs(12)).await;
    let times = road.watch().times(go);
    assert_eq!(times.len(), 6);
    for pair in times.windows(2) {
        let gap = millis_between(pair[0], pair[1]);
        assert!((1_500..=2_010).contains(&gap), "{gap} ms");
    }
    let aside = &road.quarantine()[0];
    assert_eq!((aside.class, aside.message_id, aside.attempts), (Class::Missing, go, 6));
    assert_eq!(road.outcome(go), Some(Outcome::Quarantined));
    assert!(road.parked().is_empty());
    // A start that comes too late begins afresh; what was set aside stays there.
    road.begin(1, vec![]);
    road.pass_and_settle(Duration::from_secs(5)).await;
    assert_eq!(road.log(id(1)), ["begun"]);
}

#[tokio::test(start_paused = true)]
async fn row_068_mt_047_mt_051_an_update_before_its_start_is_applied_once_and_answers_its_requester()
 {
    let mut road = Road::with(errand()).start();
    let mut request =
        road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![respond("here")] });
    request.request_id = Some(id(77));
    request.response_address = Some("rabbitmq://here/asker?temporary=true".to_owned());
    road.post(&request);
    road.pass(Duration::from_millis(3_300)).await;
    road.begin(1, vec![]);
    road.pass_and_settle(Duration::from_secs(2)).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    let answers = road.sent::<Told>();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].0.outgoing.exchange, "asker");
    assert_eq!(answers[0].1.request_id, Some(id(77)));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_instance_uses_no_attempt_at_deciding() {
    let mut road = Road::with(errand()).start();
    let go = road.go(1, 1, vec![fails_first("go", 2)]);
    road.pass(Duration::from_secs(7)).await;
    let missed = road.watch().times(go).len();
    assert!(missed >= 4, "{missed} looks for an instance");
    road.begin(1, vec![]);
    road.pass_and_settle(Duration::from_secs(8)).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn mt_049_missing_can_be_declared_to_be_dropped_or_set_aside_at_once() {
    let drop = errand_with::<0>(|m| m.missing::<Go>(MissingPolicy::Discard));
    let mut road = Road::with(drop).start();
    let go = road.go(1, 1, vec![]);
    road.settle().await;
    assert_eq!(road.outcome(go), Some(Outcome::Ignored));
    assert!(road.quarantine().is_empty() && road.rows(|rows| rows.instance.is_empty()));

    let aside = errand_with::<0>(|m| m.missing::<Go>(MissingPolicy::SetAside));
    let mut road = Road::with(aside).start();
    let go = road.go(1, 1, vec![]);
    road.settle().await;
    assert_eq!(road.watch().times(go).len(), 1);
    assert_eq!(road.quarantine()[0].class, Class::Missing);
}

fn later(road: &mut Road, n: u32) -> knarr_model::MessageId {
    road.send(&Later { correlation_id: id(1), n })
}

#[tokio::test(start_paused = true)]
async fn pe_075_deferred_messages_wait_without_blocking_and_are_applied_in_order() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    for n in 1..=8 {
        later(&mut road, n);
        road.settle().await;
    }
    let parked = road.parked();
    assert_eq!(parked.len(), 8);
    assert!(parked.iter().all(|row| row.reason == ParkedReason::Deferred && row.due_at.is_none()));
    // Blocked by none of them; a message that leaves the state as it is wakes none of them.
    road.go(1, 1, vec![]);
    road.pass_and_settle(Duration::from_secs(60)).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    road.go(1, 2, vec![Act::Move(Phase::Busy)]);
    road.settle().await;
    let mut expected = vec!["begun".to_owned(), "go 1".to_owned(), "go 2".to_owned()];
    expected.extend((1..=8).map(|n| format!("later {n}")));
    assert_eq!(road.log(id(1)), expected);
    assert!(road.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_deferred_in_the_batch_that_changes_the_state_is_applied() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    let first = later(&mut road, 1);
    road.go(1, 1, vec![Act::Move(Phase::Busy)]);
    later(&mut road, 2);
    road.settle().await;
    let log = road.log(id(1));
    assert_eq!(log.len(), 4, "{log:?}");
    assert!(log.contains(&"later 1".to_owned()) && log.contains(&"later 2".to_owned()));
    assert_eq!(road.outcome(first), Some(Outcome::Applied));
}

#[tokio::test(start_paused = true)]
async fn b6_what_was_deferred_meets_the_finished_instance_also_after_a_restart() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    let one = later(&mut road, 1);
    road.settle().await;
    road.crash(0);
    road.join();
    road.pass(Duration::from_secs(1)).await;
    road.go(1, 1, vec![Act::Finish]);
    road.settle().await;
    assert_eq!(road.outcome(one), Some(Outcome::Ignored));
    assert!(road.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_055_a_message_that_fails_is_tried_again_on_the_same_state_and_others_wait_behind_it() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let failing = road.go(1, 1, vec![fails_first("one", 2), tell("one")]);
    road.go(1, 2, vec![tell("two")]);
    road.settle().await;
    road.go(1, 3, vec![tell("three")]);
    road.begin(2, vec![]);
    road.settle().await;
    // The first waits for its retry, the others behind it; the other instance is not concerned.
    let reasons: Vec<_> = road.parked().iter().map(|row| row.reason).collect();
    assert_eq!(reasons, [ParkedReason::Retry, ParkedReason::Held, ParkedReason::Held]);
    assert_eq!(road.log(id(2)), ["begun"]);
    assert!(road.published::<Told>().is_empty());
    road.pass(Duration::from_millis(1_200)).await;
    road.go(1, 4, vec![tell("four")]);
    road.pass_and_settle(Duration::from_secs(2)).await;
    assert_eq!(road.watch().times(failing).len(), 3);
    let met = road.watch().decided().into_iter().filter(|one| one.id == failing);
    assert!(met.clone().count() >= 3 && met.clone().all(|one| one.state == "Fresh"));
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2", "go 3", "go 4"]);
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["one", "two", "three", "four"]);
    assert!(road.parked().is_empty());
    let seqs: Vec<_> = road.journal().iter().filter_map(|row| row.seq).collect();
    assert_eq!(seqs.iter().filter(|seq| **seq > 1).copied().collect::<Vec<_>>(), [2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn mt_262_each_of_two_failing_messages_of_one_instance_has_its_own_budget() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    let one = road.go(1, 1, vec![fails_first("one", 2)]);
    let two = road.go(1, 2, vec![fails_first("two", 2)]);
    road.go(1, 3, vec![]);
    road.pass_and_settle(Duration::from_secs(10)).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2", "go 3"]);
    assert_eq!((road.watch().times(one).len(), road.watch().times(two).len()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn mt_254_pe_054_a_wait_keeps_its_due_time_across_restarts() {
    let minute = Duration::from_secs(60);
    let slow = errand_with::<0>(|m| m.retry(RetryPolicy::fixed(3, minute)));
    let mut road = Road::with(slow).start();
    road.begin(1, vec![]);
    let go = road.go(1, 1, vec![fails_first("go", 1)]);
    road.settle().await;
    let due = road.parked()[0].due_at.expect("it is tried again");
    road.stop(0).await;
    road.pass(minute / 4).await;
    road.join();
    road.pass(minute / 4).await;
    road.crash(1);
    road.join();
    assert_eq!(road.watch().times(go).len(), 1);
    road.pass_and_settle(minute).await;
    let times = road.watch().times(go);
    assert_eq!(times.len(), 2);
    let late = millis_between(due, times[1]);
    assert!((0..20).contains(&late), "it came {late} ms after its time");
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
}

#[tokio::test(start_paused = true)]
async fn mt_226_what_a_failing_step_asked_for_is_never_seen() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    let script = vec![tell("no"), cry("no"), crate::kit::send("queue:other", "no")];
    let with = |last: Act| [script.clone(), vec![crate::kit::set("one", 10), last]].concat();
    road.go(1, 1, with(crate::kit::fails("always")));
    road.pass_and_settle(Duration::from_secs(10)).await;
    road.begin(2, with(crate::kit::fails("from the start")));
    road.pass_and_settle(Duration::from_secs(10)).await;
    let sent = road.broker().sent();
    let told = |exchange: &str| {
        ["MassTransit:Fault", "Knarr:Incident"].iter().any(|of| exchange.starts_with(of))
    };
    assert!(sent.iter().all(|sent| told(&sent.outgoing.exchange)), "{sent:?}");
    assert!(road.rows(|rows| rows.timer.is_empty() && rows.outbox.is_empty()));
    assert_eq!(road.quarantine().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn mt_227_mt_253_a_step_that_fails_once_publishes_once() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    let go = road.go(1, 1, vec![tell("yes"), fails_first("go", 1)]);
    road.pass_and_settle(Duration::from_secs(10)).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.watch().times(go).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pe_129_a_failing_step_leaves_nothing() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let moves = Act::Move(Phase::Busy);
    let script = vec![moves, Act::Grow(100), crate::kit::set("one", 10), fails_first("go", 1)];
    road.go(1, 1, script);
    road.settle().await;
    assert_eq!(
        (road.log(id(1)), road.state(id(1))),
        (vec!["begun".to_owned()], "Fresh".to_owned())
    );
    let before = road.instance(id(1)).expect("it lives");
    assert!(before.book.timers.is_empty() && before.book.applied == 1);
    assert!(!before.data.get().contains("xxx") && road.rows(|rows| rows.timer.is_empty()));
    road.pass_and_settle(Duration::from_secs(2)).await;
    assert_eq!((road.log(id(1))[1].as_str(), road.state(id(1)).as_str()), ("go 1", "Busy"));
}
