//! Two editions of a saga, and of its messages, at the same time.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_model::work::ParkedReason;
use knarr_model::{Class, Envelope, InstanceId, Message};
use serde_json::value::RawValue;

use crate::kit::{Act, Begin, Go, Op, Road, ask, errand, id, set};

const SECOND: Duration = Duration::from_secs(1);

/// Puts errand `n` into a state, as another edition of the saga had written it.
fn put_into(road: &Road, n: u128, state: &str) {
    let place = ("errand".into(), InstanceId(id(n)));
    road.rows(|rows| {
        let row = rows.instance.get_mut(&place).expect("there is an instance");
        row.instance.state = state.to_owned();
    });
}

#[tokio::test(start_paused = true)]
async fn row_075_an_instance_in_a_state_that_only_another_edition_has_waits_for_that_edition() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![set("one", 3_000), ask("a question")]);
    road.settle().await;
    road.go(1, 1, vec![ask("another")]);
    road.door(0).slow(Op::Record, 2 * SECOND, Duration::ZERO);
    road.settle().await;
    let before = road.log(id(1));
    // Same number, other states: its author has forgotten to raise it, and the deploy was undone.
    put_into(&road, 1, "Archived");
    let go = road.go(1, 2, vec![]);
    let fine = road.begin(2, vec![]);
    road.pass(150 * SECOND).await;
    assert_eq!(road.outcome(fine), Some(Outcome::Applied), "others are served");
    assert_eq!(road.log(id(1)), before, "nothing is decided on a state that is not known");
    assert_eq!((road.quarantine().len(), road.incidents().len()), (0, 0), "nobody failed");
    assert_eq!(road.health(0).unready, Vec::<String>::new());
    let parked = road.parked();
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!((parked[0].message_id, parked[0].reason), (go, ParkedReason::Retry));
    assert_eq!(parked[0].attempt, 0, "waiting uses no attempt");
    let why = parked[0].error.clone().unwrap_or_default();
    assert!(why.contains("`Archived`") && why.contains("definition version 1"), "{why}");
    assert_eq!(road.counters(0).newer_definition.get(), 1, "and it is counted");
    assert_eq!(road.broker().depth("errand"), (0, 0));
    // The edition that knows it has moved it on: everything that waited comes, in its time.
    put_into(&road, 1, "Fresh");
    road.pass_and_settle(10 * SECOND).await;
    let mut log = road.log(id(1));
    log.sort();
    for line in ["go 2", "timer one"] {
        assert_eq!(log.iter().filter(|have| *have == line).count(), 1, "{line}: {log:?}");
    }
    assert!(road.parked().is_empty() && road.quarantine().is_empty());
}

/// A message of this type with this body.
fn raw<M: Message>(road: &mut Road, like: &M, body: &str) -> Envelope {
    let body = RawValue::from_string(body.to_owned()).expect("JSON");
    Envelope { message: Arc::from(body), ..road.envelope(like) }
}

#[tokio::test(start_paused = true)]
async fn row_074_messages_of_older_and_newer_senders_are_taken_together() {
    let mut road = Road::with(errand()).start();
    let begin = Begin { correlation_id: id(1), script: vec![] };
    let go = Go { correlation_id: id(1), n: 1, script: vec![] };
    let id = id(1);
    // A newer sender says more than this edition knows, at every level, and in another order.
    let newer = format!(
        r#"{{"tags":["a"],"script":[],"correlation_id":"{id}","priority":{{"level":7}},"script2":null}}"#
    );
    let begun = raw(&mut road, &begin, &newer);
    // An older one says what was known then, and no more.
    let older = format!(r#"{{"n":1,"script":[],"correlation_id":"{id}"}}"#);
    let gone = raw(&mut road, &go, &older);
    // A breaking one leaves out what is needed: that message alone is set aside, and says what.
    let breaking = raw(&mut road, &go, &format!(r#"{{"correlation_id":"{id}","script":[]}}"#));
    for envelope in [&begun, &breaking, &gone] {
        road.post(envelope);
        road.settle().await;
    }
    assert_eq!(road.outcome(begun.message_id), Some(Outcome::Applied));
    let aside = road.quarantine();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!((aside[0].message_id, aside[0].class), (breaking.message_id, Class::BadMessage));
    assert!(aside[0].reason.contains("`n`"), "{}", aside[0].reason);
    assert_eq!(road.outcome(gone.message_id), Some(Outcome::Applied));
    assert_eq!(road.log(id), ["begun", "go 1"]);
    road.send(&Go { correlation_id: id, n: 2, script: vec![Act::Finish] });
    road.settle().await;
    assert_eq!(road.state(id), "Final");
}
