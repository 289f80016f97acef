//! Two nodes at one instance, and messages that meet what waits already: every order ends well.

use std::time::Duration;

use knarr_engine::Retention;
use knarr_model::Class;
use knarr_model::commit::Outcome;
use knarr_model::work::ParkedReason;
use knarr_saga::prelude::{after, done};
use knarr_testkit::Steering as _;

use crate::kit::{
    Act, Begin, Later, Never, Op, Phase, Reply, Road, Shrug, Told, ask, errand, errand_with, fails,
    fails_first, id, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);

/// Node 1 has read the instance in `Fresh` when node 0 moves it to `Busy`.
async fn on_a_stale_state(
    send: impl FnOnce(&mut Road) -> knarr_model::MessageId,
) -> (Road, Outcome) {
    let mut road = Road::with(errand()).start();
    road.join();
    road.begin(1, vec![]);
    road.settle().await;
    road.door(1).slow(Op::Load, Duration::ZERO, SECOND);
    road.broker().serve_only(Some(1));
    let message = send(&mut road);
    road.pass(SECOND / 2).await;
    road.broker().serve_only(Some(0));
    road.go(1, 1, vec![Act::Move(Phase::Busy)]);
    road.pass_and_settle(5 * SECOND).await;
    let outcome = road.outcome(message).expect("it has an outcome");
    (road, outcome)
}

