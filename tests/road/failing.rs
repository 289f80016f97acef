//! What becomes of a message that cannot be decided, and of the run that it was for.

use std::time::Duration;

use knarr_model::commit::Outcome;
use knarr_model::quarantine::Status;
use knarr_model::{Class, InstanceId, digest};
use knarr_saga::prelude::{RetryPolicy, Unhandled};

use crate::kit::{
    Act, Answer, Begin, Go, Later, Never, Road, Shrug, Told, ask, dare, errand, errand_with, fails,
    fails_first, id, set, tell,
};

const LONG: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn pe_082_a_poison_start_message_is_set_aside_whole_and_leaves_nothing_else() {
    let mut road = Road::with(errand()).start();
    let script = vec![tell("no"), set("one", 1), ask("x"), fails("bad luck")];
    let mut begin = road.envelope(&Begin { correlation_id: id(1), script });
    begin.headers.set("Tenant", "north");
    begin.conversation_id = Some(id(5));
    road.post(&begin);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.watch().times(begin.message_id).len(), 3, "the budget is three");
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.class, row.attempts), (Class::Exhausted, 3));
    assert_eq!((row.message_id, row.status), (begin.message_id, Status::Held));
    assert_eq!(row.errors, ["bad luck"]);
    assert_eq!(row.reason, "bad luck");
    assert_eq!(row.headers.text("Tenant").as_deref(), Some("north"));
    let body: serde_json::Value = serde_json::from_slice(&row.body).expect("the envelope");
    assert_eq!(body["message"]["correlation_id"], id(1).to_string());
    assert_eq!(body["conversationId"], id(5).to_string());
    assert_eq!(row.size, row.body.len() as u64);
    assert_eq!(row.message_types, ["urn:message:Road:Begin"]);
    let print = digest::fingerprint("errand", "urn:message:Road:Begin", &begin.message);
    let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(row.fingerprint, Some(print));
    road.rows(|rows| {
        assert!(rows.instance.is_empty() && rows.origin.is_empty() && rows.timer.is_empty());
        assert!(rows.activity.is_empty() && rows.parked.is_empty() && rows.outbox.is_empty());
    });
    assert_eq!(road.outcome(begin.message_id), Some(Outcome::Quarantined));
}

#[tokio::test(start_paused = true)]
async fn s0_15_pe_053_a_failing_message_is_tried_exactly_as_often_as_its_budget_says() {
    for budget in [1, 2, 5] {
        let policy = RetryPolicy::fixed(budget, Duration::from_millis(400));
        let mut road = Road::with(errand_with::<0>(|m| m.retry(policy))).start();
        // Replicas and a crash between attempts do not multiply them.
        road.join();
        let begin = road.begin(1, vec![fails("always")]);
        road.pass(Duration::from_millis(500)).await;
        road.crash(0);
        road.pass_and_settle(Duration::from_secs(40)).await;
        assert_eq!(road.watch().times(begin).len(), budget as usize);
        assert_eq!(road.quarantine()[0].attempts, budget);
    }
}

#[tokio::test(start_paused = true)]
async fn mt_053_mt_294_b2_an_unhandled_message_is_set_aside_at_once_and_its_run_is_untouched() {
    let mut road = Road::with(errand()).start();
    road.begin(1, vec![]);
    road.settle().await;
    let never = road.send(&Never { correlation_id: id(1) });
    let again = road.begin(1, vec![]);
    road.settle().await;
    for stray in [never, again] {
        let rows = road.quarantine();
        let row = rows.iter().find(|row| row.message_id == stray).expect("it is set aside");
        assert_eq!((row.class, row.attempts), (Class::Unhandled, 1));
        assert_eq!(row.state.as_deref(), Some("Fresh"));
        assert_eq!(row.instance.map(|id| id.0), Some(id(1)));
        assert_eq!(road.watch().times(stray).len(), 1);
    }
    road.go(1, 1, vec![]);
    road.settle().await;
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    let live = road.instance(id(1)).expect("it lives");
    assert_eq!((live.run, &*live.state), (1, "Fresh"));
}

#[tokio::test(start_paused = true)]
async fn mt_054_mt_057_what_is_declared_not_to_matter_is_ignored() {
    let soft = errand_with::<0>(|m| m.unhandled(Unhandled::Ignore));
    let mut road = Road::with(soft).start();
    road.begin(1, vec![]);
    let never = road.send(&Never { correlation_id: id(1) });
    let shrug = road.send(&Shrug { correlation_id: id(1) });
    road.settle().await;
    assert_eq!(road.outcome(never), Some(Outcome::Ignored));
    assert_eq!(road.outcome(shrug), Some(Outcome::Ignored));
    assert_eq!(road.log(id(1)), ["begun"]);
    assert!(road.quarantine().is_empty());
}

