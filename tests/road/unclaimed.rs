//! Rows that nobody can claim are counted, and what they wait for is named.

use std::time::Duration;

use crate::kit::{Road, ask, errand, errand_with, id, set};

const SECOND: Duration = Duration::from_secs(1);

/// The rows of an endpoint that was taken out of the program.
#[tokio::test(start_paused = true)]
async fn pe_261_rows_of_an_endpoint_that_no_node_serves_are_counted_until_one_does() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![set("one", 5_000)]);
    road.begin(2, vec![set("one", 500_000)]);
    road.settle().await;
    road.stop(0).await;
    let other = road.join_with(errand_with::<1>(|_| {}));
    road.pass(50 * SECOND).await;
    assert_eq!(road.counters(other).unclaimed.get(), 0, "not for long yet");
    road.pass(90 * SECOND).await;
    assert_eq!(road.counters(other).unclaimed.get(), 1);
    let right = road.join_with(errand());
    road.pass(125 * SECOND).await;
    assert_eq!(road.counters(other).unclaimed.get(), 0);
    assert_eq!(road.counters(right).unclaimed.get(), 0);
    assert_eq!(road.log(id(1)), ["begun", "timer one"]);
}

#[tokio::test(start_paused = true)]
async fn pe_261_what_this_node_could_claim_itself_is_not_missing() {
    let mut road = Road::with(errand()).settings(|s| s.max_calls = 1).start();
    road.outside().script("slow", [crate::kit::Answer::Hang]);
    road.begin(1, vec![ask("slow")]);
    road.settle().await;
    for n in 2..=5 {
        road.begin(n, vec![ask("fast")]);
    }
    road.pass(25 * SECOND).await;
    road.rows(|rows| {
        for row in rows.activity.values_mut().filter(|row| row.by.is_none()) {
            row.task.due_at -= chrono::TimeDelta::seconds(200);
        }
    });
    road.pass(SECOND).await;
    assert_eq!(road.counters(0).unclaimed.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn pe_261_instances_that_need_a_newer_definition_are_counted_until_a_node_has_it() {
    let newer = || errand_with::<0>(|m| m.version(2));
    let mut road = Road::with(newer()).start();
    road.begin(1, vec![]);
    road.settle().await;
    road.crash(0);
    let older = road.join_with(errand());
    road.pass(SECOND).await;
    road.go(1, 1, vec![]);
    road.pass(50 * SECOND).await;
    assert_eq!(road.counters(older).newer_definition.get(), 0, "not for long yet");
    road.pass(90 * SECOND).await;
    assert_eq!(road.counters(older).newer_definition.get(), 1);
    let parked = road.parked();
    let error = parked[0].error.clone().unwrap_or_default();
    assert!(error.contains("version 2"), "{error}");
    road.join_with(newer());
    road.pass_and_settle(125 * SECOND).await;
    assert_eq!(road.counters(older).newer_definition.get(), 0);
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
}
