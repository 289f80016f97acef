//! What processes die of is tried alone and convicted; what happens to be there when they die is not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::commit::Outcome;
use knarr_model::work::ParkedReason;
use knarr_model::{Class, MessageId};

use crate::kit::{Act, Op, Road, errand, id, set};

const SECOND: Duration = Duration::from_secs(1);
/// Deciding takes so long: a process can die of it in between.
const PACE: Duration = Duration::from_millis(20);

/// A road on which one process runs at a time, and dies whenever it has decided `killer`.
struct Deadly {
    road: Road,
    killer: MessageId,
    node: usize,
    /// When the killer was decided.
    tries: Vec<DateTime<Utc>>,
}

impl Deadly {
    fn new(mut road: Road, killer: MessageId) -> Deadly {
        let node = road.join();
        Deadly { road, killer, node, tries: Vec::new() }
    }

    /// Lets a millisecond pass, and the process die if it must; its successor starts at once.
    async fn tick(&mut self) {
        self.road.pass(Duration::from_millis(1)).await;
        let tries = self.road.watch().times(self.killer);
        if tries.len() > self.tries.len() {
            self.tries = tries;
            self.die();
        }
    }

    fn die(&mut self) {
        self.road.crash(self.node);
        self.node = self.road.join();
    }

    /// Runs until the killer is set aside; another message comes every second.
    async fn convict(&mut self) -> Vec<MessageId> {
        let mut others = Vec::new();
        let began = self.road.now();
        for n in 100.. {
            if !self.road.quarantine().is_empty() {
                break;
            }
            others.push(self.road.begin(n, vec![set("one", 1_500)]));
            for _ in 0..1_000 {
                self.tick().await;
            }
            assert!((self.road.now() - began).num_minutes() < 20, "it is never convicted");
        }
        self.road.pass_and_settle(20 * SECOND).await;
        others
    }

    /// Tries lie as far apart as the budget says, after those before anybody suspected it.
    fn spaced(&self, unsuspected: usize) {
        let alone = &self.tries[unsuspected..];
        assert_eq!(alone.len(), 5, "{:?}", self.tries);
        for (two, gap) in alone.windows(2).zip([1, 5, 30, 120]) {
            let lie_apart = two[1] - two[0];
            assert!(lie_apart.num_seconds() >= gap, "{lie_apart} is less than {gap} s");
        }
    }
}

fn road() -> Road {
    Road::with(errand()).pace(PACE).lay()
}

#[tokio::test(start_paused = true)]
async fn row_018_a_message_that_kills_the_process_is_convicted_and_all_others_go_through() {
    let mut road = road();
    let killer = road.begin(1, vec![]);
    let mut deadly = Deadly::new(road, killer);
    let others = deadly.convict().await;
    let road = &deadly.road;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].message_id, rows[0].class), (killer, Class::Poison));
    assert!(rows[0].reason.contains("5 processes died"), "{}", rows[0].reason);
    assert_eq!(road.outcome(killer), Some(Outcome::Quarantined));
    assert!(others.iter().all(|id| road.outcome(*id) == Some(Outcome::Applied)));
    assert!(road.rows(|rows| rows.suspect.is_empty() && nothing_intended(rows)));
    // A start message blocks its copies, and nothing has stopped.
    assert_eq!(road.rows(|rows| rows.block.len()), 1);
    assert_eq!(road.endpoint().epoch, 1);
    deadly.spaced(deadly.tries.len() - 5);
    assert!(deadly.tries.len() <= 8, "{:?}", deadly.tries);
}

#[tokio::test(start_paused = true)]
async fn row_018_a_timer_that_kills_the_process_is_convicted_too_and_its_run_stays() {
    let mut road = road();
    road.begin(1, vec![set("one", 3_000)]);
    let first = road.join();
    road.pass(SECOND).await;
    let timer = road.rows(|rows| *rows.timer.keys().next().expect("it is set"));
    road.stop(first).await;
    let killer = MessageId(timer.0);
    let mut deadly = Deadly::new(road, killer);
    deadly.convict().await;
    let road = &deadly.road;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((rows[0].message_id, rows[0].class), (killer, Class::Poison));
    assert_eq!(rows[0].instance.map(|instance| instance.0), Some(id(1)));
    assert_eq!(road.state(id(1)), "Fresh", "no run has failed");
    assert!(!road.rows(|rows| rows.timer.contains_key(&timer)));
    assert_eq!(road.endpoint().epoch, 1);
    deadly.spaced(deadly.tries.len() - 5);
}

