//! A restored run is what it was, under its old ids.

use knarr_model::commit::{KeyWrite, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::ports::guard::{Ask, Refusal, Run};
use knarr_model::work::ParkedReason;

use super::fixture::Guards;
use super::plan::{restore, whole};
use super::purges::purge_run;
use super::runs::{RUN, full, leaving, told};
use super::world::GuardWorld;
use crate::conformance::store::exact::json;

/// What was purged comes back byte for byte: data and book, start message, keys with their
/// generations, timers, calls with their memo, ended calls with their answer, parked messages in
/// their order, unsent messages with their ids, headers and bodies. Only the version rises. The mark
/// as withdrawn goes, and so does the snapshot if the plan says so.
pub async fn guard_a_restored_run_is_byte_for_byte_what_it_was(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let before = whole(&world.look(world.ask_of(run.id)).await);
    let (incident, _) = purge_run(&world, run.id).await;
    let ask = Ask { incident: Some(incident), ..world.ask_of(run.id) };
    let seen = world.look(ask.clone()).await;
    assert_eq!(told(seen.snapshot.as_ref().expect("it is kept")), told(&before));
    assert_eq!(seen.incident.map(|incident| incident.id), Some(incident));
    let done = world.verb(ask, restore).await;
    let after = whole(&world.look(world.ask_of(run.id)).await);
    assert_eq!(told(&after), told(&before));
    assert_eq!(after.instance.version, before.instance.version + 2);
    let marks = world.guard.withdrawn(&world.endpoint, &[(run.id, RUN)]).await;
    assert!(marks.expect("marks are read").is_empty());
    assert!(world.incidents.snapshot(incident).await.expect("it is read").is_none());
    let made: Vec<_> = done.chunks.iter().flat_map(|chunk| &chunk.messages).collect();
    assert_eq!(json(&made), json(&before.unsent));
    assert_eq!(leaving(&world).await, [run.others, run.unsent].concat());
}

/// What is restored is nobody's: any node claims what is due, in order.
pub async fn guard_restored_rows_are_claimed_by_nobody(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    world.claim_timers(world.store(), world.node).await;
    let claims = world.claim_calls(world.store(), world.node).await.remove(0).claims;
    world.claim_parked(world.store(), world.node).await;
    let (incident, kept) = purge_run(&world, run.id).await;
    let ask = Ask { incident: Some(incident), ..world.ask_of(run.id) };
    world.verb(ask, restore).await;
    let (store, node) = (world.second(), world.other);
    let timers = store.claim_timers(&world.claim(node, 9)).await.expect("timers are claimed");
    let parked = store.claim_parked(&world.claim(node, 9)).await.expect("parked rows are claimed");
    let mut ended = kept.ended.clone();
    ended.iter_mut().for_each(|ended| ended.task.claims += 1);
    assert_eq!(timers.iter().map(|row| row.id).collect::<Vec<_>>(), [kept.timers[0].id]);
    assert_eq!(parked.len(), 1);
    assert_eq!(json(&world.claim_ended(store, node).await), json(&ended));
    let calls = world.claim_calls(store, node).await;
    assert_eq!(calls.iter().map(|call| call.id).collect::<Vec<_>>(), [kept.calls[0].id]);
    assert!(calls[0].claims > claims, "a record under the old claim must be late");
    let anew = [timers[0].claims, parked[0].claims];
    assert_eq!(anew, [2, 2], "a commit under an old claim must be late");
}

/// What was parked for the tombstone meanwhile is still there, behind what the run had waiting, if
/// the plan says so: a run may be emptied and restored in one plan.
pub async fn guard_what_was_parked_meanwhile_is_restored_along(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let (incident, kept) = purge_run(&world, run.id).await;
    let later = world.parked(Some(run.id), 20, ParkedReason::Held, None);
    let row = later.clone();
    world.commit(vec![Slice { parked: vec![later], ..world.aside(run.id) }]).await;
    let ask = Ask { incident: Some(incident), ..world.ask_of(run.id) };
    world
        .verb(ask, |scene| {
            let mut plan = restore(scene);
            let later = whole(scene).parked;
            plan.restore.as_mut().expect("it restores").parked.extend(later);
            plan
        })
        .await;
    let after = whole(&world.look(world.ask_of(run.id)).await).parked;
    assert_eq!(json(&after), json(&[kept.parked, vec![row]].concat()));
}

/// A run whose key another instance owns by now cannot come back: the verb is refused, the key is
/// named, and nothing is written. A key that was taken and freed since is the run's again, at the
/// next generation.
pub async fn guard_a_restore_meets_a_key_that_was_taken_meanwhile(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let (incident, _) = purge_run(&world, run.id).await;
    let taker = InstanceId(world.id());
    let write = |generation, free| KeyWrite {
        key: run.keys[0].clone(),
        generation,
        free,
        by: MessageId(world.id()),
        by_start: true,
    };
    let mut step = world.step(taker, 1);
    step.keys = vec![write(1, false)];
    world.commit(vec![step]).await;
    let ask = Ask { incident: Some(incident), ..world.ask_of(run.id) };
    let before = world.picture(&[run.id, taker]).await;
    let refused = world.try_verb(ask.clone(), |scene| Ok(restore(scene)), Run::ForReal).await;
    match refused.expect_err("the key is another's") {
        Refusal::Conflict(text) => assert!(text.contains(&run.keys[0].name), "{text}"),
        other => panic!("refused otherwise: {other:?}"),
    }
    assert_eq!(world.picture(&[run.id, taker]).await, before);
    let mut step = world.step(taker, 2);
    step.keys = vec![write(1, true)];
    world.commit(vec![step]).await;
    world.verb(ask, restore).await;
    let row = world.key_row(&run.keys[0]).await.expect("the key is there");
    assert_eq!((row.instance, row.generation, row.free), (run.id, 2, false));
}
