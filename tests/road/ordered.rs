//! Endpoints that one node at a time may serve: the others are ready and wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_model::NodeId;
use knarr_model::commit::Outcome;
use knarr_saga::definition::Definition;

use crate::kit::{Op, Road, ask, errand_with, fails_first, id, set, tell};

const SECOND: Duration = Duration::from_secs(1);

fn in_order() -> Arc<dyn Definition> {
    errand_with::<0>(|m| m.ordered())
}

fn holder(road: &Road) -> Option<NodeId> {
    road.rows(|rows| rows.endpoint["errand"].holder)
}

/// The numbers under which each instance's messages left, in the order in which they did.
fn numbers(road: &Road) -> BTreeMap<String, Vec<i64>> {
    let mut numbers: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for sent in road.broker().sent() {
        let sequence = sent.outgoing.sequence.expect("it is of an instance");
        numbers.entry(sequence.instance.to_string()).or_default().push(sequence.n);
    }
    numbers
}

#[tokio::test(start_paused = true)]
async fn pe_259_one_node_serves_and_the_others_are_ready_and_wait() {
    let mut road = Road::with(in_order()).lay();
    for _ in 0..3 {
        road.join();
    }
    road.pass(3 * SECOND).await;
    let first = holder(&road).expect("one has it");
    let at = (0..3).find(|n| road.node_id(*n) == first).expect("it is one of ours");
    assert_eq!(road.broker().consumers("errand"), 1);
    for n in 1..=20 {
        road.begin(n, vec![tell("x"), set("one", 1_000), ask("y")]);
    }
    road.pass_and_settle(10 * SECOND).await;
    for n in 1..=20 {
        let mut log = road.log(id(n));
        log.sort();
        assert_eq!(log, ["begun", "done fine", "timer one"]);
    }
    for node in 0..3 {
        let counters = road.counters(node);
        let did = (counters.applied.get(), counters.attempts.get());
        assert_eq!(did, if node == at { (60, 20) } else { (0, 0) }, "node {node}");
        assert!(road.health(node).unready.is_empty(), "{:?}", road.health(node));
    }
}

#[tokio::test(start_paused = true)]
async fn pe_259_one_survivor_takes_over_from_a_holder_that_stops_or_dies_and_keeps_it() {
    for dies in [false, true] {
        let mut road = Road::with(in_order()).start();
        road.pass(SECOND).await;
        road.join();
        road.join();
        road.begin(1, vec![set("one", 30_000)]);
        road.pass_and_settle(SECOND).await;
        assert_eq!(holder(&road), Some(road.node_id(0)));
        let lease_end = road.lease_end(0);
        if dies {
            road.crash(0);
        } else {
            road.stop(0).await;
        }
        let gone_at = road.now();
        let go = road.go(1, 1, vec![tell("x")]);
        road.pass(15 * SECOND).await;
        let next = holder(&road).expect("one has it");
        assert!([1, 2].iter().any(|n| road.node_id(*n) == next));
        let row = road.journal().into_iter().find(|row| row.message_id == go).expect("decided");
        let free_at = if dies { lease_end } else { gone_at };
        let late = row.at - free_at;
        assert!((0..2_500).contains(&late.num_milliseconds()), "{dies}: {late}");
        // It keeps it, and one that comes back waits like any other.
        road.join();
        for k in 2..=20 {
            road.go(1, k, vec![tell("x")]);
            road.pass(SECOND).await;
            assert_eq!(holder(&road), Some(next));
        }
        assert_eq!(road.broker().consumers("errand"), 1);
        road.pass_and_settle(15 * SECOND).await;
        assert_eq!(road.log(id(1)).len(), 22);
        assert!(numbers(&road).values().all(|of| of.is_sorted()));
    }
}

#[tokio::test(start_paused = true)]
async fn pe_265_a_node_that_is_not_the_holder_any_more_notices_and_writes_nothing() {
    let mut road = Road::with(in_order()).start();
    road.pass_and_settle(2 * SECOND).await;
    road.begin(1, vec![]);
    road.settle().await;
    // Another process has it, as if this one had been taken for dead; it goes on meanwhile.
    let stranger = NodeId(id(99));
    let hour = chrono::TimeDelta::hours(1);
    let until = road.now() + hour;
    road.door(0).slow(Op::Endpoint, 5 * SECOND, Duration::ZERO);
    road.pass(SECOND).await;
    road.rows(|rows| {
        rows.node.insert(stranger, until);
        rows.endpoint.get_mut("errand").expect("the row").holder = Some(stranger);
    });
    let go = road.go(1, 1, vec![tell("x")]);
    road.pass(20 * SECOND).await;
    assert_eq!(road.outcome(go), None);
    assert!(road.counters(0).fenced.get() > 0);
    assert_eq!(road.broker().consumers("errand"), 0, "it has noticed");
    assert_eq!(road.broker().depth("errand"), (1, 0), "and given everything back");
    // The other one dies.
    road.door(0).slow(Op::Endpoint, Duration::ZERO, Duration::ZERO);
    road.rows(|rows| rows.node.remove(&stranger));
    road.pass_and_settle(10 * SECOND).await;
    assert_eq!(road.outcome(go), Some(Outcome::Applied));
    assert_eq!(holder(&road), Some(road.node_id(0)));
}

#[tokio::test(start_paused = true)]
async fn p2_an_ordered_endpoint_publishes_in_order_though_messages_fail() {
    let mut road = Road::with(in_order()).lay();
    road.join();
    road.join();
    road.pass(2 * SECOND).await;
    for n in 1..=10 {
        road.begin(n, vec![tell("0")]);
        for k in 1..=10 {
            let broken = if k % 4 == 0 { 1 } else { 0 };
            let label = format!("{n}-{k}");
            road.go(n, k, vec![fails_first(&label, broken), tell(&k.to_string())]);
        }
    }
    road.pass_and_settle(60 * SECOND).await;
    let numbers = numbers(&road);
    assert_eq!(numbers.len(), 10);
    for of in numbers.values() {
        assert_eq!(*of, (1..=11).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lost_its_lease_takes_its_endpoint_again_under_its_new_id() {
    let mut road = Road::with(in_order()).start();
    road.pass_and_settle(2 * SECOND).await;
    let first = road.node_id(0);
    road.door(0).slow(Op::Lease, 15 * SECOND, Duration::ZERO);
    road.pass(20 * SECOND).await;
    road.door(0).slow(Op::Lease, Duration::ZERO, Duration::ZERO);
    road.begin(1, vec![tell("x")]);
    road.pass_and_settle(40 * SECOND).await;
    assert_ne!(road.node_id(0), first);
    assert_eq!(holder(&road), Some(road.node_id(0)));
    assert_eq!(road.log(id(1)), ["begun"]);
}
