//! Halts and the block set: what was decided before them does not commit after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, Name};
use knarr_model::ports::store::EndpointState;

use super::stores::Stores;
use super::world::{World, at_once, kept, lost, real_pause};
use crate::Steering as _;

fn is_fenced(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Fenced)
}

/// The endpoint's row is made once, open, and both handles see the same; a fresh endpoint's epoch
/// does not depend on who asks.
pub async fn an_endpoint_is_made_once(stores: Stores) {
    let world = World::new(stores).await;
    let name = Name::from("fresh");
    let (store, second) = (world.store().clone(), world.second().clone());
    let (one, two) = (name.clone(), name.clone());
    let (one, two) =
        at_once(
            async move { store.endpoint(&one).await },
            async move { second.endpoint(&two).await },
        )
        .await;
    let (one, two) = (one.expect("the row is made"), two.expect("the row is made"));
    assert_eq!(one, two);
    assert_eq!((one.state, &one.name), (EndpointState::Open, &name));
    let halted = world.store().halt(&name).await.expect("it halts");
    assert_eq!(world.second().endpoint(&name).await.expect("the row is read"), halted);
}

/// After a halt returned, a commit decided before it is fenced: at the old epoch and also at the
/// new one, for nothing is decided while the endpoint is halted. Opened again, the new epoch
/// commits and the old one never does.
pub async fn a_late_commit_after_a_halt_is_fenced(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let early = world.commit_of(vec![world.step(id, 1)]).await;
    let before = world.row().await;
    let halted = world.second().halt(&world.endpoint).await.expect("it halts");
    assert_eq!((halted.epoch, halted.state), (before.epoch + 1, EndpointState::Halted));
    assert_eq!(world.row().await, halted);
    let commit = |commit: Commit| async { world.store().commit(commit).await.expect("answered") };
    assert!(is_fenced(&commit(early.clone()).await));
    assert!(is_fenced(&commit(Commit { epoch: halted.epoch, ..early.clone() }).await));
    let opened = world.store().resume(&world.endpoint).await.expect("it opens");
    assert_eq!((opened.epoch, opened.state), (halted.epoch, EndpointState::Open));
    assert!(is_fenced(&commit(early.clone()).await));
    assert_eq!(world.version(id).await, 0, "fenced commits write nothing");
    assert!(world.outcomes(&[early.slices[0].journal[0].message_id]).await.is_empty());
    kept(commit(Commit { epoch: opened.epoch, ..early }).await);
}

/// A commit that changes no instance is fenced like any other (engine.md, The road 3b).
pub async fn a_commit_without_instances_is_fenced_too(stores: Stores) {
    let world = World::new(stores).await;
    let row = world.ignored(MessageId(world.id()), None);
    let message = row.message_id;
    let early = world.commit_of(vec![Slice { journal: vec![row], ..Slice::default() }]).await;
    world.store().halt(&world.endpoint).await.expect("it halts");
    let outcome = world.store().commit(early).await.expect("answered");
    assert!(is_fenced(&outcome), "{outcome:?}");
    assert!(world.outcomes(&[message]).await.is_empty());
}

/// A halt is of one endpoint; others go on. Each halt raises the epoch, also of a halted endpoint.
pub async fn a_halt_is_of_one_endpoint_and_each_raises_the_epoch(stores: Stores) {
    let world = World::new(stores).await;
    let first = world.row().await.epoch;
    world.store().endpoint(&"other".into()).await.expect("the row is made");
    for n in 1..=3 {
        let row = world.store().halt(&"other".into()).await.expect("it halts");
        assert_eq!(row.epoch, world.row().await.epoch + n);
    }
    assert_eq!(world.row().await.epoch, first);
    world.born().await;
}

/// Paused and probing endpoints commit: only intake stops.
pub async fn paused_and_probing_endpoints_commit(stores: Stores) {
    let world = World::new(stores).await;
    for state in [EndpointState::Paused, EndpointState::Probing] {
        world.force(state).await;
        assert_eq!(world.row().await.state, state);
        world.born().await;
    }
}