#[tokio::test(start_paused = true)]
async fn s0_12_a_call_that_fails_without_a_row_ends_the_run_and_sets_its_start_message_aside() {
    let mut road = Road::with(errand()).start();
    road.outside().script("x", [Answer::Permanent]);
    road.outside().script("slow", [Answer::Hang]);
    let begin = road.begin(1, vec![tell("begun"), set("one", 60_000), ask("slow")]);
    road.settle().await;
    let deferred = road.send(&Later { correlation_id: id(1), n: 1 });
    road.go(1, 1, vec![dare("x")]);
    road.settle().await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.class, row.message_id), (Class::Activity, begin));
    assert_eq!(row.message_types, ["urn:message:Road:Begin"]);
    assert!(row.errors.iter().any(|error| error.contains("will never work")), "{:?}", row.errors);
    assert!(row.errors.iter().any(|error| error.contains("failed Dare")), "{:?}", row.errors);
    assert!(row.fingerprint.is_some());
    let tombstone = road.instance(id(1)).expect("the row stays");
    assert_eq!((&*tombstone.state, tombstone.data.get(), tombstone.run), ("Purged", "null", 1));
    road.rows(|rows| {
        assert!(rows.timer.is_empty() && rows.activity.is_empty() && rows.origin.is_empty());
        assert!(rows.parked.is_empty());
    });
    let slow = road.outside().tried("slow");
    assert!(slow[0].ended.is_some_and(|(_, cancelled)| cancelled), "{slow:?}");
    // What waited is part of what the incident keeps.
    assert_eq!((road.outcome(deferred), road.kept_messages(id(1))), (None, vec![deferred]));
    let late = road.go(1, 2, vec![tell("late")]);
    let again = road.begin(1, vec![tell("again")]);
    road.pass_and_settle(Duration::from_secs(61)).await;
    assert_eq!(road.outcome(late), Some(Outcome::Absorbed));
    assert_eq!(road.outcome(again), Some(Outcome::Absorbed));
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.quarantine().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn s0_19_a_behaviour_that_fails_beyond_its_budget_ends_the_run_and_keeps_who_waits_behind() {
    let mut road = Road::with(errand()).start();
    let begin = road.begin(1, vec![]);
    road.settle().await;
    let bad = road.go(1, 1, vec![fails("hopeless")]);
    let behind = road.go(1, 2, vec![tell("never")]);
    road.pass_and_settle(LONG).await;
    assert_eq!(road.watch().times(bad).len(), 3);
    assert_eq!(road.state(id(1)), "Purged");
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].class, rows[0].message_id), (Class::Exhausted, begin));
    assert!(rows[0].errors.iter().any(|error| error.contains(&bad.to_string())));
    assert_eq!(road.outcome(bad), Some(Outcome::Quarantined));
    let kept = road.kept_messages(id(1));
    assert_eq!((road.outcome(behind), kept.len(), kept[1]), (None, 2, behind));
    assert!(road.parked().is_empty() && road.published::<Told>().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_row_that_ends_in_fail_ends_the_run_at_once_also_within_the_batch_of_its_start() {
    let mut road = Road::with(errand()).start();
    let begin = road.begin(1, vec![]);
    let go = road.go(1, 1, vec![Act::Fail("it cannot be done".to_owned())]);
    let after = road.go(1, 2, vec![]);
    road.settle().await;
    assert_eq!(road.watch().times(go).len(), 1);
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].class, rows[0].message_id), (Class::Failed, begin));
    assert_eq!(rows[0].errors[0], "it cannot be done");
    assert_eq!(road.state(id(1)), "Purged");
    assert_eq!(road.outcome(after), Some(Outcome::Absorbed));
    assert!(road.rows(|rows| rows.origin.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_of_that_message_alone() {
    let mut road = Road::with(errand()).start();
    let bad = road.begin(1, vec![Act::Panic("out of range".to_owned())]);
    for n in 2..20 {
        road.begin(n, vec![]);
    }
    road.settle().await;
    assert!((2..20).all(|n| road.state(id(n)) == "Fresh"));
    road.pass_and_settle(LONG).await;
    let row = &road.quarantine()[0];
    assert_eq!((row.message_id, row.attempts), (bad, 3));
    assert!(row.errors[0].contains("out of range"), "{:?}", row.errors);
}

#[tokio::test(start_paused = true)]
async fn mt_150_mt_245_a_failed_or_slow_step_commits_nothing_and_reports_its_own_error() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.settle().await;
    let stuck = road.begin(1, vec![tell("never")]);
    road.watch().stick(stuck);
    for n in 2..10 {
        road.begin(n, vec![tell("well")]);
    }
    road.pass(Duration::from_secs(12)).await;
    // The messages beside it are through long before its budget is used up.
    assert!((2..10).all(|n| road.state(id(n)) == "Fresh"));
    road.pass_and_settle(Duration::from_secs(40)).await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].class, rows[0].message_id, rows[0].attempts), (Class::Stuck, stuck, 3));
    assert!(rows[0].errors[0].contains("5s"), "{:?}", rows[0].errors);
    assert_eq!(road.state(id(1)), "none");
    assert_eq!(road.published::<Told>().len(), 8);
    assert_eq!(road.counters(0).abandoned_threads.get(), 3);
    assert!(!road.health(0).restart);
    // The lane has a new thread and goes on.
    road.begin(30, vec![]);
    road.settle().await;
    assert_eq!(road.state(id(30)), "Fresh");
}

