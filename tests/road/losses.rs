//! Calls that kill the process are convicted; those that are in flight when processes die are not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::Class;
use knarr_saga::prelude::OnFailure;

use crate::kit::{Answer, Road, ask, dare, errand, errand_with, id, set};

const SECOND: Duration = Duration::from_secs(1);

/// A road on which one process runs at a time; its successor starts when it dies.
struct Mortal {
    road: Road,
    node: usize,
}

impl Mortal {
    fn new(mut road: Road) -> Mortal {
        let node = road.join();
        Mortal { road, node }
    }

    fn die(&mut self) {
        self.road.crash(self.node);
        self.node = self.road.join();
    }

    /// When `what` was begun.
    fn tries(&self, what: &str) -> Vec<DateTime<Utc>> {
        self.road.outside().tried(what).iter().map(|one| one.at).collect()
    }

    /// Lets time pass; the process dies right after each try of `killer`.
    async fn pass(&mut self, killer: &str, time: Duration) {
        let end = self.road.now() + time;
        while self.road.now() < end {
            let tried = self.tries(killer).len();
            self.road.pass(Duration::from_millis(5)).await;
            if self.tries(killer).len() > tried {
                self.die();
            }
        }
    }
}

/// A run that fails is contained; the others go on.
fn road() -> Road {
    Road::with(errand_with::<0>(|m| {
        m.on_failure(OnFailure::ContainInstance);
    }))
    .lay()
}

#[tokio::test(start_paused = true)]
async fn row_018_a_call_that_kills_the_process_is_convicted_and_all_others_go_through() {
    let mut road = road();
    road.outside().script("kills", vec![Answer::Hang; 30]);
    road.outside().script("long", vec![Answer::Slow(20 * SECOND, "long".to_owned()); 30]);
    let killer = road.begin(1, vec![dare("kills")]);
    // In flight with it from the beginning.
    road.begin(2, vec![ask("long")]);
    let mut mortal = Mortal::new(road);
    let mut last = 100;
    while mortal.road.quarantine().is_empty() {
        mortal.road.begin(last, vec![ask("short")]);
        last += 1;
        mortal.pass("kills", SECOND).await;
        assert!(last < 1_500, "it is never convicted: {:?}", mortal.tries("kills"));
    }
    mortal.pass("kills", 60 * SECOND).await;
    let road = &mortal.road;
    road.settle().await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].message_id, rows[0].class), (killer, Class::Activity));
    let told =
        rows[0].errors.iter().any(|error| error.contains("7 processes ended while they ran"));
    assert!(told, "{:?}", rows[0].errors);
    assert_eq!(road.state(id(1)), "Purged");
    assert_eq!(road.log(id(2)), ["begun", "done long"]);
    assert!((100..last).all(|n| road.log(id(n)) == ["begun", "done fine"]));
    let tried = road.outside().tried("kills");
    assert!(tried.iter().all(|one| one.number == 1), "no attempt is used up: {tried:?}");
    let alone = &mortal.tries("kills")[2..];
    assert_eq!(alone.len(), 5, "{alone:?}");
    for (two, gap) in alone.windows(2).zip([1, 5, 30, 120]) {
        let apart = two[1] - two[0];
        assert!(apart.num_seconds() >= gap, "{apart} is less than {gap} s");
    }
}

/// Two calls that kill are convicted one after the other: neither is taken for innocent because
/// processes die without it.
#[tokio::test(start_paused = true)]
async fn row_018_two_calls_that_kill_are_both_convicted() {
    let mut road = road();
    road.outside().script("kills", vec![Answer::Hang; 60]);
    let killers = [road.begin(1, vec![dare("kills")]), road.begin(2, vec![dare("kills")])];
    let mut mortal = Mortal::new(road);
    for n in 100.. {
        if mortal.road.quarantine().len() == 2 {
            break;
        }
        mortal.road.begin(n, vec![ask("short")]);
        mortal.pass("kills", SECOND).await;
        assert!(n < 2_500, "they are never convicted: {:?}", mortal.tries("kills"));
    }
    let mut convicted: Vec<_> =
        mortal.road.quarantine().iter().map(|row| (row.message_id, row.class)).collect();
    convicted.sort();
    let mut expected = killers.map(|killer| (killer, Class::Activity));
    expected.sort();
    assert_eq!(convicted, expected);
}

/// Calls of twenty seconds, and processes killed at random, often before such a call can end.
#[tokio::test(start_paused = true)]
async fn row_018_random_kills_convict_no_long_call() {
    const KILLS: u64 = 120;
    let road = road();
    road.outside().script("long", vec![Answer::Slow(20 * SECOND, "long".to_owned()); 9_000]);
    let mut mortal = Mortal::new(road);
    let (mut dice, mut calls) = (18_u64, 0);
    for _ in 0..KILLS {
        calls += 1;
        mortal.road.begin(calls, vec![dare("long"), set("one", 1_000)]);
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        mortal.road.pass((12 + (dice >> 33) % 28) as u32 * SECOND).await;
        mortal.die();
    }
    mortal.road.pass_and_settle(900 * SECOND).await;
    let road = &mortal.road;
    assert!(road.quarantine().is_empty(), "{:?}", road.quarantine());
    let tried = road.outside().tried("long").len();
    assert!(
        tried as u128 > calls + u128::from(KILLS / 3),
        "{tried} attempts at {calls} were lost too seldom"
    );
    assert!((1..=calls).all(|n| road.log(id(n)).contains(&"dared long".to_owned())));
}

