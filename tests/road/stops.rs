//! Halts, pauses, stops and outages: what is in hand goes back, and everything goes on afterwards.

use std::time::Duration;

use knarr_model::Class;
use knarr_model::commit::Outcome;
use knarr_model::ports::store::EndpointState;
use knarr_model::ports::transport::Settlement;
use knarr_testkit::Steering as _;

use crate::kit::{
    Act, Answer, Begin, Op, Road, Told, ask, errand, fails_first, id, millis_between, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn s0_16_a_halted_endpoint_decides_nothing_and_goes_on_when_it_is_resumed() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Transient, Answer::Hang]);
    road.begin(1, vec![ask("x"), set("one", 8_000)]);
    road.begin(2, vec![]);
    let retried = road.go(2, 1, vec![fails_first("go", 2)]);
    road.pass_and_settle(SECOND + SECOND / 2).await;
    road.store().halt(&"errand".into()).await.expect("it is halted");
    road.pass(2 * SECOND).await;
    let halted_at = road.now();
    let waiting = road.go(1, 1, vec![tell("afterwards")]);
    road.pass(60 * SECOND).await;
    assert!(road.watch().decided().iter().all(|one| one.at <= halted_at));
    assert_eq!(road.broker().depth("errand"), (1, 0));
    assert_eq!(road.broker().consumers("errand"), 0);
    let tried = road.outside().tried("x");
    assert!(tried[1].ended.is_some_and(|(_, cancelled)| cancelled), "{tried:?}");
    assert_eq!(road.log(id(1)), ["begun"]);
    // A halted endpoint is ready, or the platform would restart it.
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
    road.store().resume(&"errand".into()).await.expect("it is open");
    road.pass_and_settle(10 * SECOND).await;
    let mut log = road.log(id(1));
    log.sort();
    assert_eq!(log, ["begun", "done fine", "go 1", "timer one"]);
    let numbers: Vec<_> = road.outside().tried("x").iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 2], "a cancelled attempt is none");
    assert_eq!(road.log(id(2)), ["begun", "go 1"]);
    assert_eq!(road.watch().times(retried).len(), 3);
    assert_eq!(road.outcome(waiting), Some(Outcome::Applied));
    assert_eq!(road.published::<Told>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn s0_17_what_is_being_decided_at_a_halt_goes_back_and_is_decided_once_afterwards() {
    let mut road = Road::with(errand()).pace(SECOND).start();
    road.settle().await;
    let ids: Vec<_> = (1..=6).map(|n| road.begin(n, vec![tell("x")])).collect();
    road.pass(SECOND / 2).await;
    let halted = road.store().halt(&"errand".into()).await.expect("it is halted");
    assert_eq!(halted.epoch, 2);
    road.pass(30 * SECOND).await;
    assert!(road.rows(|rows| rows.instance.is_empty()), "nothing commits at an old epoch");
    assert_eq!(road.broker().depth("errand"), (6, 0), "everything is given back");
    road.store().resume(&"errand".into()).await.expect("it is open");
    road.pass_and_settle(10 * SECOND).await;
    for (n, message) in (1..).zip(ids) {
        assert_eq!(road.log(id(n)), ["begun"]);
        assert_eq!(road.outcome(message), Some(Outcome::Applied));
        let settled = road.broker().settled(message);
        assert_eq!(settled.iter().filter(|how| **how == Settlement::Ack).count(), 1);
    }
    assert_eq!(road.published::<Told>().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn pe_017_a_paused_endpoint_takes_nothing_in_and_its_rows_go_on() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Slow(5 * SECOND, "so".to_owned())]);
    road.begin(1, vec![ask("x"), set("one", 10_000), Act::OnEnd(vec![tell("ended")])]);
    road.settle().await;
    let put = |road: &Road, state| {
        road.rows(|rows| rows.endpoint.get_mut("errand").expect("a row").state = state);
    };
    put(&road, EndpointState::Paused);
    road.pass(2 * SECOND).await;
    let go = road.go(1, 1, vec![]);
    road.pass(30 * SECOND).await;
    assert_eq!(road.broker().depth("errand"), (1, 0));
    assert_eq!(road.log(id(1)), ["begun", "done so", "timer one"]);
    assert_eq!(road.published::<Told>().len(), 1);
    put(&road, EndpointState::Paused);
    put(&road, EndpointState::Open);
    road.pass_and_settle(2 * SECOND).await;
    assert_eq!(road.outcome(go), Some(Outcome::Applied));
    assert_eq!(road.rows(|rows| rows.endpoint["errand"].epoch), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_hand_when_a_pause_begins_goes_back_and_rows_beside_it_go_on() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).pace(SECOND).start();
    road.begin(1, vec![set("one", 3_000)]);
    road.pass_and_settle(SECOND + SECOND / 2).await;
    // Timer and message meet on one lane while the pause begins.
    road.rows(|rows| {
        rows.endpoint.get_mut("errand").expect("a row").state = EndpointState::Paused;
    });
    for n in 2..=5 {
        road.begin(n, vec![]);
    }
    road.pass(20 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "timer one"]);
    let (ready, held) = road.broker().depth("errand");
    assert_eq!(held, 0);
    let taken = (2..=5).filter(|n| road.state(id(*n)) != "none").count();
    assert_eq!(ready + taken, 4, "{ready} wait and {taken} were taken");
}

