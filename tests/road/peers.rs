//! A process that fails at everything while its peers do not: it stands back, and costs no budget.

use std::time::Duration;

use crate::kit::{Road, ask, errand, id};

const SECOND: Duration = Duration::from_secs(1);

/// Errands that each make a call, started over some time.
async fn errands(road: &mut Road, numbers: std::ops::Range<u128>) {
    for n in numbers {
        road.begin(n, vec![ask("x")]);
        road.pass(SECOND / 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn guard_a_process_that_fails_far_more_than_its_peers_stands_back_and_gives_back_attempts() {
    let mut road = Road::with(errand()).settings(|s| s.peers.failures = 10).start();
    let second = road.join();
    road.outside().break_node(Some(0));
    errands(&mut road, 1..120).await;
    let health = road.health(0);
    assert!(health.unready.iter().any(|why| why.contains("stands back")), "{health:?}");
    assert!(health.unready.iter().any(|why| why.contains("failed here")), "{health:?}");
    assert!(!health.restart);
    assert!(road.health(second).unready.is_empty(), "{:?}", road.health(second));
    let stood_back = road.outside().all_tried().iter().filter(|one| one.node == 0).count();
    errands(&mut road, 120..160).await;
    road.pass_and_settle(100 * SECOND).await;
    let tried = road.outside().all_tried();
    let later = tried.iter().filter(|one| one.node == 0).count();
    assert_eq!(later, stood_back, "it claims nothing any more");
    // Every call was answered in the end, and those that had failed there had their budget.
    for n in 1..160 {
        assert_eq!(road.log(id(n)), ["begun", "done fine"], "{n}");
    }
    assert!(road.quarantine().is_empty());
    // After its rest it takes part again.
    road.outside().break_node(None);
    road.pass(300 * SECOND).await;
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
    road.broker().serve_only(Some(0));
    errands(&mut road, 160..200).await;
    road.pass_and_settle(5 * SECOND).await;
    let again = road.outside().all_tried().iter().filter(|one| one.node == 0).count();
    assert!(again > later, "it is not asked again");
}

#[tokio::test(start_paused = true)]
async fn guard_a_process_alone_never_stands_back() {
    let mut road = Road::with(errand()).settings(|s| s.peers.failures = 10).start();
    road.outside().break_node(Some(0));
    errands(&mut road, 1..80).await;
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
    assert!(road.outside().all_tried().len() > 100);
}

#[tokio::test(start_paused = true)]
async fn guard_the_last_process_comes_back_though_it_is_broken() {
    let mut road = Road::with(errand()).settings(|s| s.peers.failures = 10).start();
    let second = road.join();
    road.outside().break_node(Some(0));
    errands(&mut road, 1..120).await;
    assert!(!road.health(0).unready.is_empty(), "it stands back");
    road.stop(second).await;
    road.pass(5 * SECOND).await;
    assert!(road.health(0).unready.is_empty(), "{:?}", road.health(0));
    road.outside().break_node(None);
    road.begin(500, vec![ask("x")]);
    road.pass_and_settle(60 * SECOND).await;
    assert_eq!(road.log(id(500)), ["begun", "done fine"]);
}