#[tokio::test(start_paused = true)]
async fn a_stale_state_neither_defers_nor_sets_aside() {
    let later = |road: &mut Road| road.send(&Later { correlation_id: id(1), n: 1 });
    let (road, outcome) = on_a_stale_state(later).await;
    assert_eq!(outcome, Outcome::Applied);
    assert_eq!(road.log(id(1)), ["begun", "go 1", "later 1"]);
    let never = |road: &mut Road| road.send(&Never { correlation_id: id(1) });
    let (road, outcome) = on_a_stale_state(never).await;
    assert_eq!(outcome, Outcome::Applied);
    assert_eq!(road.log(id(1)), ["begun", "go 1", "never"]);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_read_before_its_predecessor_failed_waits_behind_it_all_the_same() {
    let mut road = Road::with(errand()).start();
    road.join();
    road.begin(1, vec![]);
    road.settle().await;
    road.door(1).slow(Op::Load, Duration::ZERO, SECOND / 2);
    road.broker().serve_only(Some(1));
    let second = road.go(1, 2, vec![]);
    road.pass(SECOND / 10).await;
    road.door(1).slow(Op::Load, Duration::ZERO, Duration::ZERO);
    road.broker().serve_only(Some(0));
    road.go(1, 1, vec![fails_first("one", 1)]);
    road.pass(3 * SECOND / 5).await;
    let parked = road.parked();
    assert_eq!(parked.len(), 2, "{parked:?}");
    assert_eq!((parked[1].reason, parked[1].message_id), (ParkedReason::Held, second));
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2"]);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_failing_start_waits_for_it() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![fails_first("begin", 2)]);
    let good = road.go(1, 1, vec![]);
    let begin = road.begin(2, vec![fails("always")]);
    let bad = road.go(2, 1, vec![]);
    road.settle().await;
    road.go(1, 2, vec![]);
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2"]);
    assert_eq!(road.watch().times(good).len(), 1);
    // What followed a start that never succeeds waits for an instance like any other.
    road.pass_and_settle(15 * SECOND).await;
    let aside: Vec<_> = road.quarantine().iter().map(|row| (row.message_id, row.class)).collect();
    assert_eq!(aside, [(begin, Class::Exhausted), (bad, Class::Missing)]);
}

#[tokio::test(start_paused = true)]
async fn b6_what_waits_when_a_timer_ends_the_run_meets_the_finished_instance() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![set("one", 600), Act::OnTimer(vec![Act::Finish])]);
    road.settle().await;
    let failing = road.go(1, 1, vec![fails("always")]);
    let behind = road.go(1, 2, vec![]);
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!(road.state(id(1)), "Final");
    assert_eq!(road.outcome(failing), Some(Outcome::Ignored));
    assert_eq!(road.outcome(behind), Some(Outcome::Ignored));
    assert!(road.parked().is_empty() && road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn b7_a_join_counts_in_every_state_survives_restarts_and_fires_once() {
    let joined = errand_with::<0>(|m| {
        m.during([Phase::Busy])
            .all_of([knarr_saga::on::<Shrug>(), done::<crate::kit::Ask>(), after("one")])
            .then(|errand, out| {
                errand.log.push("joined".to_owned());
                out.publish(Told { correlation_id: id(1), what: "joined".to_owned() });
            })
            .stay();
    });
    let mut road = Road::with(joined).start();
    road.begin(1, vec![ask("x"), set("one", 2_000)]);
    road.settle().await;
    let shrug = road.envelope(&Shrug { correlation_id: id(1) });
    road.post(&shrug);
    road.settle().await;
    road.crash(0);
    road.join();
    road.post(&shrug);
    road.pass_and_settle(3 * SECOND).await;
    // All three have happened, but not in a state that has the row.
    assert!(road.published::<Told>().is_empty());
    road.go(1, 1, vec![Act::Move(Phase::Busy)]);
    road.settle().await;
    assert_eq!(road.log(id(1)).last().map(String::as_str), Some("joined"));
    road.send(&Shrug { correlation_id: id(1) });
    road.go(1, 2, vec![ask("x"), set("one", 10)]);
    road.pass_and_settle(3 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 1, "{:?}", road.log(id(1)));
}

#[tokio::test(start_paused = true)]
async fn what_a_stopped_node_could_not_publish_is_published_by_another() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.broker().reply("Road:Told", Reply::NotTaken, usize::MAX);
    for n in 1..=3 {
        road.begin(n, vec![tell("x"), tell("y")]);
    }
    road.pass(SECOND).await;
    road.stop(0).await;
    assert!(road.rows(|rows| !rows.outbox.is_empty()));
    road.broker().heal("Road:Told");
    road.join();
    road.pass_and_settle(15 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 6);
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_halt_of_one_endpoint_leaves_the_other_at_work() {
    let mut road = Road::with(errand()).and(errand_with::<1>(|_| {})).start();
    road.settle().await;
    road.store().halt(&"errand".into()).await.expect("it is halted");
    road.pass(2 * SECOND).await;
    let script = vec![set("one", 1_000), ask("x"), tell("here")];
    let begin = road.envelope(&Begin { correlation_id: id(1), script });
    road.post_to("errand", &begin);
    road.post_to("twin", &begin);
    road.pass(5 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert!(road.instance_of("errand", id(1)).is_none());
    let twin = road.instance_of("twin", id(1)).expect("it is at work");
    assert!(twin.data.get().contains("timer one") && twin.data.get().contains("done fine"));
    road.store().resume(&"errand".into()).await.expect("it is open");
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!(road.log(id(1)).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn pe_103_the_journal_is_swept_behind_its_retention() {
    let hour = 3600 * SECOND;
    let mut road = Road::with(errand())
        .settings(|s| s.retention = Retention { journal: hour, finished: hour })
        .start();
    let ended = road.begin(1, vec![Act::Finish]);
    let lives = road.begin(2, vec![]);
    road.pass_and_settle(hour / 2).await;
    assert_eq!(road.journal().len(), 2);
    let later = road.begin(3, vec![Act::Finish]);
    road.pass_and_settle(hour * 3 / 4).await;
    let left: Vec<_> = road.journal().iter().map(|row| row.message_id).collect();
    assert!(!left.contains(&ended), "{left:?}");
    assert!(left.contains(&lives) && left.contains(&later), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn pe_011_a_backlog_at_the_start_is_worked_off_and_the_node_is_ready_at_once() {
    let mut road = Road::with(errand()).lay();
    for n in 1..=3_000 {
        road.begin(n, vec![tell("x")]);
    }
    road.join();
    road.pass(SECOND / 10).await;
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
    road.settle().await;
    assert_eq!(road.published::<Told>().len(), 3_000);
    assert!((1..=3_000).all(|n| road.state(id(n)) == "Fresh"));
}
