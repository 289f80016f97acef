//! What is bounded: the line of one instance, and what a batch holds in memory.

use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_saga::prelude::RetryPolicy;

use crate::kit::{Road, errand_with, fails_first, id, tell};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn pe_050_pe_095_a_full_line_stops_intake_of_its_endpoint_and_says_so() {
    let patient = || errand_with::<0>(|m| m.retry(RetryPolicy::fixed(100, SECOND)));
    let mut road =
        Road::with(patient()).and(errand_with::<1>(|_| {})).settings(|s| s.parked_cap = 20).start();
    road.begin(1, vec![]);
    road.settle().await;
    road.go(1, 0, vec![fails_first("head", 30)]);
    for k in 1..=200 {
        road.go(1, k, vec![tell("x")]);
        road.pass(SECOND / 10).await;
    }
    let parked = road.parked().len();
    assert!((20..=25).contains(&parked), "{parked} wait");
    let (ready, held) = road.broker().depth("errand");
    assert!(ready >= 170 && held <= 1, "{ready} ready, {held} in hand");
    let health = road.health(0);
    let name = id(1).to_string();
    let told = |why: &String| why.contains("endpoint errand") && why.contains(&name);
    assert!(health.unready.iter().any(told), "{health:?}");
    // The other endpoint goes on.
    let begin = crate::kit::Begin { correlation_id: id(2), script: vec![] };
    let other = road.envelope(&begin);
    let other = road.post_to("twin", &other);
    road.pass(SECOND).await;
    assert_eq!(road.outcome(other), Some(Outcome::Applied));
    road.pass_and_settle(60 * SECOND).await;
    let log = road.log(id(1));
    let goes: Vec<_> = (0..=200).map(|k| format!("go {k}")).collect();
    assert_eq!(log[1..], goes, "in order");
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_another_node_works_off_lets_this_one_go_on() {
    let patient = || errand_with::<0>(|m| m.retry(RetryPolicy::fixed(100, SECOND)));
    let mut road = Road::with(patient()).settings(|s| s.parked_cap = 20).start();
    road.join();
    road.broker().serve_only(Some(0));
    road.begin(1, vec![]);
    road.settle().await;
    road.go(1, 0, vec![fails_first("head", 10)]);
    for k in 1..=60 {
        road.go(1, k, vec![]);
        road.pass(SECOND / 10).await;
    }
    assert!(!road.health(0).unready.is_empty());
    assert!(road.health(1).unready.is_empty());
    road.pass_and_settle(30 * SECOND).await;
    assert_eq!(road.log(id(1)).len(), 62);
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
}

#[tokio::test(start_paused = true)]
async fn pe_131_fifty_large_instances_due_at_once_take_turns_within_a_memory_budget() {
    const DATA: usize = 1 << 20;
    let mut road = Road::with(crate::kit::errand())
        .settings(|s| {
            s.batch_bytes = 4 * DATA + DATA / 2;
            s.concurrent_batches = 1;
        })
        .start();
    for n in 1..=50 {
        road.begin(n, vec![crate::kit::Act::Grow(DATA), crate::kit::set("one", 60_000)]);
        road.pass(SECOND / 2).await;
    }
    // All fire at once, and each answers with as much again.
    let due = road.now() + chrono::TimeDelta::seconds(40);
    road.rows(|rows| rows.timer.values_mut().for_each(|held| held.row.due_at = due));
    for n in 1..=50 {
        let script = vec![tell(&"y".repeat(DATA / 4))];
        road.go(n, 1, vec![crate::kit::Act::OnTimer(script)]);
    }
    road.settle().await;
    road.shelf().forget_sizes();
    road.pass_and_settle(60 * SECOND).await;
    assert!((1..=50).all(|n| road.log(id(n)) == ["begun", "go 1", "timer one"]));
    assert_eq!(road.broker().sent().len(), 50);
    let (largest, all) = road.shelf().sizes();
    assert!(largest < 6 * DATA, "one batch wrote {largest} bytes");
    assert!(all >= 50 * DATA && largest > DATA, "in turns, not one by one: {largest} of {all}");
}
