//! Purge as part of a plan: the run moves into the incident's snapshot and leaves a tombstone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::InstanceId;
use knarr_model::incident::Whole;
use knarr_model::instance::PURGED;
use knarr_model::ports::guard::{Ask, Plan, Run, Scene};
use knarr_model::quarantine::Class;
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, ClaimedRow, RowKind};
use uuid::Uuid;

use super::fixture::Guards;
use super::plan::{halted, purge, tombstone, whole};
use super::runs::{RUN, full, leaving, told};
use super::world::GuardWorld;
use crate::conformance::store::exact::json;
use crate::conformance::store::world::{at_once, lost, raw};

/// Purges a run into a fresh incident and returns its id and what the verb saw.
pub(super) async fn purge_run(world: &GuardWorld, id: InstanceId) -> (Uuid, Whole) {
    let incident = world.incident(Class::Failed);
    let own = incident.clone();
    let done = world.verb(world.ask_of(id), move |scene| purge(scene, &own)).await;
    (incident.id, done.plan.snapshot.expect("the plan keeps the run").1)
}

/// The scene shows the run with everything around it, and nothing of others: the row, the start
/// message, keys, timers, calls that wait with their memo, calls that ended, parked messages in
/// order, and the run's own unsent messages in order.
pub async fn s0_13_a_scene_shows_the_whole_run(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    full(&world).await;
    let seen = whole(&world.look(world.ask_of(run.id)).await);
    assert_eq!(json(&world.read(run.id).await), json(&Some(&seen.instance)));
    let origin = world.store().origin(&world.saga, run.id, RUN).await.expect("it is read");
    assert_eq!(json(&origin), json(&seen.origin));
    let detail = world.stores.records.instance(&world.saga, run.id).await.expect("it is read");
    let detail = detail.expect("the instance is there");
    assert_eq!(json(&detail.timers), json(&seen.timers));
    assert_eq!(detail.timers.len(), 2);
    assert_eq!(json(&detail.parked), json(&seen.parked));
    let parked: Vec<_> = seen.parked.iter().map(|row| row.message_id).collect();
    assert_eq!(parked, run.parked);
    assert_eq!((seen.calls.len(), seen.ended.len()), (1, 1));
    assert!(seen.calls[0].memo.is_some() && seen.calls[0].attempt > 0);
    assert!(
        matches!(&seen.ended[0].end, CallEnd::Done(answer) if answer.get() == "{ \"a\" : 1.0 }")
    );
    let mut calls = vec![seen.calls[0].clone(), seen.ended[0].task.clone()];
    calls.sort_by_key(|call| call.id);
    let mut stored = detail.calls.clone();
    stored.sort_by_key(|call| call.id);
    assert_eq!(json(&calls), json(&stored));
    let loaded = world.load(&[], &run.keys, &[]).await.keys;
    assert_eq!(seen.keys.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(), loaded);
    let unsent: Vec<_> = seen.unsent.iter().map(|message| message.id).collect();
    assert_eq!(unsent, run.unsent);
    assert!(world.look(world.ask()).await.whole.is_none());
    assert!(world.look(world.ask_of(InstanceId(world.id()))).await.whole.is_none());
}

