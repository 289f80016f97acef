//! Rows of the failure list about messages that come again, that fail, and that are let go.

use std::sync::Arc;
use std::time::Duration;

use knarr_engine::Retention;
use knarr_guard::Error;
use knarr_model::Class;
use knarr_model::commit::Outcome;
use knarr_model::incident::OnFailure;
use knarr_model::ports::guard::Refusal;
use knarr_model::ports::store::EndpointState;
use knarr_model::ports::transport::Settlement;
use knarr_model::quarantine::Status;
use knarr_saga::definition::Definition;

use crate::kit::{
    Act, Answer, Begin, Fault, Op, Road, Told, anna, ask, errand, errand_with, fails, fails_first,
    id, tell,
};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

fn contained() -> Arc<dyn Definition> {
    errand_with::<0>(|m| {
        m.on_failure(OnFailure::Contain);
    })
}

#[tokio::test(start_paused = true)]
async fn row_066_one_id_with_two_bodies_is_a_conflict_and_never_silence() {
    let mut road = Road::with(errand()).start();
    let first = road.envelope(&Begin { correlation_id: id(1), script: vec![tell("first")] });
    let mut second = road.envelope(&Begin { correlation_id: id(1), script: vec![tell("second")] });
    second.message_id = first.message_id;
    for envelope in [&first, &second, &first, &second] {
        road.post(envelope);
    }
    road.settle().await;
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["first"]);
    let rows = road.quarantine();
    assert_eq!((rows.len(), rows[0].class), (1, Class::IdConflict));
    assert!(String::from_utf8_lossy(&rows[0].body).contains("second"));
    assert_eq!(road.outcome(first.message_id), Some(Outcome::Applied), "the journal keeps it");
}

