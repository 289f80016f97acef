//! Rows of the failure list about halts and purges, and what meets them half way.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::MessageId;
use knarr_model::commit::Outcome;
use knarr_model::incident::OnFailure;
use knarr_model::ports::store::EndpointState;
use knarr_saga::definition::Definition;

use crate::kit::{
    Act, Answer, Cried, Fault, Op, Reply, Road, Told, anna, ask, cry, errand, errand_with, fails,
    fails_first, id, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);

fn contained() -> Arc<dyn Definition> {
    errand_with::<0>(|m| {
        m.on_failure(OnFailure::Contain);
    })
}

/// Whether the run of instance 1 is there whole, or its tombstone with all that belongs to it.
fn is_whole(road: &Road) -> &'static str {
    let (timers, snapshots) = road.rows(|rows| (rows.timer.len(), rows.snapshot.len()));
    let facts = (
        road.state(id(1)),
        timers,
        snapshots,
        road.incidents().len(),
        road.quarantine().len(),
        road.endpoint().state,
    );
    match (facts.0.as_str(), facts.1, facts.2, facts.3, facts.4, facts.5) {
        ("Fresh", 1, 0, 0, 0, EndpointState::Open) => "untouched",
        ("Purged", 0, 1, 1, 1, EndpointState::Halted) => "contained",
        _ => panic!("half of it: {facts:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn row_013_a_process_that_dies_in_a_purge_leaves_all_of_it_or_nothing() {
    // It dies on the way to the store, and on the way back.
    for (there, back, left) in [(10, 0, "untouched"), (0, 10, "contained")] {
        let mut road = Road::with(contained()).start();
        road.begin(1, vec![set("one", 600_000)]);
        road.settle().await;
        road.door(0).slow(Op::Fence, there * SECOND, back * SECOND);
        let hopeless = road.go(1, 1, vec![Act::Fail("no way".to_owned())]);
        road.pass(5 * SECOND).await;
        road.crash(0);
        assert_eq!(is_whole(&road), left);
        // Whoever comes next brings it to its end, once.
        road.join();
        road.pass(60 * SECOND).await;
        assert_eq!(is_whole(&road), "contained");
        assert_eq!(road.outcome(hopeless), Some(Outcome::Quarantined));
        road.desk().resume(&anna(), &"errand".into(), false).await.expect("it is open");
        road.pass_and_settle(LONG).await;
        assert_eq!(road.broker().depth("errand"), (0, 0));
        assert_eq!((road.state(id(1)).as_str(), road.incidents().len()), ("Purged", 1));
    }
    // Nobody dies, but the store does not answer, or not in time.
    for faults in [vec![Fault::Fail; 3], vec![Fault::LoseAnswer], vec![Fault::LoseAnswer; 3]] {
        let mut road = Road::with(contained()).start();
        road.begin(1, vec![set("one", 600_000)]);
        road.settle().await;
        road.door(0).plan(Op::Fence, faults);
        road.go(1, 1, vec![Act::Fail("no way".to_owned())]);
        for _ in 0..60 {
            road.pass(SECOND / 4).await;
            is_whole(&road);
        }
        assert_eq!(is_whole(&road), "contained");
    }
}

#[tokio::test(start_paused = true)]
async fn row_014_a_halt_is_heeded_by_all_although_who_halted_died_at_once() {
    let mut road = Road::with(contained()).settings(|s| s.lanes = 1).start();
    road.begin(1, vec![]);
    road.settle().await;
    // The one that meets the failure halts, and dies before it can tell anybody.
    road.door(0).slow(Op::Fence, Duration::ZERO, 60 * SECOND);
    road.go(1, 1, vec![Act::Fail("no way".to_owned())]);
    road.pass(SECOND).await;
    assert_eq!(road.endpoint().state, EndpointState::Halted);
    for _ in 0..3 {
        road.join();
    }
    road.pass(3 * SECOND).await;
    road.crash(0);
    let ids: Vec<_> = (10..=40).map(|n| road.begin(n, vec![tell("no")])).collect();
    road.pass(60 * SECOND).await;
    assert_eq!(road.broker().consumers("errand"), 0, "within a poll nobody consumes");
    assert!(road.published::<Told>().is_empty());
    assert!(ids.iter().all(|message| road.outcome(*message).is_none()));
    // Open again, it goes on with every replica.
    road.desk().resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(LONG).await;
    assert!(ids.iter().all(|message| road.outcome(*message) == Some(Outcome::Applied)));
}

#[tokio::test(start_paused = true)]
async fn row_014_replicas_that_run_converge_within_a_poll_of_a_halt() {
    let mut road = Road::with(errand()).start();
    road.join();
    road.join();
    road.settle().await;
    road.desk().halt(&anna(), &"errand".into()).await.expect("it is halted");
    road.pass(SECOND + SECOND / 10).await;
    assert_eq!(road.broker().consumers("errand"), 0);
    road.begin(1, vec![]);
    road.pass(60 * SECOND).await;
    assert!(road.watch().decided().is_empty());
}

#[tokio::test(start_paused = true)]
async fn row_089_what_is_in_hand_when_its_run_is_purged_finds_the_tombstone() {
    let mut road = Road::with(errand()).pace(2 * SECOND).start();
    road.join();
    road.begin(1, vec![tell("begun")]);
    road.begin(2, vec![]);
    road.pass_and_settle(LONG).await;
    // One message is being decided, the others lie in the buffers of both replicas.
    let late: Vec<_> = (1..=6).map(|k| road.go(1, k, vec![tell("late"), set("one", 1)])).collect();
    let other = road.go(2, 1, vec![tell("other")]);
    road.pass(SECOND).await;
    road.desk().purge(&anna(), &"errand".into(), id(1).into()).await.expect("it is gone");
    road.pass_and_settle(60 * SECOND).await;
    assert!(late.iter().all(|message| road.outcome(*message) == Some(Outcome::Absorbed)));
    assert_eq!(road.outcome(other), Some(Outcome::Applied));
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["begun", "other"]);
    assert_eq!(road.state(id(1)), "Purged");
    assert!(road.rows(|rows| rows.timer.is_empty() && rows.parked.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn row_090_what_waited_at_a_purge_is_never_sent_and_what_was_in_hand_is_listed() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    // The broker takes nothing to one exchange: what goes there waits for its next round.
    road.broker().reply("Road:Cried", Reply::NotTaken, usize::MAX);
    road.begin(1, vec![tell("before"), cry("waits"), cry("too")]);
    road.begin(2, vec![cry("another's")]);
    road.pass(3 * SECOND).await;
    assert!(road.broker().tried("Road:Cried") > 0);
    road.desk().purge(&anna(), &"errand".into(), id(1).into()).await.expect("it is gone");
    road.broker().heal("Road:Cried");
    road.pass_and_settle(60 * SECOND).await;
    let cried: Vec<_> = road.published::<Cried>().into_iter().map(|cried| cried.what).collect();
    assert_eq!(cried, ["another's"], "what waited is withdrawn");
    assert_eq!(road.published::<Told>().len(), 1);
    // Whether one of them was in hand at that moment, no store can tell: all are listed.
    // It comes back, and what was unsent leaves under its old ids.
    let incident = road.incidents().remove(0);
    road.desk().retry(&anna(), incident.id).await.expect("it is back");
    road.pass_and_settle(60 * SECOND).await;
    let sent = road.sent::<Cried>();
    let of_one: Vec<MessageId> = sent
        .iter()
        .filter(|(sent, _)| sent.outgoing.sequence.is_some_and(|s| s.instance.0 == id(1)))
        .map(|(sent, _)| sent.outgoing.id)
        .collect();
    assert_eq!(of_one.len(), 2);
    assert!(of_one.iter().all(|message| incident.may_have_left.contains(message)));
}

#[tokio::test(start_paused = true)]
async fn row_090_a_first_round_in_hand_may_still_go_and_no_other_does() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    // Publishing hangs with the first round in hand.
    road.broker().stall_after(Some(0));
    road.begin(1, vec![tell("in hand")]);
    road.pass(SECOND / 2).await;
    road.desk().purge(&anna(), &"errand".into(), id(1).into()).await.expect("it is gone");
    let listed = road.incidents().remove(0).may_have_left;
    assert_eq!(listed.len(), 1, "it is listed as possibly sent");
    // The process dies with it; its successor begins a round of its own, and so asks first.
    road.crash(0);
    road.broker().stall_after(None);
    road.join();
    road.pass_and_settle(60 * SECOND).await;
    assert!(road.published::<Told>().is_empty());
}

#[tokio::test(start_paused = true)]
async fn row_091_a_purge_at_the_moment_of_a_timer_an_answer_or_a_retry_leaves_nothing_behind() {
    for offset in 0..=12 {
        let mut road = Road::with(errand()).pace(Duration::from_millis(4)).start();
        let answer = Answer::Slow(3 * SECOND, "so".to_owned());
        road.outside().script("x", [answer]);
        let script = vec![
            ask("x"),
            set("one", 3_000),
            Act::OnTimer(vec![tell("timer")]),
            Act::OnEnd(vec![tell("end")]),
        ];
        road.begin(1, script);
        road.pass(2 * SECOND).await;
        // Due again after a second: all three come together.
        road.go(1, 1, vec![fails_first("once", 1), tell("again")]);
        let until = Duration::from_millis(994 + offset);
        road.pass(until).await;
        road.desk().purge(&anna(), &"errand".into(), id(1).into()).await.expect("it lives");
        let before = road.rows(|rows| rows.journal.len());
        road.pass_and_settle(60 * SECOND).await;
        assert_eq!(road.state(id(1)), "Purged");
        let after = road.journal().split_off(before);
        let absorbed = after.iter().all(|row| row.outcome == Outcome::Absorbed);
        assert!(absorbed, "{offset}: {after:#?}");
        road.rows(|rows| {
            assert!(rows.timer.is_empty() && rows.parked.is_empty() && rows.activity.is_empty());
            assert!(rows.outbox.is_empty());
        });
        let unsent: Vec<_> = road.incidents().remove(0).may_have_left;
        let kept = road.rows(|rows| rows.snapshot.len());
        assert_eq!(kept, 1, "{offset}: {unsent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn guard_messages_held_past_the_bound_are_set_aside_and_the_endpoint_flows() {
    let saga = || {
        errand_with::<0>(|m| {
            m.on_failure(OnFailure::ContainInstance);
        })
    };
    let mut road = Road::with(saga()).settings(|s| s.parked_cap = 20).start();
    road.begin(1, vec![]);
    road.begin(2, vec![]);
    road.settle().await;
    road.go(1, 0, vec![fails("hopeless")]);
    road.pass_and_settle(LONG).await;
    let held: Vec<_> = (1..=50).map(|k| road.go(1, k, vec![tell("later")])).collect();
    for k in 1..=30 {
        road.go(2, k, vec![tell("flows")]);
    }
    road.pass_and_settle(LONG).await;
    // The others go on, and the process stays ready.
    assert_eq!(road.log(id(2)).len(), 31);
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
    assert_eq!(road.broker().depth("errand"), (0, 0));
    assert_eq!(road.parked().len(), 20, "so many wait");
    let beyond: Vec<_> =
        road.quarantine().into_iter().filter(|row| row.instance == Some(id(1).into())).collect();
    let beyond: Vec<_> = beyond.iter().filter(|row| row.class.as_str() == "held").collect();
    assert_eq!(beyond.len(), 30);
    assert!(beyond.iter().all(|row| held[20..].contains(&row.message_id)), "the last to come");
    assert!(beyond[0].reason.contains("20 messages wait"), "{}", beyond[0].reason);
    let gathered = road.incidents().into_iter().find(|incident| incident.class.as_str() == "held");
    assert_eq!(gathered.expect("one incident").count, 30);
    // Those that waited are delivered, in their order; the others wait for a person.
    let incident = road.incidents().into_iter().find(|i| i.instance.is_some()).expect("the run's");
    let desk = road.desk();
    desk.resolve(&anna(), incident.id).await.expect("the loss is accepted");
    road.pass_and_settle(LONG).await;
    assert!(held[..20].iter().all(|m| road.outcome(*m) == Some(Outcome::Absorbed)));
    assert!(road.parked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn guard_a_retry_decides_a_request_whose_time_is_over() {
    let mut road = Road::with(contained()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let script = vec![tell("went"), fails_first("go", 4)];
    let mut asked = road.envelope(&crate::kit::Go { correlation_id: id(1), n: 1, script });
    asked.request_id = Some(id(9));
    asked.expiration_time = Some(road.now() + 30 * SECOND);
    road.post(&asked);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.state(id(1)), "Purged");
    road.pass(3600 * SECOND).await;
    let incident = road.incidents().remove(0);
    let desk = road.desk();
    desk.retry(&anna(), incident.id).await.expect("it is back");
    desk.resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(LONG).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"], "what a person asks for is not dropped");
    assert_eq!(road.published::<Told>().len(), 1);
}
