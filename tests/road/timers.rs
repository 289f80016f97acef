//! Timers: exact in virtual time, replaced and cancelled exactly, alive across restarts.

use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_model::work::Timer;
use knarr_model::{Class, Context, InstanceId, RowId};

use crate::kit::{
    Act, Begin, Op, Road, Told, cancel, errand, errand_with, fails, fails_first, id,
    millis_between, set, tell,
};

const SECOND: Duration = Duration::from_secs(1);

/// The times, in milliseconds since `from`, at which timers fired.
fn fired(road: &Road, from: chrono::DateTime<chrono::Utc>) -> Vec<i64> {
    let journal = road.journal().into_iter();
    let fired =
        journal.filter(|row| row.event.starts_with("timer") && row.outcome == Outcome::Applied);
    fired.map(|row| millis_between(from, row.at)).collect()
}

#[tokio::test(start_paused = true)]
async fn mt_079_a_timer_fires_at_its_time_and_not_before() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let start = road.now();
    let tick = Act::OnTimer(vec![tell("tick"), Act::Finish]);
    road.begin(1, vec![set("one", 90_500), tick]);
    road.pass(Duration::from_millis(90_499)).await;
    assert!(road.published::<Told>().is_empty());
    road.pass_and_settle(SECOND).await;
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.state(id(1)), "Final");
    let late = fired(&road, start)[0] - 90_500;
    assert!((0..10).contains(&late), "it was {late} ms late");
}

#[tokio::test(start_paused = true)]
async fn a_timer_replaced_within_one_batch_fires_once_at_its_last_time() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let start = road.now();
    road.begin(1, vec![set("one", 1_000), set("one", 1_500)]);
    road.go(1, 1, vec![set("one", 2_000)]);
    road.go(1, 2, vec![set("one", 9_000), set("one", 3_000)]);
    road.settle().await;
    assert_eq!(road.rows(|rows| rows.timer.len()), 1);
    road.pass_and_settle(12 * SECOND).await;
    let fired = fired(&road, start);
    assert!(fired.len() == 1 && (3_000..3_010).contains(&fired[0]), "{fired:?}");
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2", "timer one"]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_cancelled_within_one_batch_never_was_and_can_be_set_anew() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.begin(1, vec![set("one", 1_000), set("two", 1_000)]);
    road.go(1, 1, vec![cancel("one"), cancel("two")]);
    road.go(1, 2, vec![set("two", 2_000)]);
    road.pass_and_settle(SECOND).await;
    assert_eq!(road.rows(|rows| rows.timer.len()), 1);
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1", "go 2", "timer two"]);
}

#[tokio::test(start_paused = true)]
async fn mt_081_mt_086_replacing_and_cancelling_a_stored_timer_is_exact() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let start = road.now();
    road.begin(1, vec![set("one", 5_000), set("two", 6_000)]);
    road.pass(4_990 * SECOND / 1_000).await;
    road.go(1, 1, vec![set("one", 5_000), cancel("two")]);
    road.pass_and_settle(20 * SECOND).await;
    let fired = fired(&road, start);
    assert!(fired.len() == 1 && (9_990..10_005).contains(&fired[0]), "{fired:?}");
    assert_eq!(road.log(id(1)), ["begun", "go 1", "timer one"]);
}

#[tokio::test(start_paused = true)]
async fn mt_082_a_timer_that_sets_itself_again_goes_on_until_the_run_ends() {
    let mut road = Road::with(errand()).start();
    let again = Act::OnTimer(vec![set("one", 1_000), Act::OnTimer(vec![set("one", 1_000)])]);
    road.begin(1, vec![set("one", 1_000), again]);
    road.pass_and_settle(2_500 * SECOND / 1_000).await;
    assert_eq!(road.log(id(1)), ["begun", "timer one", "timer one"]);
    let end = road.go(1, 1, vec![Act::Finish]);
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!(road.outcome(end), Some(Outcome::Applied));
    assert_eq!(road.state(id(1)), "Final");
    assert!(road.rows(|rows| rows.timer.is_empty()) && road.quarantine().is_empty());
    assert_eq!(road.journal().len(), 4, "nothing stray came after the end");
}