#[tokio::test(start_paused = true)]
async fn pe_014_a_stop_finishes_what_is_being_decided() {
    let mut road = Road::with(errand()).pace(2 * SECOND).start();
    road.settle().await;
    let begin = road.begin(1, vec![tell("in time")]);
    road.pass(SECOND).await;
    road.stop(0).await;
    assert_eq!(road.state(id(1)), "Fresh");
    assert_eq!(road.broker().settled(begin), [Settlement::Ack]);
    assert_eq!(road.published::<Told>().len(), 1);
    assert!(road.rows(|rows| rows.outbox.is_empty() && rows.node.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn pe_018_messages_in_process_and_waiting_at_a_restart_are_handled_once_and_in_order() {
    let mut road = Road::with(errand()).settings(|s| s.max_batch = 1).pace(SECOND).start();
    road.settle().await;
    road.begin(1, vec![]);
    let ids: Vec<_> = (1..=5).map(|k| road.go(1, k, vec![tell(&k.to_string())])).collect();
    road.pass(1_500 * SECOND / 1_000).await;
    road.stop(0).await;
    road.join();
    road.pass_and_settle(20 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2", "go 3", "go 4", "go 5"]);
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["1", "2", "3", "4", "5"]);
    assert!(ids.iter().all(|id| road.outcome(*id) == Some(Outcome::Applied)));
}

#[tokio::test(start_paused = true)]
async fn pe_023_what_waits_behind_a_blocked_message_is_back_at_the_broker_after_a_stop() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.settle().await;
    let stuck = road.begin(1, vec![]);
    road.watch().stick(stuck);
    road.pass(SECOND / 10).await;
    for n in 2..=26 {
        road.begin(n, vec![]);
    }
    road.pass(SECOND).await;
    let before = road.now();
    road.stop(0).await;
    assert!(millis_between(before, road.now()) <= 8_100, "within its drain time");
    let committed = road.rows(|rows| rows.instance.len());
    assert_eq!(road.broker().depth("errand"), (26 - committed, 0));
    road.join();
    road.pass_and_settle(60 * SECOND).await;
    assert!((2..=26).all(|n| road.log(id(n)) == ["begun"]));
    assert_eq!(road.quarantine()[0].class, Class::Stuck);
}

#[tokio::test(start_paused = true)]
async fn pe_021_a_stop_without_a_store_ends_in_time_and_loses_nothing() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.door(0).shut(true);
    for n in 1..=10 {
        road.begin(n, vec![tell("x")]);
    }
    road.pass(3 * SECOND).await;
    let before = road.now();
    road.stop(0).await;
    assert!(millis_between(before, road.now()) <= 9_000);
    assert_eq!(road.broker().depth("errand"), (10, 0));
    road.join();
    road.pass_and_settle(30 * SECOND).await;
    assert!((1..=10).all(|n| road.log(id(n)) == ["begun"]));
    assert_eq!(road.published::<Told>().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_the_store_uses_no_attempt_and_loses_nothing() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![set("one", 30_000), fails_first("begin", 2)]);
    road.pass_and_settle(5 * SECOND).await;
    let node = road.node_id(0);
    road.door(0).shut(true);
    for k in 1..=5 {
        road.go(1, k, vec![tell("x")]);
        road.pass(720 * SECOND).await;
    }
    let health = road.health(0);
    assert!(health.unready.iter().any(|why| why.contains("lease")), "{health:?}");
    assert!(road.quarantine().is_empty());
    road.door(0).shut(false);
    road.pass_and_settle(30 * SECOND).await;
    let mut log = road.log(id(1));
    log.sort();
    assert_eq!(log, ["begun", "go 1", "go 2", "go 3", "go 4", "go 5", "timer one"]);
    assert_eq!(road.published::<Told>().len(), 5);
    assert_ne!(road.node_id(0), node, "its lease was lost meanwhile");
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
}

#[tokio::test(start_paused = true)]
async fn pe_255_renewing_does_not_wait_behind_work() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let node = road.node_id(0);
    road.door(0).slow(Op::Commit, 60 * SECOND, Duration::ZERO);
    road.begin(1, vec![tell("slowly")]);
    for _ in 0..58 {
        road.pass(SECOND).await;
        assert!(road.lease_end(0) > road.now(), "the lease has run out");
    }
    assert_eq!(road.state(id(1)), "none");
    road.pass_and_settle(10 * SECOND).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!((road.node_id(0), road.counters(0).lost_leases.get()), (node, 0));
}