#[tokio::test(start_paused = true)]
async fn row_067_a_copy_starts_nothing_even_when_the_journal_has_forgotten_its_message() {
    let kept = Retention { journal: SECOND, finished: SECOND };
    let mut road = Road::with(contained()).settings(|s| s.retention = kept).start();
    let mut poison = road.envelope(&Begin { correlation_id: id(1), script: vec![tell("begun")] });
    road.post(&poison);
    road.settle().await;
    road.go(1, 1, vec![fails("hopeless")]);
    road.pass_and_settle(LONG).await;
    road.desk().resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(3 * HOUR).await;
    let remembered = road.journal().iter().any(|row| row.message_id == poison.message_id);
    assert!(!remembered, "the journal is swept");
    // The same message once more, and under another id.
    road.post(&poison);
    road.settle().await;
    poison.message_id = road.envelope(&Begin { correlation_id: id(1), script: vec![] }).message_id;
    road.post(&poison);
    road.pass_and_settle(LONG).await;
    assert_eq!((road.state(id(1)).as_str(), road.published::<Told>().len()), ("Purged", 1));
    assert_eq!((road.quarantine().len(), road.quarantine()[0].copies), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn row_076_what_comes_for_a_purged_run_is_absorbed_and_journaled() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![tell("begun")]);
    road.begin(2, vec![Act::Finish]);
    road.settle().await;
    road.desk().purge(&anna(), &"errand".into(), id(1).into()).await.expect("it is gone");
    let purged = [
        road.begin(1, vec![tell("again")]),
        road.go(1, 1, vec![tell("go")]),
        road.go(1, 2, vec![fails("never seen")]),
    ];
    let finished = [road.begin(2, vec![tell("again")]), road.go(2, 1, vec![tell("go")])];
    road.pass_and_settle(LONG).await;
    assert!(purged.iter().all(|message| road.outcome(*message) == Some(Outcome::Absorbed)));
    assert!(finished.iter().all(|message| road.outcome(*message) == Some(Outcome::Ignored)));
    assert_eq!(road.published::<Told>().len(), 1, "no behaviour ran");
    assert_eq!((road.state(id(1)).as_str(), road.state(id(2)).as_str()), ("Purged", "Final"));
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn row_080_one_poison_message_among_ten_thousand_uses_its_budget_and_nobody_elses() {
    for replicas in [1, 3, 6] {
        let mut road = Road::with(errand()).settings(|s| s.lanes = 4).start();
        for _ in 1..replicas {
            road.join();
        }
        let mut poison = None;
        for n in 1..=10_000 {
            if n == 5_000 {
                poison = Some(road.begin(20_000, vec![tell("no"), fails("poison")]));
            }
            road.begin(n, vec![]);
        }
        let poison = poison.expect("it was sent");
        road.pass_and_settle(LONG).await;
        assert_eq!(road.watch().times(poison).len(), 3, "with {replicas} replicas");
        let rows = road.quarantine();
        assert_eq!((rows.len(), rows[0].message_id, rows[0].attempts), (1, poison, 3));
        let begun = road.rows(|rows| rows.instance.len());
        assert_eq!(begun, 10_000, "the others are unaffected");
        assert_eq!(road.watch().decided().len(), 10_003, "each of them was decided once");
        assert!(road.published::<Told>().is_empty());
        assert_eq!(road.endpoint().state, EndpointState::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn row_084_pe_067_of_a_bad_deploy_most_messages_stay_in_their_queue_and_none_is_lost() {
    const ALL: u128 = 1_200;
    let mut road = Road::with(contained()).settings(|s| s.max_batch = 16).start();
    for n in 1..=ALL {
        road.begin(n, vec![]);
    }
    road.settle().await;
    // Whatever is tried first fails; later on the deploy is mended.
    for n in 1..=ALL {
        road.go(n, 1, vec![fails_first("deploy", 30)]);
    }
    road.settle().await;
    assert_eq!(road.endpoint().state, EndpointState::Paused);
    let failed = (1..=ALL).map(|n| road.parked_of(n)).sum::<usize>();
    let applied = (1..=ALL).filter(|n| road.log(id(*n)).len() == 2).count();
    let (ready, held) = road.broker().depth("errand");
    assert_eq!((failed, ready + failed + applied, held), (30, ALL as usize, 0));
    assert!(ready > 1_000, "most stay where they were: {ready}");
    assert!(road.quarantine().is_empty());
    assert_eq!(road.incidents()[0].class, Class::Breaker);
    // It is tried again, one at a time, and goes on by itself.
    let mut waited = Duration::ZERO;
    while road.endpoint().state != EndpointState::Open || road.broker().depth("errand").0 > 0 {
        road.pass(60 * SECOND).await;
        waited += 60 * SECOND;
        assert!(waited < HOUR, "{:?} {:?}", road.endpoint(), road.broker().depth("errand"));
    }
    road.pass_and_settle(LONG).await;
    let done = (1..=ALL).filter(|n| road.log(id(*n)).len() == 2).count();
    assert_eq!((done, road.quarantine().len()), (ALL as usize, 0), "none is missing");
}

#[tokio::test(start_paused = true)]
async fn row_093_poison_that_is_brought_back_three_ways_is_blocked_until_it_is_released_once() {
    let mut road = Road::with(contained()).settings(|s| s.mirror_errors = true).start();
    let script = vec![tell("begun"), fails_first("mended", 3)];
    let poison = road.envelope(&Begin { correlation_id: id(1), script });
    road.post(&poison);
    road.pass_and_settle(LONG).await;
    let row = road.quarantine().remove(0);
    let sent = road.broker().sent();
    let mirror = sent.iter().find(|sent| sent.outgoing.exchange == "errand_error").cloned();
    let mirror = mirror.expect("a copy for tools");
    // The same message; a copy under a new id; a shovel from the dead letters.
    road.post(&poison);
    let mut copy = poison.clone();
    copy.message_id = road.envelope(&Begin { correlation_id: id(1), script: vec![] }).message_id;
    road.post(&copy);
    road.shovel(&mirror);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.watch().times(poison.message_id).len(), 3, "its budget and no more");
    assert_eq!(
        (road.outcome(copy.message_id), road.state(id(1))),
        (Some(Outcome::Quarantined), "none".to_owned())
    );
    assert!(road.published::<Told>().is_empty());
    assert_eq!(road.quarantine()[0].copies, 2);
    // What was wrong is mended: the release works, once.
    road.desk().release(&anna(), &[row.id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    assert_eq!((road.state(id(1)), road.published::<Told>().len()), ("Fresh".to_owned(), 1));
    let again = road.desk().release(&anna(), &[row.id]).await.expect_err("once");
    assert!(matches!(again, Error::Refused(Refusal::Conflict(_))), "{again}");
}

#[tokio::test(start_paused = true)]
async fn row_094_ten_minutes_without_store_or_broker_use_no_budget() {
    let mut road = Road::with(contained()).start();
    road.begin(1, vec![]);
    road.settle().await;
    road.outside().script("x", [Answer::Transient, Answer::Transient, Answer::Transient]);
    // Two of three attempts are used, and three of four at the outside call.
    let last = road.go(1, 1, vec![ask("x"), tell("done"), fails_first("last", 2)]);
    let begun: Vec<_> = (2..=40).map(|n| road.begin(n, vec![])).collect();
    road.pass(SECOND + SECOND / 2).await;
    for op in [Op::Load, Op::Commit, Op::Claim, Op::Fence, Op::Record, Op::Outbox] {
        road.door(0).plan(op, [Fault::Fail, Fault::LoseAnswer, Fault::Fail, Fault::LoseAnswer]);
    }
    let poison = road.begin(50, vec![fails("poison")]);
    road.pass(2 * SECOND).await;
    road.broker().reply("Road:Told", crate::kit::Reply::NotTaken, usize::MAX);
    road.door(0).shut(true);
    road.pass(600 * SECOND).await;
    road.door(0).shut(false);
    road.broker().heal("Road:Told");
    road.pass_and_settle(120 * SECOND).await;
    assert_eq!(road.outcome(last), Some(Outcome::Applied));
    assert_eq!(road.log(id(1)), ["begun", "go 1", "done fine"]);
    assert!(begun.iter().all(|message| road.outcome(*message) == Some(Outcome::Applied)));
    assert_eq!(road.published::<Told>().len(), 1);
    // Only what fails by itself is set aside, after the attempts that it may have.
    let rows = road.quarantine();
    assert_eq!((rows.len(), rows[0].message_id, rows[0].attempts), (1, poison, 3));
    assert_eq!(road.incidents().len(), 1);
    assert_eq!(road.endpoint().state, EndpointState::Open);
}

#[tokio::test(start_paused = true)]
async fn row_095_pe_274_an_edited_message_is_released_as_edited_and_a_bad_edit_changes_nothing() {
    let mut road = Road::with(contained()).start();
    road.begin(1, vec![tell("wrong"), fails("as written")]);
    road.pass_and_settle(LONG).await;
    let row = road.quarantine().remove(0);
    let desk = road.desk();
    let body = |script: &str| {
        let text = String::from_utf8(row.body.to_vec()).expect("an envelope");
        let mut envelope: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        envelope["message"]["script"] = serde_json::from_str(script).expect("JSON");
        bytes::Bytes::from(envelope.to_string())
    };
    let bad = desk.edit(&anna(), row.id, body("17"), None).await.expect_err("no script");
    assert!(matches!(bad, Error::Refused(Refusal::Invalid(_))), "{bad}");
    let same = road.quarantine().remove(0);
    assert_eq!((&same.body, same.edits.len(), same.status), (&row.body, 0, Status::Held));
    desk.edit(&anna(), row.id, body(r#"[{"Tell":"right"}]"#), None).await.expect("edited");
    desk.release(&anna(), &[row.id]).await.expect("it goes");
    road.pass_and_settle(LONG).await;
    let told: Vec<_> = road.published::<Told>().into_iter().map(|told| told.what).collect();
    assert_eq!(told, ["right"]);
    let released = road.quarantine().remove(0);
    assert_ne!(released.released_as.expect("a new id"), row.message_id);
    assert_eq!(released.edits[0].who, "anna");
    assert!(released.edits[0].before.contains("as written"), "the lineage keeps what was there");
}

#[tokio::test(start_paused = true)]
async fn row_096_pe_061_what_cannot_be_kept_is_not_acked() {
    let mut road = Road::with(contained()).start();
    road.begin(1, vec![]);
    road.settle().await;
    // The store refuses, then loses its answers, then is away for an hour.
    let before = road.shelf().answers().len();
    for op in [Op::Commit, Op::Fence] {
        road.door(0).plan(op, [Fault::Fail, Fault::Fail]);
    }
    let unreadable = road.post_unreadable(b"no JSON", Class::Undecodable);
    let hopeless = road.go(1, 1, vec![Act::Fail("by decision".to_owned())]);
    road.pass(Duration::from_millis(100)).await;
    road.door(0).shut(true);
    road.pass(HOUR).await;
    let settled = [unreadable, hopeless].map(|message| {
        road.broker().settled(message).into_iter().filter(|how| *how == Settlement::Ack).count()
    });
    assert_eq!((settled, road.shelf().answers().len()), ([0, 0], before));
    assert!(road.quarantine().is_empty() && road.state(id(1)) == "Fresh");
    road.door(0).plan(Op::Fence, [Fault::LoseAnswer]);
    road.door(0).shut(false);
    road.pass_and_settle(60 * SECOND).await;
    road.desk().resume(&anna(), &"errand".into(), false).await.expect("it is open");
    road.pass_and_settle(60 * SECOND).await;
    assert_eq!(road.quarantine().len(), 2);
    // Each was set aside once, told once and acked.
    for message in [unreadable, hopeless] {
        let acked = road.broker().settled(message).contains(&Settlement::Ack);
        assert!(acked, "{message} is not acked");
    }
    let told = road.broker().sent().into_iter().filter(|sent| {
        sent.outgoing.exchange.starts_with("MassTransit:") && sent.outgoing.sequence.is_none()
    });
    assert_eq!(told.count(), 3, "the unreadable one, the start message, where it failed");
    assert_eq!(road.incidents().iter().filter(|i| i.instance.is_some()).count(), 1);
}