/// Another block set than the one decided at: decide again; nothing is written. A halt is told
/// first.
pub async fn another_block_set_is_told_and_nothing_is_written(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let mut commit = world.commit_of(vec![world.step(id, 1)]).await;
    for off in [-1, 1] {
        let other = Commit { guard_version: commit.guard_version + off, ..commit.clone() };
        let outcome = world.store().commit(other).await.expect("answered");
        assert!(matches!(outcome, CommitOutcome::GuardChanged), "{outcome:?}");
    }
    assert_eq!(world.version(id).await, 0);
    world.store().halt(&world.endpoint).await.expect("it halts");
    commit.guard_version += 1;
    let outcome = world.store().commit(commit).await.expect("answered");
    assert!(is_fenced(&outcome), "{outcome:?}");
}

/// While many lanes of two nodes commit without a pause, a halt gets through within seconds, and
/// from the moment it returned not one commit at the old epoch succeeds; what was answered as
/// committed is there, and nothing else.
pub async fn after_halt_returned_nothing_commits_at_the_old_epoch(stores: Stores) {
    const LANES: u64 = 8;
    let world = World::new(stores).await;
    let template = world.commit_of(Vec::new()).await;
    let halted = Arc::new(AtomicBool::new(false));
    let committed = Arc::new(AtomicU64::new(0));
    let world = Arc::new(world);
    let lanes: Vec<_> = (0..LANES)
        .map(|n| {
            let (halted, committed) = (halted.clone(), committed.clone());
            let (world, template) = (world.clone(), template.clone());
            let store = if n % 2 == 0 { world.store() } else { world.second() }.clone();
            tokio::spawn(async move {
                let mut fences = 0;
                while fences < 5 {
                    let slices = vec![world.step(InstanceId(world.id()), 1)];
                    let late = halted.load(Ordering::SeqCst);
                    let commit = Commit { slices, ..template.clone() };
                    match store.commit(commit).await.expect("the commit is answered") {
                        CommitOutcome::Committed { .. } => {
                            assert!(!late, "committed at the old epoch after halt returned");
                            committed.fetch_add(1, Ordering::SeqCst);
                        }
                        CommitOutcome::Fenced => fences += 1,
                        other => panic!("neither committed nor fenced: {other:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    while committed.load(Ordering::SeqCst) < 3 * LANES {
        real_pause(1).await;
    }
    let halt = world.store().halt(&world.endpoint);
    let row = tokio::time::timeout(Duration::from_secs(10), halt)
        .await
        .expect("the commits starve the halt")
        .expect("it halts");
    halted.store(true, Ordering::SeqCst);
    assert_eq!(row.epoch, template.epoch + 1);
    for lane in lanes {
        lane.await.expect("no lane saw a commit too late");
    }
    let counts = world.stores.records.counts().await.expect("counts are read");
    let stored: u64 = counts.iter().map(|count| count.count).sum();
    assert_eq!(stored, committed.load(Ordering::SeqCst));
}

/// Halts and resumes issued at the same time from two places end in one linear history: the epoch
/// counts the halts, and the state is that of the last one.
pub async fn halts_and_resumes_at_once_end_in_one_history(stores: Stores) {
    let world = Arc::new(World::new(stores).await);
    let first = world.row().await.epoch;
    let calls: Vec<_> = (0..24)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let store = if n % 2 == 0 { world.store() } else { world.second() };
                let row = match n % 3 {
                    0 => store.resume(&world.endpoint).await,
                    _ => store.halt(&world.endpoint).await,
                };
                (n % 3 != 0, row.expect("it is done"))
            })
        })
        .collect();
    let mut epochs = Vec::new();
    for call in calls {
        let (halt, row) = call.await.expect("no call panics");
        if halt {
            assert_eq!(row.state, EndpointState::Halted);
            epochs.push(row.epoch);
        } else {
            assert_eq!(row.state, EndpointState::Open);
        }
    }
    epochs.sort_unstable();
    assert_eq!(epochs, (first + 1..=first + 16).collect::<Vec<_>>());
    assert_eq!(world.row().await.epoch, first + 16);
}

/// A commit that was decided before a purge meets the tombstone's version and is lost.
pub async fn a_late_commit_after_a_purge_is_lost(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let late = world.step(id, 2);
    assert!(world.second().purge(&world.endpoint, &world.saga, id).await.expect("it is purged"));
    assert_eq!(lost(world.try_commit(vec![late.clone()]).await), [id]);
    assert!(world.outcomes(&[late.journal[0].message_id]).await.is_empty());
}
