//! What is over is forgotten in time, and nothing else.

use std::time::Duration;

use knarr_engine::Retention;
use knarr_model::commit::Outcome;

use crate::kit::ticket::{Close, Open, ticket};
use crate::kit::{Act, Fault, Op, Road, errand, fails_first, id, tell};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn finished_instances_are_swept_and_tombstones_and_what_is_set_aside_are_not() {
    let kept = Retention { journal: 3 * HOUR, finished: HOUR };
    let mut road = Road::with(errand()).settings(|s| s.retention = kept).start();
    let ended = road.begin(1, vec![Act::Finish]);
    road.begin(2, vec![]);
    road.begin(3, vec![]);
    road.settle().await;
    road.go(3, 1, vec![Act::Fail("no".to_owned())]);
    road.pass_and_settle(HOUR / 2).await;
    assert_eq!((road.state(id(1)).as_str(), road.state(id(3)).as_str()), ("Final", "Purged"));
    road.begin(4, vec![Act::Finish]);
    road.pass_and_settle(HOUR * 3 / 4).await;
    let states = [1, 2, 3, 4].map(|n| road.state(id(n)));
    assert_eq!(states, ["none", "Fresh", "Purged", "Final"]);
    // A copy of the message that started it is still known.
    let before = road.counters(0).duplicates.get();
    let mut copy =
        road.envelope(&crate::kit::Begin { correlation_id: id(1), script: vec![Act::Finish] });
    copy.message_id = ended;
    road.post(&copy);
    road.settle().await;
    assert_eq!(road.counters(0).duplicates.get(), before + 1);
    assert_eq!(road.state(id(1)), "none");
    // Another one starts it afresh.
    let anew = road.begin(1, vec![tell("again"), Act::Finish]);
    road.settle().await;
    assert_eq!(road.outcome(anew), Some(Outcome::Applied));
    assert_eq!(road.instance(id(1)).map(|instance| (instance.run, instance.version)), Some((1, 1)));
    road.pass_and_settle(4 * HOUR).await;
    assert_eq!(road.outcome(ended), None, "its history is over, too");
    assert_eq!(road.state(id(3)), "Purged");
    assert_eq!(road.quarantine().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_business_key_can_be_used_again_once_its_instance_is_swept() {
    let kept = Retention { journal: HOUR, finished: HOUR };
    let mut road = Road::with(ticket(false)).settings(|s| s.retention = kept).start();
    let open = || Open { number: "7".to_owned(), by: 1, alias: None };
    road.send(&open());
    road.settle().await;
    road.send(&Close { number: "7".to_owned() });
    road.settle().await;
    let late = road.send(&open());
    road.pass_and_settle(2 * HOUR).await;
    assert_eq!(road.outcome(late), None, "ignored, and forgotten with everything else");
    let counts = || road.rows(|rows| (rows.instance.len(), rows.correlation.len()));
    assert_eq!(counts(), (0, 0));
    let anew = road.send(&open());
    road.settle().await;
    assert_eq!(road.outcome(anew), Some(Outcome::Applied));
    assert_eq!(road.rows(|rows| (rows.instance.len(), rows.correlation.len())), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn pe_283_a_sweep_that_fails_is_counted_and_made_up_for() {
    let kept = Retention { journal: HOUR, finished: HOUR };
    let mut road = Road::with(errand()).settings(|s| s.retention = kept).start();
    road.begin(1, vec![Act::Finish]);
    road.begin(2, vec![fails_first("x", 1), Act::Finish]);
    road.settle().await;
    road.door(0).plan(Op::Sweep, [Fault::Fail; 12]);
    road.pass(HOUR * 3 / 2).await;
    assert!(road.counters(0).failed_sweeps.get() >= 8);
    assert_eq!(road.state(id(1)), "Final");
    road.pass_and_settle(HOUR).await;
    assert_eq!(road.counters(0).failed_sweeps.get(), 12);
    assert_eq!((road.state(id(1)), road.state(id(2))), ("none".to_owned(), "none".to_owned()));
    assert!(road.journal().is_empty());
}
