//! Lanes: instances side by side, each instance one after another.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::kit::ticket::{Add, Counted, Open, Ticket, ticket};
use crate::kit::{Road, Told, errand, id, tell};

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn mt_217_a_hundred_instances_over_four_lanes_all_exist() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 4).start();
    for n in 1..=100 {
        road.begin(n, vec![tell("here")]);
    }
    road.settle().await;
    assert!((1..=100).all(|n| road.log(id(n)) == ["begun"]));
    let told: BTreeSet<_> =
        road.published::<Told>().into_iter().map(|told| told.correlation_id).collect();
    assert_eq!(told.len(), 100);
    assert_eq!(road.watch().lanes().len(), 4, "{:?}", road.watch().lanes());
}

#[tokio::test(start_paused = true)]
async fn mt_218_a_hundred_keys_over_eight_lanes_are_each_handled_once() {
    let mut road = Road::with(ticket(false)).settings(|s| s.lanes = 8).start();
    let keys: Vec<_> = (0..100).map(|n| format!("key {n}")).collect();
    for number in &keys {
        road.send(&Open { number: number.clone(), by: 1, alias: None });
    }
    road.settle().await;
    for number in &keys {
        road.send(&Add { number: number.clone(), by: 2 });
    }
    road.settle().await;
    let tickets: Vec<Ticket> = road.rows(|rows| {
        let read = |row: &knarr_testkit::memory::InstanceRow| {
            serde_json::from_str(row.instance.data.get()).expect("a ticket")
        };
        rows.instance.values().map(read).collect()
    });
    assert_eq!(tickets.len(), 100);
    assert!(tickets.iter().all(|ticket| ticket.counted == [1, 2]));
    assert_eq!(road.published::<Counted>().len(), 200);
    assert_eq!(road.watch().lanes().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn mt_221_mt_315_two_lanes_decide_at_most_two_at_once() {
    let mut road = Road::with(errand())
        .settings(|s| {
            s.lanes = 2;
            s.max_batch = 1;
        })
        .pace(10 * MILLI)
        .start();
    for n in 1..=50 {
        road.begin(n, vec![]);
        road.go(n, 1, vec![tell("x")]);
    }
    road.settle().await;
    assert_eq!(road.watch().most_lanes_busy(), 2);
    assert!((1..=50).all(|n| road.log(id(n)) == ["begun", "go 1"]));
    assert_eq!(road.watch().overlaps(), 0);
}

#[tokio::test(start_paused = true)]
async fn pe_127_no_instance_is_decided_beside_itself_and_every_lane_works() {
    let mut road = Road::with(errand())
        .settings(|s| {
            s.lanes = 3;
            s.max_batch = 4;
        })
        .pace(6 * MILLI)
        .start();
    road.join();
    for n in 1..=25 {
        road.begin(n, vec![]);
    }
    road.settle().await;
    for k in 1..=8 {
        for n in 1..=25 {
            road.go(n, k, vec![tell("x")]);
        }
        road.pass(5 * MILLI).await;
    }
    road.pass_and_settle(2_000 * MILLI).await;
    assert_eq!(road.watch().overlaps(), 0);
    assert_eq!(road.watch().lanes().len(), 6, "{:?}", road.watch().lanes());
    for n in 1..=25 {
        let mut log = road.log(id(n));
        assert_eq!(log.len(), 9, "{log:?}");
        log.sort();
        log.dedup();
        assert_eq!(log.len(), 9, "{log:?}");
    }
    assert_eq!(road.published::<Told>().len(), 200);
    assert_eq!(road.journal().iter().filter(|row| row.seq.is_some()).count(), 225);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_instance_keep_their_order_whatever_the_lanes_do() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 8).pace(3 * MILLI).start();
    for n in 1..=10 {
        road.begin(n, vec![]);
    }
    for k in 0..60 {
        for n in 1..=10 {
            road.go(n, k, vec![]);
        }
        if k % 7 == 0 {
            road.pass(2 * MILLI).await;
        }
    }
    road.settle().await;
    let mut expected = vec!["begun".to_owned()];
    expected.extend((0..60).map(|k| format!("go {k}")));
    assert!((1..=10).all(|n| road.log(id(n)) == expected));
}
