//! Several nodes on one store: nothing is taken from the living, everything from the dead.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knarr_model::commit::Outcome;

use crate::kit::{
    Answer, Fault, Op, Reply, Road, Told, ask, errand, errand_with, fails_first, id,
    millis_between, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn rows_of_a_dead_node_are_taken_over_once_its_lease_is_past_and_not_before() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    // What it is to publish, decide and call is all in its hands when it dies.
    road.broker().stall_after(Some(0));
    road.outside().script("x", [Answer::Hang]);
    road.begin(1, vec![set("one", 2_000), tell("stays in the outbox"), ask("x")]);
    road.begin(2, vec![]);
    road.go(2, 1, vec![fails_first("go", 1)]);
    road.pass(SECOND / 2).await;
    road.door(0).slow(Op::Load, 3600 * SECOND, Duration::ZERO);
    road.pass(2 * SECOND).await;
    road.join();
    road.pass(SECOND).await;
    let claimed = road.rows(|rows| {
        let timers = rows.timer.values().filter(|held| held.by.is_some()).count();
        let parked = rows.parked.values().filter(|held| held.by.is_some()).count();
        (timers, parked, rows.outbox.len())
    });
    assert_eq!(claimed, (1, 1, 1));
    let lease_end = road.lease_end(0);
    road.crash(0);
    road.broker().stall_after(None);
    road.pass_and_settle(30 * SECOND).await;
    for event in ["timer one", "done Ask"] {
        let row = road.journal().into_iter().find(|row| row.event == event).expect("it happened");
        let late = millis_between(lease_end, row.at);
        assert!((0..2_500).contains(&late), "{event} came {late} ms after the lease's end");
    }
    let mut go = road.journal().into_iter().filter(|row| row.instance.map(|i| i.0) == Some(id(2)));
    assert!(go.next_back().is_some_and(|row| row.at >= lease_end));
    assert_eq!(road.log(id(2)), ["begun", "go 1"]);
    let sent = road.sent::<Told>();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].0.at >= lease_end);
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}

/// What died under load has left many small chunks: who takes them over does not rest between them.
#[tokio::test(start_paused = true)]
async fn all_that_a_dead_node_left_to_be_sent_goes_in_one_go() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.settle().await;
    road.broker().reply("Road:Told", Reply::NotTaken, usize::MAX);
    for n in 1..=100 {
        road.begin(n, vec![tell("left")]);
        road.pass(SECOND / 50).await;
    }
    let left = road.rows(|rows| rows.outbox.len());
    assert!(left >= 60, "{left} chunks");
    road.join();
    road.pass(SECOND).await;
    let lease_end = road.lease_end(0);
    road.crash(0);
    road.broker().heal("Road:Told");
    road.pass_and_settle(60 * SECOND).await;
    let sent = road.sent::<Told>();
    assert_eq!(sent.len(), 100);
    let latest = sent.iter().map(|(sent, _)| millis_between(lease_end, sent.at)).max();
    assert!(latest.is_some_and(|ms| ms < 2_500), "{latest:?} ms after the lease's end");
    assert!(road.rows(|rows| rows.outbox.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_node_that_stops_are_taken_at_once() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Hang]);
    road.begin(1, vec![ask("x"), set("one", 1_000)]);
    road.settle().await;
    road.join();
    road.pass(SECOND / 2).await;
    road.stop(0).await;
    road.pass_and_settle(SECOND).await;
    let mut log = road.log(id(1));
    log.sort();
    assert_eq!(log, ["begun", "done fine", "timer one"]);
}