/// A purge leaves the tombstone that the plan says, and nothing that waits: no timer, call, parked
/// message, key or start message is there; what the scene showed is kept byte for byte. Faults,
/// messages of earlier runs, history and other instances stay.
pub async fn s0_13_a_purge_moves_the_run_into_the_snapshot(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let (run, other) = (full(&world).await, full(&world).await);
    let before = whole(&world.look(world.ask_of(run.id)).await);
    let neighbour = whole(&world.look(world.ask_of(other.id)).await);
    let (incident, _) = purge_run(&world, run.id).await;
    let stone = world.read(run.id).await.expect("the tombstone is there");
    assert_eq!(json(&stone), json(&tombstone(&before.instance, Some(incident))));
    let detail = world.stores.records.instance(&world.saga, run.id).await.expect("it is read");
    let detail = detail.expect("the tombstone is there");
    assert!(detail.timers.is_empty() && detail.calls.is_empty() && detail.parked.is_empty());
    assert_eq!(detail.journal.len(), 1);
    let loaded = world.load(&[], &run.keys, &run.parked).await;
    assert!(loaded.keys.is_empty() && loaded.parked.is_empty() && loaded.waiting.is_empty());
    let origin = world.store().origin(&world.saga, run.id, RUN).await.expect("it is read");
    assert!(origin.is_none());
    let kept = world.incidents.snapshot(incident).await.expect("it is read");
    let kept = kept.expect("the snapshot is kept");
    assert_eq!(told(&kept), told(&before));
    assert_eq!(kept.instance.version, before.instance.version);
    let stored = world.stored_incident(incident).await.expect("the incident is there");
    assert_eq!((stored.instance, stored.run), (Some(run.id), Some(RUN)));
    assert_eq!(stored.removed, before.removed());
    let after = whole(&world.look(world.ask_of(other.id)).await);
    assert_eq!((told(&after), after.instance.version), (told(&neighbour), 1));
}

/// Rows of an emptied run cannot be claimed, and an answer that its call gives later is refused;
/// what is claimed already cannot be decided.
pub async fn s0_13_rows_of_an_emptied_run_cannot_be_claimed(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let running = world.claim_calls(world.store(), world.node).await.remove(0);
    let timer = world.claim_timers(world.store(), world.node).await.remove(0);
    let fired = world.taking(run.id, &[(RowKind::Timer, timer)]);
    purge_run(&world, run.id).await;
    for (store, node) in [(world.store(), world.node), (world.second(), world.other)] {
        assert!(world.claim_timers(store, node).await.is_empty());
        assert!(world.claim_parked(store, node).await.is_empty());
        assert!(world.claim_calls(store, node).await.is_empty());
        assert!(world.claim_ended(store, node).await.is_empty());
    }
    let due = world.store().next_due(std::slice::from_ref(&world.endpoint)).await;
    assert_eq!(due.expect("it is answered"), None);
    let outcome = AttemptOutcome::Ended(CallEnd::Done(raw("1")));
    let late = AttemptRecord { task: running.id, claims: running.claims, outcome };
    let taken = world.store().record(world.node, &[late]).await.expect("it is answered");
    assert_eq!(taken, [false]);
    let outcome = world.try_commit(vec![fired]).await;
    assert!(matches!(&outcome, CommitOutcome::Gone(rows) if *rows == [timer]), "{outcome:?}");
}

/// Unsent messages of the emptied run are in no chunk and the run is marked as withdrawn; faults,
/// messages of earlier runs and of other instances leave (row 90).
pub async fn row_090_unsent_messages_of_the_run_alone_are_withdrawn(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let (run, other) = (full(&world).await, full(&world).await);
    let asked = [(run.id, RUN - 1), (run.id, RUN), (other.id, RUN)];
    let withdrawn = async |world: &GuardWorld| {
        let marks = world.second_guard.withdrawn(&world.endpoint, &asked).await;
        marks.expect("marks are read")
    };
    assert!(withdrawn(&world).await.is_empty());
    purge_run(&world, run.id).await;
    let mut expected = run.others.clone();
    expected.extend([other.unsent[0], other.others[0], other.others[1], other.unsent[1]]);
    assert_eq!(leaving(&world).await, expected);
    assert_eq!(withdrawn(&world).await, [(run.id, RUN)]);
    let elsewhere = world.guard.withdrawn(&"billing".into(), &asked).await;
    assert!(elsewhere.expect("marks are read").is_empty());
    let none = world.guard.withdrawn(&world.endpoint, &[]).await;
    assert!(none.expect("marks are read").is_empty());
}