#[tokio::test(start_paused = true)]
async fn pe_130_data_beyond_the_bound_stop_that_message_only() {
    let mut road = Road::with(errand())
        .settings(|s| {
            s.lanes = 1;
            s.max_data = 10_000;
        })
        .start();
    road.settle().await;
    let grow = |bytes| vec![Act::Grow(bytes), tell("grown")];
    road.begin(1, grow(9_000));
    let large = road.begin(2, grow(10_000));
    for n in 3..=9 {
        road.begin(n, grow(10));
    }
    road.settle().await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].class, rows[0].message_id, rows[0].attempts),
        (Class::Constraint, large, 1)
    );
    assert!(rows[0].reason.contains("allowed are 10000"), "{}", rows[0].reason);
    assert!((1..=9).all(|n| (road.state(id(n)) == "Fresh") == (n != 2)));
    // Of several messages of one instance the one that goes beyond it is named.
    let first = road.go(1, 1, vec![]);
    let beyond = road.go(1, 2, grow(2_000));
    let last = road.go(1, 3, vec![]);
    road.settle().await;
    assert_eq!(road.outcome(first), Some(Outcome::Applied));
    assert_eq!(road.outcome(beyond), Some(Outcome::Quarantined));
    assert_eq!(road.outcome(last), Some(Outcome::Absorbed));
    assert_eq!(road.published::<Told>().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn data_that_cannot_be_written_stop_their_message_and_nothing_is_lost() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.settle().await;
    let odd = road.send(&Begin { correlation_id: id(1), script: vec![Act::Odd, tell("no")] });
    road.begin(2, vec![tell("yes")]);
    road.settle().await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1, "{:?}", road.journal());
    assert_eq!((rows[0].class, rows[0].message_id), (Class::Constraint, odd));
    assert!(rows[0].reason.contains("cannot be written"), "{}", rows[0].reason);
    assert_eq!(road.outcome(odd), Some(Outcome::Quarantined));
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["yes"]);
}