#[tokio::test(start_paused = true)]
async fn row_018_later_messages_of_an_instance_wait_behind_a_suspect_in_order() {
    let mut road = road();
    let begin = road.begin(1, vec![]);
    let node = road.join();
    road.settle().await;
    road.stop(node).await;
    assert_eq!(road.outcome(begin), Some(Outcome::Applied));
    let killer = road.go(1, 1, vec![]);
    let mut deadly = Deadly::new(road, killer);
    while deadly.road.parked().first().is_none_or(|row| row.reason != ParkedReason::Suspect) {
        deadly.tick().await;
    }
    let behind = [deadly.road.go(1, 2, vec![]), deadly.road.go(1, 3, vec![])];
    let others = deadly.convict().await;
    let road = &deadly.road;
    assert_eq!(road.quarantine()[0].message_id, killer);
    assert!(behind.iter().all(|id| road.outcome(*id) == Some(Outcome::Applied)));
    assert_eq!(road.log(id(1)), ["begun", "go 2", "go 3"]);
    assert!(!others.is_empty());
}

/// A process that dies of something else shortly after each start convicts nobody, although one
/// message is in hand each time: nothing ever showed that it lives without that message.
#[tokio::test(start_paused = true)]
async fn row_018_a_process_that_dies_by_itself_convicts_nobody() {
    let mut road = road();
    let innocent = road.begin(1, vec![]);
    let mut deadly = Deadly::new(road, innocent);
    for _ in 0..12 {
        for _ in 0..25_000 {
            deadly.tick().await;
        }
        deadly.die();
    }
    assert!(deadly.road.quarantine().is_empty());
    let tries = deadly.tries.len();
    assert!(tries <= 4, "{tries}");
    // Once processes live, it goes through.
    let road = deadly.road;
    road.pass_and_settle(90 * SECOND).await;
    assert_eq!(road.outcome(innocent), Some(Outcome::Applied));
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn crash_watch_costs_nothing_where_nobody_died_and_a_stop_is_no_death() {
    let mut road = Road::with(errand()).start();
    let second = road.join();
    for n in 1..20 {
        road.begin(n, vec![set("one", 50)]);
    }
    road.pass_and_settle(SECOND).await;
    road.stop(second).await;
    road.begin(30, vec![Act::Tell("again".to_owned())]);
    road.pass_and_settle(20 * SECOND).await;
    assert_eq!(road.door(0).asked(Op::Intent), 0);
    assert_eq!(road.endpoint().watched_until, None);
}

#[tokio::test(start_paused = true)]
async fn row_018_an_unclean_end_is_watched_for_a_minute_and_then_costs_nothing_again() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.crash(0);
    let node = road.join();
    road.pass(14 * SECOND).await;
    let watched = road.endpoint().watched_until.expect("a process died");
    assert!(watched > road.now() && watched <= road.now() + 60 * SECOND);
    let first = road.begin(1, vec![]);
    road.settle().await;
    assert_eq!(road.outcome(first), Some(Outcome::Applied));
    assert_eq!(road.door(node).asked(Op::Intent), 2, "written down, and taken back");
    assert!(road.rows(|rows| nothing_intended(rows)));
    road.pass(60 * SECOND).await;
    road.begin(2, vec![]);
    road.settle().await;
    assert_eq!(road.door(node).asked(Op::Intent), 2);
}

#[tokio::test(start_paused = true)]
async fn row_018_what_the_broker_delivered_twice_before_is_written_down_at_once() {
    let mut road = Road::with(errand()).start();
    road.settle().await;
    for (count, asked) in [(1, 0), (2, 2)] {
        let envelope = road.envelope(&crate::kit::Begin {
            correlation_id: id(u128::from(count)),
            script: Vec::new(),
        });
        road.post_delivered(&envelope, count);
        road.settle().await;
        assert_eq!(road.outcome(envelope.message_id), Some(Outcome::Applied));
        assert_eq!(road.door(0).asked(Op::Intent), asked, "{count}");
    }
}

/// Each lane is done with what it was about to decide.
fn nothing_intended(rows: &knarr_testkit::memory::Rows) -> bool {
    rows.intent.values().all(|(intent, _)| intent.messages.is_empty())
}
