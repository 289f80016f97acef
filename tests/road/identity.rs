//! Who a message is: copies, conflicts, types that nobody takes, and runs that are over.

use knarr_model::Class;
use knarr_model::commit::Outcome;

use crate::kit::harness::id;
use crate::kit::{Act, Begin, Go, Road, Told, errand};

fn begin(n: u128, script: Vec<Act>) -> Begin {
    Begin { correlation_id: id(n), script }
}

#[tokio::test(start_paused = true)]
async fn mt_061_copies_of_one_message_are_acked_and_change_nothing() {
    let mut road = Road::with(errand()).start();
    let first = road.envelope(&begin(1, vec![Act::Tell("hello".to_owned())]));
    for _ in 0..3 {
        road.post(&first);
    }
    road.settle().await;
    let go = road.envelope(&Go { correlation_id: id(1), n: 7, script: vec![] });
    road.post(&go);
    road.settle().await;
    road.post(&go);
    road.post(&first);
    road.settle().await;
    assert_eq!(road.log(id(1)), ["begun", "go 7"]);
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.journal().len(), 2);
    assert_eq!(road.outcome(first.message_id), Some(Outcome::Applied));
    assert_eq!(road.counters(0).duplicates.get(), 4);
    assert_eq!(road.watch().times(go.message_id).len(), 1);
    assert_eq!(road.quarantine().iter().map(|row| row.class).collect::<Vec<Class>>(), []);
}
