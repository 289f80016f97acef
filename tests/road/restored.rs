//! A store that came back from a backup: whoever remembers more may not write, and what was lost
//! shows.

use std::time::Duration;

use knarr_engine::Retention;
use knarr_model::Class;
use knarr_model::commit::Outcome;
use knarr_saga::prelude::MissingPolicy;

use crate::kit::ticket::{Close, ticket_with};
use crate::kit::{Go, Op, Road, Told, anna, ask, errand, errand_with, id, tell};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Every endpoint goes on as after a restore.
async fn after_restore(road: &Road) {
    road.desk().after_restore(&anna(), &[]).await.expect("the order is carried out");
}

#[tokio::test(start_paused = true)]
async fn row_113_a_node_that_remembers_what_was_lost_does_not_commit() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let backup = road.rows(|rows| rows.clone());
    road.go(1, 1, vec![]);
    road.settle().await;
    // Decided by what was lost, and long on its way: it would follow version 2, whoever wrote that.
    road.door(0).slow(Op::Commit, 5 * SECOND, Duration::ZERO);
    let late = road.go(1, 2, vec![]);
    road.pass(SECOND).await;
    assert_eq!(road.watch().times(late).len(), 1, "it has been decided");
    road.rows(|rows| *rows = backup);
    after_restore(&road).await;
    road.join();
    road.pass(SECOND / 2).await;
    let fresh = road.go(1, 3, vec![]);
    road.door(0).slow(Op::Commit, Duration::ZERO, Duration::ZERO);
    road.pass_and_settle(30 * SECOND).await;
    let log = road.log(id(1));
    assert!(log.contains(&"go 3".to_owned()), "the new history was written over: {log:?}");
    assert!(!log.contains(&"go 1".to_owned()), "what was lost came back: {log:?}");
    assert_eq!(log.len(), 3, "and what nobody had acknowledged is decided anew: {log:?}");
    for message in [late, fresh] {
        assert_eq!(road.outcome(message), Some(Outcome::Applied));
    }
}

#[tokio::test(start_paused = true)]
async fn row_113_after_a_restore_messages_for_what_was_lost_are_set_aside_and_say_why() {
    let policies =
        [MissingPolicy::Discard, MissingPolicy::SetAside, MissingPolicy::redeliver(2, SECOND)];
    for policy in policies {
        let kept = Retention { journal: HOUR, finished: HOUR };
        let saga = errand_with::<0>(|m| m.missing::<Go>(policy.clone()));
        let mut road = Road::with(saga).settings(|s| s.retention = kept).start();
        road.begin(1, vec![]);
        road.settle().await;
        let before = road.endpoint();
        after_restore(&road).await;
        let row = road.endpoint();
        assert!(row.epoch > before.epoch && row.guard_version > before.guard_version);
        let lost = road.go(2, 1, vec![]);
        let known = road.go(1, 1, vec![]);
        road.pass_and_settle(5 * SECOND).await;
        assert_eq!(road.outcome(known), Some(Outcome::Applied), "{policy:?}: it flows on");
        let aside = road.quarantine();
        assert_eq!(aside.len(), 1, "{policy:?}: {aside:?}");
        assert_eq!((aside[0].message_id, aside[0].class), (lost, Class::Missing), "{policy:?}");
        let at = row.restored_at.expect("it shows when").format("%Y-%m-%d %H:%M:%S UTC");
        let told = format!("the store was restored on {at}");
        assert!(aside[0].reason.contains(&told), "{}", aside[0].reason);
        // Once nobody would write to what was lost any more, the table's word holds again.
        road.pass(HOUR).await;
        let later = road.go(3, 1, vec![]);
        road.pass_and_settle(5 * SECOND).await;
        let thrown_away = matches!(policy, MissingPolicy::Discard);
        let expected = if thrown_away { Outcome::Ignored } else { Outcome::Quarantined };
        assert_eq!(road.outcome(later), Some(expected), "{policy:?}");
        let told = road
            .quarantine()
            .iter()
            .any(|row| row.message_id == later && row.reason.contains("restored"));
        assert!(!told, "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_113_after_a_restore_a_key_that_nobody_has_is_no_reason_to_throw_a_message_away() {
    let saga = ticket_with(|m| m.missing::<Close>(MissingPolicy::Discard));
    let mut road = Road::with(saga).start();
    let dropped = road.send(&Close { number: "7".to_owned() });
    road.settle().await;
    assert_eq!(road.outcome(dropped), Some(Outcome::Ignored));
    after_restore(&road).await;
    let lost = road.send(&Close { number: "8".to_owned() });
    road.settle().await;
    let aside = road.quarantine();
    assert_eq!((aside.len(), aside[0].message_id, aside[0].class), (1, lost, Class::Missing));
    assert!(aside[0].reason.contains("restored"), "{}", aside[0].reason);
}

#[tokio::test(start_paused = true)]
async fn row_113_what_is_asked_again_after_a_restore_bears_the_ids_that_it_had() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let backup = road.rows(|rows| rows.clone());
    let go = |n| Go {
        correlation_id: id(1),
        n,
        script: vec![ask(&format!("question {n}")), tell(&format!("{n}"))],
    };
    let [first, second] = [1, 2].map(|n| road.envelope(&go(n)));
    for envelope in [&first, &second] {
        road.post(envelope);
        road.settle().await;
    }
    road.rows(|rows| *rows = backup);
    after_restore(&road).await;
    // Their sender sends them again, in another order: the same question, the same key.
    for envelope in [&second, &first] {
        road.post(envelope);
        road.settle().await;
    }
    let mut keys: Vec<_> =
        road.outside().all_tried().iter().map(|tried| (tried.what.clone(), tried.key)).collect();
    assert_eq!(keys.len(), 4);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2, "a service would take one question for the other: {keys:?}");
    let mut told: Vec<_> = road
        .sent::<Told>()
        .iter()
        .map(|(sent, envelope)| (sent.outgoing.id, envelope.message.get().to_owned()))
        .collect();
    assert_eq!(told.len(), 4);
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 2, "receivers know them by their ids: {told:?}");
    assert!(road.log(id(1)).iter().all(|line| !line.starts_with("failed")));
}