/// A process that dies shortly after each start, whatever it does, convicts no call.
#[tokio::test(start_paused = true)]
async fn row_018_a_process_that_dies_by_itself_convicts_no_call() {
    let mut road = road();
    road.outside().script("long", vec![Answer::Slow(20 * SECOND, "long".to_owned()); 90]);
    road.begin(1, vec![dare("long")]);
    let mut mortal = Mortal::new(road);
    for _ in 0..40 {
        mortal.road.pass(25 * SECOND).await;
        mortal.die();
    }
    assert!(mortal.road.quarantine().is_empty());
    mortal.road.pass_and_settle(200 * SECOND).await;
    assert!(mortal.road.quarantine().is_empty());
    assert_eq!(mortal.road.log(id(1)), ["begun", "dared long"]);
}

/// A message that kills, and an innocent call that is in flight whenever it may be: the message is
/// not tried while the call is, so that its deaths are its own.
#[tokio::test(start_paused = true)]
async fn row_018_a_message_that_kills_convicts_no_call_in_flight() {
    let mut road = Road::with(errand_with::<0>(|m| {
        m.on_failure(OnFailure::ContainInstance);
    }))
    .pace(Duration::from_millis(20))
    .lay();
    road.outside().script("long", vec![Answer::Slow(25 * SECOND, "long".to_owned()); 99]);
    road.begin(2, vec![dare("long")]);
    let mut mortal = Mortal::new(road);
    mortal.road.pass(SECOND).await;
    let killer = mortal.road.begin(1, vec![]);
    let mut decided = 0;
    for n in 100.. {
        if !mortal.road.quarantine().is_empty() {
            break;
        }
        mortal.road.begin(n, vec![]);
        for _ in 0..200 {
            mortal.road.pass(Duration::from_millis(5)).await;
            let times = mortal.road.watch().times(killer).len();
            if times > decided {
                decided = times;
                mortal.die();
            }
        }
        assert!(n < 1_500, "it is never convicted");
    }
    mortal.road.pass_and_settle(120 * SECOND).await;
    let rows = mortal.road.quarantine();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].message_id, rows[0].class), (killer, Class::Poison));
    assert!(mortal.road.log(id(2)).contains(&"dared long".to_owned()));
    assert!(decided >= 5 && mortal.tries("long").len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_no_loss_and_a_call_that_waits_as_a_suspect_holds_no_stop_up() {
    let mut road = Road::with(errand()).lay();
    road.outside().script("x", vec![Answer::Hang; 2]);
    road.begin(1, vec![ask("x")]);
    let mut mortal = Mortal::new(road);
    for tried in 1..=2 {
        while mortal.tries("x").len() < tried {
            mortal.road.pass(Duration::from_millis(100)).await;
        }
        mortal.die();
    }
    // It has two losses and waits; nothing else shows that the process lives.
    mortal.road.pass(20 * SECOND).await;
    let losses =
        |road: &Road| road.rows(|rows| rows.activity.values().next().map(|row| row.task.lost));
    let before = losses(&mortal.road).expect("it waits");
    assert_eq!((before.count, mortal.tries("x").len()), (2, 2));
    let began = mortal.road.now();
    mortal.road.stop(mortal.node).await;
    assert!(mortal.road.now() - began < chrono::TimeDelta::seconds(1));
    assert_eq!(losses(&mortal.road), Some(before));
    mortal.node = mortal.road.join();
    mortal.road.pass_and_settle(70 * SECOND).await;
    assert_eq!(mortal.road.log(id(1)), ["begun", "done fine"]);
}

/// While a suspected call runs alone, no suspected message is decided in its process.
#[tokio::test(start_paused = true)]
async fn row_018_a_suspected_message_waits_while_a_suspected_call_runs_alone() {
    let mut road = Road::with(errand()).pace(Duration::from_millis(20)).lay();
    let long = Answer::Slow(25 * SECOND, "long".to_owned());
    road.outside().script("long", [Answer::Hang, Answer::Hang, long]);
    road.begin(2, vec![ask("long")]);
    let mut mortal = Mortal::new(road);
    for n in 100..400 {
        if mortal.tries("long").len() == 3 {
            break;
        }
        mortal.road.begin(n, vec![]);
        let killer = if mortal.tries("long").len() < 2 { "long" } else { "nothing" };
        mortal.pass(killer, SECOND).await;
    }
    assert_eq!(mortal.tries("long").len(), 3, "it runs alone");
    // Another process dies with a message in hand.
    let other = mortal.road.join();
    mortal.road.broker().serve_only(Some(other));
    mortal.road.pass(SECOND).await;
    let message = mortal.road.begin(1, vec![]);
    while mortal.road.watch().times(message).is_empty() {
        mortal.road.pass(Duration::from_millis(1)).await;
    }
    mortal.road.crash(other);
    mortal.road.broker().serve_only(None);
    mortal.road.pass(5 * SECOND).await;
    let road = &mortal.road;
    assert_eq!(road.outside().running(), 1, "two were lost, the third runs");
    assert_eq!((road.outcome(message), road.watch().times(message).len()), (None, 1));
    road.pass(40 * SECOND).await;
    assert_eq!(road.outcome(message), Some(knarr_model::commit::Outcome::Applied));
    assert_eq!(road.log(id(2)), ["begun", "done long"]);
    assert_eq!(mortal.tries("long").len(), 3);
}