#[tokio::test(start_paused = true)]
async fn too_many_threads_given_up_ask_for_a_restart() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.settle().await;
    for n in 1..=2 {
        let stuck = road.begin(n, vec![]);
        road.watch().stick(stuck);
    }
    road.pass_and_settle(Duration::from_secs(80)).await;
    assert_eq!(road.counters(0).abandoned_threads.get(), 6);
    let health = road.health(0);
    assert!(health.restart);
    assert!(health.unready.iter().any(|why| why.contains("did not come back")), "{health:?}");
}

#[tokio::test(start_paused = true)]
async fn pe_062_data_that_the_store_refuses_set_aside_their_message_alone() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    road.settle().await;
    let mut guilty = None;
    for n in 1..=16 {
        let begin = road.begin(n, vec![tell("in")]);
        if n == 11 {
            guilty = Some(begin);
        }
    }
    let guilty = guilty.expect("one of them");
    road.shelf().refuse(move |commit| {
        let applies = |row: &knarr_model::commit::JournalRow| {
            row.message_id == guilty && row.outcome == Outcome::Applied
        };
        let hit = commit.slices.iter().flat_map(|slice| &slice.journal).any(applies);
        hit.then(|| "value too long".to_owned())
    });
    road.settle().await;
    let rows = road.quarantine();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].class, rows[0].message_id), (Class::Constraint, guilty));
    assert!(rows[0].errors[0].contains("value too long"), "{:?}", rows[0].errors);
    assert!((1..=16).all(|n| (road.state(id(n)) == "Fresh") == (n != 11)));
    assert_eq!(road.published::<Told>().len(), 15);
    let refused = road.shelf().answers().iter().filter(|one| **one == "refused").count();
    assert!(refused <= 5, "halving sixteen takes five refusals, not {refused}");
}

#[tokio::test(start_paused = true)]
async fn infrastructure_trouble_uses_no_attempt() {
    use crate::kit::{Fault, Op};
    let mut road = Road::with(errand()).start();
    road.settle().await;
    road.door(0).plan(Op::Load, [Fault::Fail; 4]);
    road.door(0).plan(Op::Commit, [Fault::Fail; 4]);
    let begin = road.begin(1, vec![fails_first("begin", 2)]);
    road.pass_and_settle(Duration::from_secs(20)).await;
    assert_eq!(road.log(id(1)), ["begun"]);
    assert!(road.quarantine().is_empty());
    assert_eq!(road.outcome(begin), Some(Outcome::Applied));
    let go = road.envelope(&Go { correlation_id: id(1), n: 1, script: vec![tell("one")] });
    road.door(0).plan(Op::Commit, [Fault::LoseAnswer, Fault::LoseAnswer]);
    road.post(&go);
    road.pass_and_settle(Duration::from_secs(20)).await;
    // The commit took place the first time: the journal knew, and the chunk was found again.
    assert_eq!(road.log(id(1)), ["begun", "go 1"]);
    assert_eq!(road.published::<Told>().len(), 1);
    assert_eq!(road.counters(0).unknown_commits.get(), 6);
}

#[tokio::test(start_paused = true)]
async fn pe_098_a_spoilt_instance_fails_visibly_and_its_neighbours_go_on() {
    let mut road = Road::with(errand()).settings(|s| s.lanes = 1).start();
    for n in 1..=3 {
        road.begin(n, vec![set("one", 5_000), tell("x")]);
    }
    road.settle().await;
    road.rows(|rows| rows.spoilt.insert(InstanceId(id(2))));
    let goes = [1, 2, 3].map(|n| road.go(n, 1, vec![tell("y")]));
    road.pass_and_settle(Duration::from_secs(30)).await;
    for n in [1, 3] {
        assert_eq!(road.log(id(n)), ["begun", "go 1", "timer one"]);
    }
    assert_eq!(road.outcome(goes[1]), Some(Outcome::Quarantined));
    // The message and the timer, each with what is wrong.
    let aside = road.quarantine();
    assert_eq!(aside.len(), 2);
    for row in &aside {
        assert_eq!((row.class, row.instance), (Class::Exhausted, Some(InstanceId(id(2)))));
        assert!(row.reason.contains("cannot be read: it was spoilt"), "{}", row.reason);
    }
    assert_eq!(road.instance(id(2)).map(|instance| instance.version), Some(1), "left as it was");
    assert!(road.parked().is_empty());
}
