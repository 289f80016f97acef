//! Calls: attempts are counted as they should be, late outcomes are refused, known ones never lost.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::{Again, CommitOutcome, Slice};
use knarr_model::fault::Failure;
use knarr_model::ids::{InstanceId, NodeId, RowId};
use knarr_model::ports::Store;
use knarr_model::work::{ActivityTask, AttemptOutcome, AttemptRecord, CallEnd, Claim, RowKind};
use serde_json::json;

use super::stores::Stores;
use super::world::{HARD_TEXT, World, raw};
use crate::Steering as _;

/// Asks for a call that is due and returns its instance and row.
async fn asked(world: &World) -> (InstanceId, RowId) {
    let id = world.born().await;
    let call = world.call(id, "Look", -1_000);
    let row = call.id;
    world.commit(vec![Slice { tasks: vec![call], ..world.aside(id) }]).await;
    (id, row)
}

/// Claims the only due call.
async fn claimed(world: &World, store: &Arc<dyn Store>, node: NodeId) -> ActivityTask {
    let mut calls = world.claim_calls(store, node).await;
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

fn done(call: &ActivityTask, answer: &str) -> AttemptRecord {
    let outcome = AttemptOutcome::Ended(CallEnd::Done(raw(answer)));
    AttemptRecord { task: call.id, claims: call.claims, outcome }
}

fn again(world: &World, call: &ActivityTask, millis: i64, used: bool) -> AttemptRecord {
    let memo = Some(json!({"analysis": [1, null, HARD_TEXT]}));
    let outcome = AttemptOutcome::Again { due_at: world.at(millis), memo, used };
    AttemptRecord { task: call.id, claims: call.claims, outcome }
}

async fn record(store: &Arc<dyn Store>, node: NodeId, records: &[AttemptRecord]) -> Vec<bool> {
    store.record(node, records).await.expect("outcomes are recorded")
}

/// Only due calls of the types asked for are claimed, on one node, earliest first, at most as many
/// as asked for (PE-262).
pub async fn pe_262_only_calls_of_known_types_are_claimed(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let calls = [
        world.call(id, "Look", -1_000),
        world.call(id, "Scan", -3_000),
        world.call(id, "Other", -9_000),
        world.call(id, "Look", 3_600_000),
    ];
    world.commit(vec![Slice { tasks: calls.to_vec(), ..world.aside(id) }]).await;
    let types = ["Look".to_owned(), "Scan".to_owned()];
    let mut found = Vec::new();
    for limit in [1, 9, 9] {
        let claim = world.claim(world.node, limit);
        let rows = world.store().claim_calls(&claim, &types).await.expect("calls are claimed");
        found.extend(rows.into_iter().map(|call| call.id));
    }
    assert_eq!(found, [calls[1].id, calls[0].id]);
    let claim = world.claim(world.other, 9);
    assert!(world.second().claim_calls(&claim, &types).await.expect("claimed").is_empty());
    assert!(world.second().claim_calls(&claim, &[]).await.expect("claimed").is_empty());
}

/// Each claim has its number; the attempt rises with those that count: a used one does, one that
/// only waits (`again`) does not; the memo goes to the next attempt.
pub async fn an_attempt_that_only_waits_is_not_counted(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let first = claimed(&world, world.store(), world.node).await;
    assert_eq!((first.attempt, first.claims, &first.memo), (1, 1, &None));
    let records = [again(&world, &first, -10, false)];
    assert_eq!(record(world.store(), world.node, &records).await, [true]);
    let second = claimed(&world, world.second(), world.other).await;
    assert_eq!((second.attempt, second.claims), (1, 2));
    assert_eq!(second.memo, Some(json!({"analysis": [1, null, HARD_TEXT]})));
    assert_eq!(second.idempotency_key, first.idempotency_key);
    let outcome = AttemptOutcome::Again { due_at: world.at(-10), memo: None, used: true };
    let used = AttemptRecord { task: second.id, claims: 2, outcome };
    assert_eq!(record(world.second(), world.other, &[used]).await, [true]);
    let third = claimed(&world, world.store(), world.node).await;
    assert_eq!((third.attempt, third.claims, third.memo), (2, 3, None));
}

/// The next attempt comes at its time and not before, with its number, on whichever node (PE-155).
pub async fn pe_155_the_next_attempt_comes_at_its_time(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let first = claimed(&world, world.store(), world.node).await;
    let records = [again(&world, &first, 1_500, true)];
    assert_eq!(record(world.store(), world.node, &records).await, [true]);
    world.store().leave(world.node).await.expect("it leaves");
    assert!(world.claim_calls(world.second(), world.other).await.is_empty());
    world.advance(Duration::from_millis(2_000)).await;
    assert_eq!(claimed(&world, world.second(), world.other).await.attempt, 2);
}

/// An attempt that ended with its node's lease is not counted: the node that takes over runs the
/// same attempt under a new claim, and what the first one still says is late.
pub async fn an_attempt_that_ended_with_its_nodes_lease_is_not_counted(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    asked(&world).await;
    let first = claimed(&world, world.second(), mortal).await;
    assert!(world.claim_calls(world.store(), world.node).await.is_empty());
    world.outlast_lease().await;
    let second = claimed(&world, world.store(), world.node).await;
    assert_eq!((first.attempt, first.claims), (1, 1));
    assert_eq!((second.attempt, second.claims), (1, 2));
    assert_eq!(record(world.second(), mortal, &[done(&first, "1")]).await, [false]);
    assert_eq!(record(world.second(), world.node, &[done(&first, "1")]).await, [false]);
    assert_eq!(record(world.second(), mortal, &[done(&second, "1")]).await, [false]);
    assert_eq!(record(world.store(), world.node, &[done(&second, "2")]).await, [true]);
}

/// Attempts given back, by a stop or a halt, are none.
pub async fn an_attempt_given_back_is_not_counted(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    for claims in 1..=3 {
        let call = claimed(&world, world.store(), world.node).await;
        assert_eq!((call.attempt, call.claims), (1, claims));
        world.store().give_back(world.node, &world.endpoint).await.expect("given back");
        assert_eq!(record(world.store(), world.node, &[done(&call, "1")]).await, [false]);
    }
    let call = claimed(&world, world.second(), world.other).await;
    world.second().leave(world.other).await.expect("it leaves");
    let next = claimed(&world, world.store(), world.node).await;
    assert_eq!((call.attempt, next.attempt, next.claims), (1, 1, 5));
}

/// After a claim whose answer was lost the call comes again as the same attempt under a new claim,
/// unless the node knows of it.
pub async fn a_call_claimed_without_knowing_comes_again(stores: Stores) {
    let world = World::new(stores).await;
    let (_, row) = asked(&world).await;
    claimed(&world, world.store(), world.node).await;
    let types = ["Look".to_owned()];
    let except =
        |known: Vec<RowId>| Claim { reclaim_except: Some(known), ..world.claim(world.node, 9) };
    let store = world.store();
    let rows = store.claim_calls(&except(vec![row]), &types).await.expect("claimed");
    assert!(rows.is_empty());
    let rows = store.claim_calls(&except(Vec::new()), &types).await.expect("claimed");
    assert_eq!(rows.iter().map(|c| (c.attempt, c.claims)).collect::<Vec<_>>(), [(1, 2)]);
    assert_eq!(record(store, world.node, &[done(&rows[0], "1")]).await, [true]);
}

/// An ended call is due at once but stays with the node that recorded it; its answer, or its
/// failure, comes back exactly.
pub async fn an_ended_call_stays_with_its_node_and_keeps_its_end(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let tasks = vec![world.call(id, "Look", -2_000), world.call(id, "Look", -1_000)];
    world.commit(vec![Slice { tasks, ..world.aside(id) }]).await;
    let calls = world.claim_calls(world.store(), world.node).await;
    let answer = "{ \"v\":1.0,\t\"nul\":\"\\u0000\", \"v\" : [] }";
    let failure = Failure {
        memo: Some(json!({"a": 1})),
        ..Failure::permanent("wrong-key", HARD_TEXT).after(Duration::from_millis(1_500))
    };
    let outcome = AttemptOutcome::Ended(CallEnd::Failed(failure.clone()));
    let failed = AttemptRecord { task: calls[1].id, claims: calls[1].claims, outcome };
    let records = [done(&calls[0], answer), failed];
    assert_eq!(record(world.store(), world.node, &records).await, [true, true]);
    assert!(world.claim_calls(world.store(), world.node).await.is_empty());
    assert!(world.claim_ended(world.second(), world.other).await.is_empty());
    assert!(world.claim_ended(world.store(), world.node).await.is_empty());
    world.store().give_back(world.node, &world.endpoint).await.expect("given back");
    let ended = world.claim_ended(world.second(), world.other).await;
    assert_eq!(ended.len(), 2);
    for row in &ended {
        assert_eq!((row.decide_attempt, row.task.attempt), (0, 1));
        match &row.end {
            CallEnd::Done(text) => {
                assert_eq!((row.task.id, text.get()), (calls[0].id, answer));
            }
            CallEnd::Failed(found) => assert_eq!((row.task.id, found), (calls[1].id, &failure)),
        }
    }
}

/// An end that waits again keeps its row, with its due time and the number of failed decisions; it
/// is never run again.
pub async fn an_end_that_waits_again_keeps_its_row(stores: Stores) {
    let world = World::new(stores).await;
    let (id, row) = asked(&world).await;
    let call = claimed(&world, world.store(), world.node).await;
    assert_eq!(record(world.store(), world.node, &[done(&call, "1")]).await, [true]);
    let wait = |attempt, millis| {
        let due_at = Some(world.at(millis));
        let again = Again {
            row: world.claimed(RowKind::Call, row),
            due_at,
            attempt,
            error: None,
            reason: None,
            place: None,
        };
        Slice { again: vec![again], ..world.aside(id) }
    };
    world.commit(vec![wait(1, -10)]).await;
    let ended = world.claim_ended(world.store(), world.node).await;
    assert_eq!(ended.iter().map(|e| (e.task.id, e.decide_attempt)).collect::<Vec<_>>(), [(row, 1)]);
    world.commit(vec![wait(2, 3_600_000)]).await;
    assert!(world.claim_ended(world.store(), world.node).await.is_empty());
    assert!(world.claim_calls(world.store(), world.node).await.is_empty());
}

/// Only the end of a call is an internal delivery: a call that still runs cannot be taken.
pub async fn a_call_that_still_runs_cannot_be_taken(stores: Stores) {
    let world = World::new(stores).await;
    let (id, row) = asked(&world).await;
    let call = claimed(&world, world.store(), world.node).await;
    let slice = world.taking(id, &[(RowKind::Call, row)]);
    let outcome = world.try_commit(vec![slice.clone()]).await;
    assert!(matches!(&outcome, CommitOutcome::Gone(rows) if *rows == [row]), "{outcome:?}");
    assert_eq!(record(world.store(), world.node, &[done(&call, "1")]).await, [true]);
    world.commit(vec![slice]).await;
    let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
    assert!(detail.is_some_and(|detail| detail.calls.is_empty()));
}

/// Late outcomes are refused one by one, each where it stands among the records: another claim,
/// another node, a call that was cancelled or never was.
pub async fn late_outcomes_are_refused_each_in_its_place(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let tasks: Vec<_> = (0..4).map(|n| world.call(id, "Look", -9_000 + n)).collect();
    world.commit(vec![Slice { tasks, ..world.aside(id) }]).await;
    let calls = world.claim_calls(world.store(), world.node).await;
    let cancelled_tasks = vec![calls[2].id];
    world.commit(vec![Slice { cancelled_tasks, ..world.aside(id) }]).await;
    let old = AttemptRecord { claims: calls[1].claims - 1, ..done(&calls[1], "1") };
    let newer = AttemptRecord { claims: calls[1].claims + 1, ..done(&calls[1], "1") };
    let unknown = AttemptRecord { task: RowId(world.id()), ..done(&calls[0], "1") };
    let records =
        [old, done(&calls[0], "1"), newer, done(&calls[2], "1"), unknown, done(&calls[3], "1")];
    let taken = record(world.store(), world.node, &records).await;
    assert_eq!(taken, [false, true, false, false, false, true]);
    assert_eq!(record(world.second(), world.other, &[done(&calls[1], "1")]).await, [false]);
    assert!(record(world.store(), world.node, &[]).await.is_empty());
}

/// An end recorded again under its claim, because the first answer was lost, is taken again and
/// changes nothing; after it the attempt cannot be made to wait.
pub async fn an_end_may_be_recorded_again_after_a_lost_answer(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let call = claimed(&world, world.store(), world.node).await;
    let end = done(&call, "{\"n\":1}");
    assert_eq!(record(world.store(), world.node, std::slice::from_ref(&end)).await, [true]);
    assert_eq!(record(world.store(), world.node, &[end]).await, [true]);
    let waiting = again(&world, &call, -10, true);
    assert_eq!(record(world.store(), world.node, &[waiting]).await, [false]);
    world.store().leave(world.node).await.expect("it leaves");
    assert!(world.claim_calls(world.second(), world.other).await.is_empty());
    let ended = world.claim_ended(world.second(), world.other).await;
    assert!(matches!(&ended[0].end, CallEnd::Done(text) if text.get() == "{\"n\":1}"));
}

/// A known answer is never thrown away by a halt: it is recorded, and given out when the endpoint
/// is open again.
pub async fn a_halt_does_not_throw_a_known_answer_away(stores: Stores) {
    let world = World::new(stores).await;
    let (_, row) = asked(&world).await;
    let call = claimed(&world, world.store(), world.node).await;
    world.second().halt(&world.endpoint).await.expect("it halts");
    assert_eq!(record(world.store(), world.node, &[done(&call, "1")]).await, [true]);
    world.store().give_back(world.node, &world.endpoint).await.expect("given back");
    assert!(world.claim_ended(world.second(), world.other).await.is_empty());
    world.second().resume(&world.endpoint).await.expect("it opens");
    let ended = world.claim_ended(world.second(), world.other).await;
    assert_eq!(ended.iter().map(|ended| ended.task.id).collect::<Vec<_>>(), [row]);
}