/// A commit decided before a purge meets the tombstone and is lost when the purge left epoch and
/// block set alone; it is fenced when the purge came with a halt (row 89).
pub async fn row_089_a_late_commit_after_a_purge_changes_nothing(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    for halts in [false, true] {
        let id = world.born().await;
        let late = world.commit_of(vec![world.step(id, 2)]).await;
        let incident = world.incident(Class::Failed);
        world
            .verb(world.ask_of(id), move |scene| {
                let row = Some(halted(&scene.endpoint)).filter(|_| halts);
                Plan { endpoint: row, ..purge(scene, &incident) }
            })
            .await;
        let message = late.slices[0].journal[0].message_id;
        let outcome = world.store().commit(late).await.expect("answered");
        if halts {
            assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}");
        } else {
            assert_eq!(lost(outcome), [id]);
        }
        assert!(world.outcomes(&[message]).await.is_empty());
        let stone = world.read(id).await.expect("the tombstone is there");
        assert_eq!((stone.state.as_str(), stone.version), (PURGED, 2));
    }
}

/// The tombstone is the instance's row itself: whoever reads while a purge is under way finds the
/// run or the tombstone, never nothing (row 89).
pub async fn row_089_a_loader_finds_the_run_or_its_tombstone(guards: Guards) {
    let world = Arc::new(GuardWorld::new(guards).await);
    for _ in 0..10 {
        let id = world.born().await;
        let purged = Arc::new(AtomicBool::new(false));
        let reading = {
            let (world, purged) = (world.clone(), purged.clone());
            tokio::spawn(async move {
                loop {
                    let late = purged.load(Ordering::SeqCst);
                    let row = world.read(id).await.expect("there is always a row");
                    assert_eq!(row.version, if row.state == PURGED { 2 } else { 1 });
                    assert!(!late || row.state == PURGED);
                    if late {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            })
        };
        purge_run(&world, id).await;
        purged.store(true, Ordering::SeqCst);
        reading.await.expect("the reader finds a row each time");
    }
}

/// While commits race a purge they take place before it, and the snapshot has what they wrote, or
/// they change nothing: after it returned nothing of the run waits (row 91).
pub async fn row_091_a_purge_among_commits_leaves_nothing_behind(guards: Guards) {
    let world = Arc::new(GuardWorld::new(guards).await);
    for _ in 0..10 {
        let id = world.born().await;
        let committing = {
            let world = world.clone();
            tokio::spawn(async move {
                for version in 2..60 {
                    let timers = vec![world.timer(id, -1_000)];
                    let outgoing = vec![world.outgoing(id, version)];
                    let slice = Slice { timers, outgoing, ..world.step(id, version) };
                    let commit = world.commit_of(vec![slice]).await;
                    let commit = Commit { node: world.other, ..commit };
                    match world.second().commit(commit).await.expect("answered") {
                        CommitOutcome::Committed { lost, .. } if lost.is_empty() => {}
                        _ => return,
                    }
                }
            })
        };
        while world.version(id).await < 4 {
            tokio::task::yield_now().await;
        }
        let (_, kept) = purge_run(&world, id).await;
        let written = kept.instance.version;
        let (timers, unsent) = (kept.timers.len() as i64, kept.unsent.len() as i64);
        assert_eq!((timers, unsent), (written - 1, written - 1));
        committing.await.expect("committing does not panic");
        assert_eq!(world.version(id).await, written + 1);
        let after = whole(&world.look(world.ask_of(id)).await);
        assert!(after.timers.is_empty() && after.unsent.is_empty());
    }
}

/// An answer recorded at the moment of a purge was taken, and the snapshot has it, or it was
/// refused, and the snapshot has the call as it waits: it is never lost between the two.
pub async fn s0_18_an_answer_at_the_moment_of_a_purge_is_kept_or_refused(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    for _ in 0..20 {
        let id = world.born().await;
        let tasks = vec![world.call(id, "Look", -1_000)];
        world.commit(vec![Slice { tasks, ..world.aside(id) }]).await;
        let running = world.claim_calls(world.second(), world.other).await.remove(0);
        let outcome = AttemptOutcome::Ended(CallEnd::Done(raw("1")));
        let told = AttemptRecord { task: running.id, claims: running.claims, outcome };
        let (store, other) = (world.second().clone(), world.other);
        let (guard, ask) = (world.guard.clone(), world.ask_of(id));
        let incident = world.incident(Class::Failed);
        let number = incident.id;
        let (taken, _) = at_once(
            async move { store.record(other, &[told]).await.expect("it is answered")[0] },
            async move {
                let decide = Arc::new(move |scene: &Scene| Ok(purge(scene, &incident)));
                let done = guard.under_fence(ask, decide, Run::ForReal).await;
                done.expect("answered").is_ok()
            },
        )
        .await;
        let kept = world.incidents.snapshot(number).await.expect("it is read");
        let kept = kept.expect("the snapshot is kept");
        assert_eq!((kept.ended.len(), kept.calls.len()), if taken { (1, 0) } else { (0, 1) });
    }
}

/// Of the calls that a node runs, those are lost whose rows are gone or another's.
pub async fn s0_16_calls_whose_rows_are_gone_or_anothers_are_lost(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let (id, kept) = (world.born().await, world.born().await);
    for id in [id, kept] {
        let tasks = vec![world.call(id, "Look", -1_000)];
        world.commit(vec![Slice { tasks, ..world.aside(id) }]).await;
    }
    let mine = world.claim_calls(world.store(), world.node).await;
    let mut mine: Vec<_> = mine.into_iter().map(|task| (task.instance, task.id)).collect();
    mine.sort_by_key(|(instance, _)| *instance != id);
    let rows = [mine[0].1, mine[1].1];
    let lost =
        async |node, rows: &[_]| world.second_guard.lost_calls(node, rows).await.expect("read");
    assert!(lost(world.node, &rows).await.is_empty());
    assert_eq!(lost(world.other, &rows).await, rows);
    purge_run(&world, id).await;
    assert_eq!(lost(world.node, &rows).await, [rows[0]]);
    assert!(lost(world.node, &[]).await.is_empty());
}

/// An internal delivery that was asked about is the node's own only while it is there and claimed
/// by that node, under that very claim.
pub async fn guard_an_internal_delivery_is_owned_by_the_node_that_claimed_it(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let parked = world.stores.records.instance(&world.saga, run.id).await.expect("it is read");
    let parked = parked.expect("it is there").parked[1].id;
    let timer = whole(&world.look(world.ask_of(run.id)).await).timers[0].id;
    let ended = whole(&world.look(world.ask_of(run.id)).await).ended[0].task.id;
    let owned = async |kind, row, node| {
        let ask = Ask { row: Some(world.claimed(kind, row)), node, ..world.ask() };
        world.look(ask).await.owned
    };
    assert!(!owned(RowKind::Timer, timer, world.node).await);
    assert_eq!(world.claim_timers(world.store(), world.node).await, [timer]);
    assert!(world.claim_parked(world.second(), world.other).await.contains(&parked));
    assert!(owned(RowKind::Timer, timer, world.node).await);
    assert!(!owned(RowKind::Timer, timer, world.other).await);
    assert!(owned(RowKind::Call, ended, world.node).await);
    assert!(owned(RowKind::Parked, parked, world.other).await);
    assert!(!owned(RowKind::Parked, timer, world.node).await);
    let claimed = world.claimed(RowKind::Timer, timer);
    let earlier =
        Ask { row: Some(ClaimedRow { claims: claimed.claims - 1, ..claimed }), ..world.ask() };
    assert!(!world.look(earlier).await.owned, "it was claimed anew since");
    let taken = vec![(RowKind::Timer, timer), (RowKind::Parked, parked), (RowKind::Call, ended)];
    world.write(Plan { taken, ..Plan::default() }).await;
    let left = whole(&world.look(world.ask_of(run.id)).await);
    assert_eq!((left.timers.len(), left.ended.len(), left.parked.len()), (1, 0, 2));
    assert!(!owned(RowKind::Timer, timer, world.node).await);
}
