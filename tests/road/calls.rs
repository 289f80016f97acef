//! Calls: retried with patience, cancelled when nobody waits any more, never guessed.

use std::time::Duration;

use knarr_model::commit::Outcome;
use serde_json::json;

use crate::kit::{Act, Answer, Op, Road, ask, dare, errand, id, millis_between, set};

const SECOND: Duration = Duration::from_secs(1);

fn gaps(tried: &[crate::kit::Tried]) -> Vec<i64> {
    tried.windows(2).map(|pair| millis_between(pair[0].at, pair[1].at)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_tried_again_with_growing_waits_under_one_key() {
    let mut road = Road::with(errand()).start();
    let busy = [Answer::Transient, Answer::Transient, Answer::Transient];
    road.outside().script("x", busy);
    road.begin(1, vec![ask("x")]);
    road.pass_and_settle(10 * SECOND).await;
    let tried = road.outside().tried("x");
    assert_eq!(tried.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(tried.iter().all(|one| one.key == tried[0].key));
    // Doubling from one second, up to a quarter less, and a quarter of a second to be noticed.
    for (gap, least, most) in gaps(&tried)
        .into_iter()
        .zip([750, 1_500, 3_000])
        .map(|(gap, least)| (gap, least, least * 4 / 3 + 260))
    {
        assert!((least..=most).contains(&gap), "{gap} ms is not within {least}..={most}");
    }
    assert_eq!(road.log(id(1)), ["begun", "done fine"]);
    assert!(road.rows(|rows| rows.activity.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_works_fails_exhausted_after_its_attempts() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", vec![Answer::Transient; 9]);
    road.begin(1, vec![ask("x")]);
    road.pass_and_settle(30 * SECOND).await;
    assert_eq!(road.outside().tried("x").len(), 4);
    assert_eq!(road.log(id(1)), ["begun", "failed exhausted"]);
}

#[tokio::test(start_paused = true)]
async fn not_done_yet_uses_no_attempt_and_hands_its_memo_on() {
    let mut road = Road::with(errand()).start();
    let again = |n: u32| Answer::Again(7 * SECOND, json!({ "polled": n }));
    road.outside().script("x", (1..=20).map(again).chain([Answer::Transient]));
    road.begin(1, vec![ask("x")]);
    road.pass_and_settle(160 * SECOND).await;
    let tried = road.outside().tried("x");
    assert_eq!(tried.len(), 22);
    assert!(tried[..21].iter().all(|one| one.number == 1), "{tried:?}");
    assert_eq!(tried[21].number, 2);
    assert_eq!(
        (tried[0].memo.clone(), tried[20].memo.clone()),
        (None, Some(json!({"polled": 20})))
    );
    assert_eq!(tried[21].memo, Some(json!({ "polled": 20 })), "a failed attempt keeps the memo");
    assert!(gaps(&tried)[..20].iter().all(|gap| (7_000..7_260).contains(gap)), "{tried:?}");
    assert_eq!(road.log(id(1)), ["begun", "done fine"]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_cancels_the_attempt_and_counts() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", vec![Answer::Hang; 9]);
    road.begin(1, vec![ask("x")]);
    road.pass(4 * 30 * SECOND).await;
    road.pass_and_settle(20 * SECOND).await;
    let tried = road.outside().tried("x");
    assert_eq!(tried.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for one in &tried {
        let (ended, cancelled) = one.ended.expect("it ended");
        assert!((30_000..30_010).contains(&millis_between(one.at, ended)), "{one:?}");
        assert!(cancelled, "whatever it started hears of it by its token: {one:?}");
    }
    assert_eq!(road.log(id(1)), ["begun", "failed exhausted"]);
}

#[tokio::test(start_paused = true)]
async fn mt_130_every_kind_of_failure_reaches_its_row_and_none_is_repeated_blindly() {
    let mut road = Road::with(errand()).start();
    road.outside().script("panics", [Answer::Panic]);
    road.outside().script("lost", [Answer::Unknown]);
    road.outside().script("no", [Answer::Permanent]);
    for (n, what) in (1..).zip(["panics", "lost", "no"]) {
        road.begin(n, vec![ask(what)]);
    }
    road.pass_and_settle(30 * SECOND).await;
    for (n, (what, class)) in (1..).zip([("panics", "panic"), ("lost", "lost"), ("no", "no")]) {
        assert_eq!(road.outside().tried(what).len(), 1);
        assert_eq!(road.log(id(n)), ["begun".to_owned(), format!("failed {class}")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_when_is_not_asked_before() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Busy(25 * SECOND)]);
    road.begin(1, vec![ask("x")]);
    road.pass_and_settle(30 * SECOND).await;
    let tried = road.outside().tried("x");
    assert!((25_000..25_260).contains(&gaps(&tried)[0]), "{tried:?}");
    assert_eq!(tried[1].number, 2);
}

#[tokio::test(start_paused = true)]
async fn s0_10_b6_a_run_that_ends_cancels_its_calls_and_withdraws_those_not_begun() {
    let mut road = Road::with(errand()).settings(|s| s.max_calls = 2).start();
    road.outside().script("x", vec![Answer::Hang; 4]);
    road.begin(1, vec![ask("x"), ask("x"), ask("x"), ask("x")]);
    road.settle_with_calls_waiting().await;
    assert_eq!(road.outside().running(), 2);
    road.go(1, 1, vec![Act::Finish]);
    road.settle().await;
    let tried = road.outside().tried("x");
    assert_eq!(tried.len(), 2, "the others were never begun");
    assert!(tried.iter().all(|one| one.ended.is_some_and(|(_, cancelled)| cancelled)));
    assert!(road.rows(|rows| rows.activity.is_empty()));
    road.pass_and_settle(60 * SECOND).await;
    assert_eq!(road.state(id(1)), "Final");
    assert_eq!(road.journal().len(), 2);
    assert!(road.quarantine().is_empty());
    // Their places are free again.
    road.begin(2, vec![ask("y"), ask("y")]);
    road.settle().await;
    assert_eq!(road.log(id(2)), ["begun", "done fine", "done fine"]);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_call_is_cancelled_and_the_run_goes_on() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Slow(20 * SECOND, "too late".to_owned())]);
    road.begin(1, vec![ask("x"), dare("y")]);
    road.pass_and_settle(SECOND).await;
    road.go(1, 1, vec![Act::Withdraw]);
    road.pass_and_settle(30 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "dared fine", "go 1"]);
    let (_, cancelled) = road.outside().tried("x")[0].ended.expect("it ended");
    assert!(cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_call_asked_for_and_withdrawn_in_one_batch_never_was() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.begin(1, vec![ask("x")]);
    road.go(1, 1, vec![Act::Withdraw]);
    road.go(1, 2, vec![ask("y")]);
    road.settle().await;
    assert!(road.outside().tried("x").is_empty());
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2", "done fine"]);
}

#[tokio::test(start_paused = true)]
async fn pe_155_an_attempt_hours_away_comes_at_its_time_after_a_restart() {
    let mut road = Road::with(errand()).start();
    let hours = 3 * 3600 * SECOND;
    road.outside().script("x", [Answer::Transient, Answer::Busy(hours)]);
    road.begin(1, vec![ask("x")]);
    road.pass_and_settle(10 * SECOND).await;
    road.stop(0).await;
    road.pass(hours / 3).await;
    road.join();
    road.pass(hours / 3).await;
    road.crash(1);
    road.join();
    road.pass_and_settle(hours / 3).await;
    let tried = road.outside().tried("x");
    assert_eq!(tried.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(tried.iter().map(|one| one.node).collect::<Vec<_>>(), [0, 0, 2]);
    assert!((10_800_000..10_800_260).contains(&gaps(&tried)[1]), "{tried:?}");
    assert!(tried.iter().all(|one| one.key == tried[0].key));
    assert_eq!(road.log(id(1)), ["begun", "done fine"]);
}

#[tokio::test(start_paused = true)]
async fn pe_015_mt_149_a_stop_cancels_calls_and_uses_no_attempt() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Hang, Answer::Hang]);
    road.begin(1, vec![ask("x")]);
    road.settle().await;
    let asked = road.now();
    road.stop(0).await;
    assert!(millis_between(asked, road.now()) < 7_000, "the stop does not wait for it for ever");
    road.join();
    road.pass_and_settle(SECOND).await;
    road.stop(1).await;
    road.join();
    road.pass_and_settle(SECOND).await;
    let tried = road.outside().tried("x");
    assert!(tried[..2].iter().all(|one| one.ended.is_some_and(|(_, cancelled)| cancelled)));
    assert_eq!(tried.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(road.log(id(1)), ["begun", "done fine"]);
}

/// A call that ends within the drain is not made again by whoever comes next, wedged ones beside it or
/// not.
#[tokio::test(start_paused = true)]
async fn pe_022_row_017_a_stop_lets_calls_end_and_gives_up_the_wedged_one_alone() {
    let mut road = Road::with(errand()).start();
    const CALLS: u128 = 200;
    for n in 1..=CALLS {
        let slow = Answer::Slow(Duration::from_millis(20 * n as u64), format!("{n}"));
        road.outside().script(&format!("x{n}"), [slow]);
        road.begin(n, vec![ask(&format!("x{n}"))]);
    }
    road.outside().script("wedged", [Answer::Hang]);
    road.begin(CALLS + 1, vec![ask("wedged")]);
    road.settle().await;
    let asked = road.now();
    road.stop(0).await;
    assert!(millis_between(asked, road.now()) <= 8_000, "within its drain time");
    road.join();
    road.pass_and_settle(SECOND).await;
    for n in 1..=CALLS {
        assert_eq!(road.log(id(n)), ["begun".to_owned(), format!("done {n}")]);
        assert_eq!(road.outside().tried(&format!("x{n}")).len(), 1, "call {n} was made again");
    }
    let tried = road.outside().tried("wedged");
    assert_eq!(tried.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(road.log(id(CALLS + 1)), ["begun", "done fine"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_of_a_node_that_was_given_up_is_absorbed() {
    let mut road = Road::with(errand()).start();
    let slow = |text: &str| Answer::Slow(25 * SECOND, text.to_owned());
    road.outside().script("x", [slow("first"), Answer::Done("second".to_owned())]);
    road.begin(1, vec![ask("x")]);
    road.settle().await;
    road.broker().serve_only(Some(1));
    road.join();
    // The first node is cut off from the store for longer than its lease.
    road.door(0).shut(true);
    road.pass(20 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "done second"]);
    road.door(0).shut(false);
    road.pass_and_settle(20 * SECOND).await;
    let tried = road.outside().tried("x");
    assert_eq!(
        tried.iter().map(|one| (one.node, one.number)).collect::<Vec<_>>(),
        [(0, 1), (1, 1)]
    );
    assert_eq!(tried[0].key, tried[1].key);
    assert_eq!(road.log(id(1)), ["begun", "done second"]);
    let ends = road.journal().into_iter().filter(|row| row.event == "done Ask");
    assert_eq!(ends.filter(|row| row.outcome == Outcome::Applied).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ended_with_its_node_is_not_counted_and_waits_for_its_lease() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Transient, Answer::Hang]);
    road.begin(1, vec![ask("x")]);
    road.pass_and_settle(5 * SECOND).await;
    road.join();
    let lease_end = road.lease_end(0);
    road.crash(0);
    road.pass_and_settle(15 * SECOND).await;
    let tried = road.outside().tried("x");
    assert_eq!(tried.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 2]);
    assert!(tried[2].at >= lease_end, "taken over {} before the lease ended", tried[2].at);
    assert!(millis_between(lease_end, tried[2].at) < 1_500);
    assert_eq!(road.log(id(1)), ["begun", "done fine"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_record_of_an_attempt_is_repeated_and_delivered_once() {
    use crate::kit::Fault::{Fail, LoseAnswer};
    for faults in [vec![Fail; 3], vec![LoseAnswer], vec![Fail, LoseAnswer, Fail]] {
        let mut road = Road::with(errand()).start();
        road.settle().await;
        road.door(0).plan(Op::Record, faults);
        road.begin(1, vec![ask("x"), set("one", 1)]);
        road.pass_and_settle(10 * SECOND).await;
        let log = road.log(id(1));
        assert_eq!(log.iter().filter(|line| *line == "done fine").count(), 1, "{log:?}");
        assert_eq!(road.outside().tried("x").len(), 1);
        assert!(road.rows(|rows| rows.activity.is_empty()));
    }
}

#[tokio::test(start_paused = true)]
async fn pe_266_three_nodes_share_nine_hundred_slow_calls() {
    let mut road = Road::with(errand())
        .settings(|s| {
            s.max_calls = 40;
            s.claim_limit = 40;
        })
        .start();
    road.join();
    road.join();
    road.outside().script("x", vec![Answer::Slow(SECOND, "slowly".to_owned()); 900]);
    for n in 1..=90 {
        road.begin(n, vec![ask("x"); 10]);
    }
    let mut most = 0;
    for _ in 0..40 {
        road.pass(SECOND / 2).await;
        most = most.max(road.outside().running());
    }
    road.settle().await;
    assert!(most <= 120, "{most} ran at once");
    assert!(road.shelf().largest_claim() <= 40);
    let tried = road.outside().all_tried();
    assert_eq!(tried.len(), 900);
    for node in 0..3 {
        let share = tried.iter().filter(|one| one.node == node).count();
        assert!((150..=450).contains(&share), "node {node} ran {share}");
    }
    assert!((1..=90).all(|n| road.log(id(n)).len() == 11));
}