#[tokio::test(start_paused = true)]
async fn pe_133_a_due_time_in_the_past_fires_at_once_after_the_commit() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let start = road.now();
    road.begin(1, vec![set("one", -86_400_000), set("two", 0)]);
    road.settle().await;
    assert_eq!(road.log(id(1)).len(), 3);
    assert!(fired(&road, start).iter().all(|at| (0..10).contains(at)));
}

#[tokio::test(start_paused = true)]
async fn pe_135_timers_due_together_fire_once_each() {
    const SLEEPERS: u128 = 10_000;
    let mut road = Road::with(errand()).start();
    for n in 1..=SLEEPERS {
        road.begin(n, vec![set("one", 60_000), set("two", 60_000)]);
    }
    road.settle().await;
    road.pass_and_settle(70 * SECOND).await;
    for n in 1..=SLEEPERS {
        let mut log = road.log(id(n));
        log.sort();
        assert_eq!(log, ["begun", "timer one", "timer two"]);
    }
    assert!(road.quarantine().is_empty());
    assert!(road.rows(|rows| rows.timer.is_empty() && rows.parked.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn pe_137_two_sagas_with_one_timer_name_see_their_own() {
    let mut road = Road::with(errand()).and(errand_with::<1>(|_| {})).start();
    let ours = road.envelope(&Begin { correlation_id: id(1), script: vec![set("one", 1_000)] });
    let theirs = road.envelope(&Begin { correlation_id: id(1), script: vec![set("one", 5_000)] });
    road.post_to("errand", &ours);
    road.post_to("twin", &theirs);
    road.pass_and_settle(2 * SECOND).await;
    let log = |saga: &str| {
        let data = road.instance_of(saga, id(1)).expect("it lives").data;
        data.get().matches("timer one").count()
    };
    assert_eq!((log("errand"), log("twin")), (1, 0));
    road.pass_and_settle(5 * SECOND).await;
    assert_eq!((log("errand"), log("twin")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn pe_107_after_a_day_of_silence_the_next_message_leaves() {
    let mut road = Road::with(errand()).start();
    let day = 24 * 3600;
    road.begin(1, vec![set("one", day * 1_000), Act::OnTimer(vec![tell("good morning")])]);
    road.settle().await;
    let start = road.now();
    road.pass_and_settle(Duration::from_secs(day as u64)).await;
    let sent = road.sent::<Told>();
    assert_eq!(sent.len(), 1);
    let late = millis_between(start, sent[0].0.at) - day * 1_000;
    assert!((-10..20).contains(&late), "it left {late} ms late");
    assert_eq!(road.counters(0).lost_leases.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn mt_085_timers_live_across_a_crash_and_a_stop() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    let start = road.now();
    road.begin(1, vec![set("one", 60_000), set("two", 120_000)]);
    road.pass_and_settle(5 * SECOND).await;
    road.crash(0);
    road.pass(5 * SECOND).await;
    road.join();
    road.pass_and_settle(60 * SECOND).await;
    road.stop(1).await;
    road.join();
    road.pass_and_settle(60 * SECOND).await;
    let fired = fired(&road, start);
    assert_eq!(fired.len(), 2);
    assert!((60_000..60_010).contains(&fired[0]), "{fired:?}");
    assert!((120_000..120_010).contains(&fired[1]), "{fired:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timers_behaviour_has_the_same_budget_and_then_fails_the_run() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![set("one", 1_000), Act::OnTimer(vec![fails_first("tick", 2)])]);
    let begin = road.begin(2, vec![set("one", 1_000), Act::OnTimer(vec![fails("tick")])]);
    road.pass_and_settle(10 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "timer one"]);
    assert_eq!(road.state(id(2)), "Purged");
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].class, rows[0].message_id), (Class::Exhausted, begin));
    assert!(road.journal().iter().any(|row| row.outcome == Outcome::Quarantined));
    let incidents = road.rows(|rows| rows.incident.values().cloned().collect::<Vec<_>>());
    let failed_at = incidents[0].failed_at.clone().expect("it is known");
    assert_eq!((failed_at.event.as_str(), failed_at.attempts), ("timer one", 3));
    assert_eq!(road.watch().times(failed_at.message_id).len(), 3);
}

/// One node has a due timer in hand while the other takes a message that changes it.
async fn meet(timer_first: bool, script: Vec<Act>) -> Road {
    let mut road = Road::with(errand()).start();
    road.broker().serve_only(Some(0));
    road.begin(1, vec![set("one", 1_000)]);
    road.settle().await;
    road.join();
    road.pass(900 * SECOND / 1_000).await;
    let slow = 2 * SECOND;
    if timer_first {
        // The message is read first and written last.
        road.broker().serve_only(Some(1));
        road.door(1).slow(Op::Load, Duration::ZERO, slow);
        road.door(1).slow(Op::Claim, 60 * SECOND, Duration::ZERO);
        road.go(1, 1, script);
    } else {
        // The timer is read first and written last.
        road.door(0).slow(Op::Load, Duration::ZERO, slow);
        road.pass(500 * SECOND / 1_000).await;
        road.broker().serve_only(Some(1));
        road.go(1, 1, script);
    }
    road.pass_and_settle(4 * SECOND).await;
    road
}

#[tokio::test(start_paused = true)]
async fn pe_141_a_timer_set_again_while_firing_elsewhere_fires_once() {
    let road = meet(false, vec![set("one", 5_000)]).await;
    road.pass_and_settle(10 * SECOND).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1", "timer one"]);
    let fired: Vec<_> = road.journal().into_iter().filter(|row| row.event == "timer one").collect();
    assert_eq!(fired.iter().filter(|row| row.outcome == Outcome::Applied).count(), 1);
    assert!(road.rows(|rows| rows.timer.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn pe_142_cancel_and_fire_end_in_one_order() {
    let road = meet(false, vec![cancel("one")]).await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"], "cancelled and never seen");
    let road = meet(true, vec![cancel("one")]).await;
    assert_eq!(road.log(id(1)), ["begun", "timer one", "go 1"], "fired, and nothing to cancel");
    assert!(road.rows(|rows| rows.timer.is_empty()) && road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pe_145_a_due_row_that_cannot_be_delivered_is_set_aside_and_the_rest_fires() {
    let mut road = Road::with(errand()).start();
    for n in 1..=3 {
        road.begin(n, vec![set("one", 1_000)]);
    }
    road.settle().await;
    let due = road.now();
    let stray = |n: u128, saga: &str, name: &str, instance| Timer {
        id: RowId(id(n)),
        endpoint: "errand".into(),
        saga: saga.into(),
        instance: InstanceId(instance),
        run: 1,
        name: name.to_owned(),
        due_at: due,
        attempt: 0,
        claims: 0,
        context: Context::default(),
    };
    let strays = [
        stray(101, "errand", "one", id(55)),
        stray(102, "ghost", "one", id(1)),
        stray(103, "errand", "no such timer", id(1)),
        stray(104, "errand", "one", id(1)),
    ];
    road.rows(|rows| {
        for row in strays {
            let held = knarr_testkit::memory::Claimed { row, by: None };
            rows.timer.insert(held.row.id, held);
        }
    });
    road.pass_and_settle(3 * SECOND).await;
    assert!((1..=3).all(|n| road.log(id(n)) == ["begun", "timer one"]));
    assert!(road.rows(|rows| rows.timer.is_empty()), "no stray row is offered again and again");
    assert!(road.quarantine().is_empty());
}