#[tokio::test(start_paused = true)]
async fn pe_250_a_node_that_lost_its_lease_goes_on_under_a_new_id_and_nothing_happens_twice() {
    let mut road = Road::with(errand()).start();
    road.join();
    road.settle().await;
    let (first, second) = (road.node_id(0), road.node_id(1));
    for n in 1..=4 {
        road.begin(n, vec![tell("begun")]);
    }
    // Its next renewal is on the way until long after its lease.
    road.door(0).slow(Op::Lease, 15 * SECOND, Duration::ZERO);
    let mut k = 0;
    for round in 0..120 {
        if round == 20 {
            road.door(0).slow(Op::Lease, Duration::ZERO, Duration::ZERO);
        }
        k += 1;
        for n in 1..=4 {
            road.go(n, k, vec![tell(&k.to_string()), set("one", 700), ask("x")]);
        }
        road.pass(SECOND / 4).await;
    }
    road.pass_and_settle(40 * SECOND).await;
    assert_eq!(road.counters(0).lost_leases.get(), 1);
    assert_ne!(road.node_id(0), first);
    assert_eq!(road.node_id(1), second);
    for n in 1..=4 {
        let log = road.log(id(n));
        let goes: BTreeSet<_> = log.iter().filter(|line| line.starts_with("go")).collect();
        let count = |what: &str| log.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!((goes.len(), count("go"), count("done")), (120, 120, 120));
    }
    let mut copies: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for sent in road.broker().sent() {
        let sequence = sent.outgoing.sequence.expect("it is of an instance");
        copies.entry((sequence.instance, sequence.n)).or_default().insert(sent.outgoing.id);
    }
    assert_eq!(copies.len(), 4 * 121);
    assert!(copies.values().all(|ids| ids.len() == 1), "one number, one message");
    // It works again.
    let before = road.broker().sent().len();
    road.broker().serve_only(Some(0));
    road.begin(9, vec![tell("again")]);
    road.settle().await;
    assert_eq!(road.broker().sent().len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_renew_stops_publishing_before_its_lease_ends() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.door(0).slow(Op::Lease, 3600 * SECOND, Duration::ZERO);
    let lease_end = road.lease_end(0);
    for n in 1..=100 {
        road.begin(n, vec![tell("x")]);
        road.pass(SECOND / 5).await;
    }
    let sent = road.sent::<Told>();
    assert!(!sent.is_empty());
    let last = sent.last().expect("some").0.at;
    assert!(last < lease_end, "it published {} ms late", millis_between(lease_end, last));
    assert!(!road.health(0).unready.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_117_three_messages_of_one_instance_at_once_are_all_kept() {
    for failures in [0, 1] {
        let mut road = Road::with(errand()).start();
        road.join();
        road.begin(1, vec![]);
        road.settle().await;
        for node in 0..2 {
            road.door(node).slow(Op::Load, Duration::ZERO, SECOND / 5);
        }
        for k in 1..=3 {
            road.broker().serve_only(Some(k as usize % 2));
            road.go(1, k, vec![fails_first(&k.to_string(), failures), tell(&k.to_string())]);
            road.pass(SECOND / 100).await;
        }
        road.pass_and_settle(20 * SECOND).await;
        let mut log = road.log(id(1));
        assert_eq!(log.len(), 4, "{log:?}");
        log.sort();
        assert_eq!(log, ["begun", "go 1", "go 2", "go 3"]);
        assert_eq!(road.published::<Told>().len(), 3);
        assert!(road.counters(0).lost_races.get() + road.counters(1).lost_races.get() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn mt_214_a_start_and_an_update_close_behind_are_both_applied() {
    let mut road = Road::with(errand()).start();
    road.join();
    road.settle().await;
    for node in 0..2 {
        road.door(node).slow(Op::Load, Duration::ZERO, SECOND / 5);
    }
    for n in 1..=20 {
        road.broker().serve_only(Some(n as usize % 2));
        road.begin(n, vec![tell("begun")]);
        road.pass(SECOND / 100).await;
        road.broker().serve_only(Some((n as usize + 1) % 2));
        road.go(n, 1, vec![tell("gone")]);
        road.pass(SECOND / 20).await;
    }
    road.pass_and_settle(20 * SECOND).await;
    assert!((1..=20).all(|n| road.log(id(n)) == ["begun", "go 1"]));
    assert_eq!(road.published::<Told>().len(), 40);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_row_that_two_nodes_want_is_decided_by_one() {
    let mut road = Road::with(errand()).start();
    for _ in 0..2 {
        road.join();
    }
    for n in 1..=50 {
        road.begin(n, vec![set("one", 1_000), ask("x")]);
    }
    road.pass_and_settle(5 * SECOND).await;
    for n in 1..=50 {
        let mut log = road.log(id(n));
        log.sort();
        assert_eq!(log, ["begun", "done fine", "timer one"]);
    }
    assert_eq!(road.outside().all_tried().len(), 50);
    let applied = road.journal().iter().filter(|row| row.outcome == Outcome::Applied).count();
    assert_eq!(applied, 150);
}

#[tokio::test(start_paused = true)]
async fn answers_lost_by_the_store_lose_no_row() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let lose = [Fault::LoseAnswer, Fault::LoseAnswer];
    road.door(0).plan(Op::Claim, lose);
    road.door(0).plan(Op::ClaimCalls, lose);
    for n in 1..=5 {
        road.begin(n, vec![set("one", 500), ask("x")]);
    }
    road.pass(SECOND).await;
    road.door(0).plan(Op::Claim, lose);
    road.door(0).plan(Op::Commit, lose);
    for n in 1..=5 {
        road.go(n, 1, vec![set("two", 500), fails_first("go", 1), tell("x")]);
    }
    road.pass_and_settle(90 * SECOND).await;
    for n in 1..=5 {
        let mut log = road.log(id(n));
        log.sort();
        assert_eq!(log, ["begun", "done fine", "go 1", "timer one", "timer two"]);
    }
    assert_eq!(road.published::<Told>().len(), 5);
    assert!(road.outside().all_tried().iter().all(|one| one.number == 1));
}

#[tokio::test(start_paused = true)]
async fn row_074_a_newer_definitions_instances_wait_for_a_node_that_knows_it() {
    let newer = || errand_with::<0>(|m| m.version(2));
    let mut road = Road::with(newer()).start();
    road.begin(1, vec![set("one", 8_000)]);
    road.settle().await;
    road.crash(0);
    let older = road.join_with(errand());
    road.pass(SECOND).await;
    let go = road.go(1, 1, vec![tell("one")]);
    let behind = road.go(1, 2, vec![tell("two")]);
    let fine = road.begin(2, vec![]);
    road.pass(20 * SECOND).await;
    assert_eq!(road.outcome(fine), Some(Outcome::Applied), "others are served");
    assert_eq!(road.log(id(1)), ["begun"]);
    assert!(road.watch().times(go).is_empty() && road.watch().times(behind).is_empty());
    let parked = road.parked();
    assert_eq!(parked.len(), 2);
    let error = parked[0].error.clone().unwrap_or_default();
    assert!(error.contains("version 2") && error.contains("this node has 1"), "{error}");
    assert_eq!(parked[0].attempt, 0);
    assert_eq!(road.broker().depth("errand"), (0, 0));
    // A deploy: the node that knows it comes, and the other one goes.
    road.join_with(newer());
    road.crash(older);
    road.pass_and_settle(30 * SECOND).await;
    let mut log = road.log(id(1));
    let goes: Vec<_> = log.iter().filter(|line| line.starts_with("go")).cloned().collect();
    assert_eq!(goes, ["go 1", "go 2"]);
    log.sort();
    assert_eq!(log, ["begun", "go 1", "go 2", "timer one"]);
    assert!(road.quarantine().is_empty());
}
