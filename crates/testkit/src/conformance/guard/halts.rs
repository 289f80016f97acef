//! Halts and pauses as verbs: what was decided before them does not commit after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::{InstanceId, Name};
use knarr_model::ports::guard::{Ask, Plan};
use knarr_model::ports::store::{EndpointRow, EndpointState, Stop};

use super::fixture::Guards;
use super::plan::halted;
use super::world::GuardWorld;
use crate::conformance::store::world::{kept, real_pause};

/// What becomes of the endpoint's row.
type Change = fn(&EndpointRow) -> EndpointRow;

/// Writes the endpoint's row as it is told.
async fn become_(world: &GuardWorld, change: Change) -> EndpointRow {
    let done = world
        .verb(world.ask(), move |scene| Plan {
            endpoint: Some(change(&scene.endpoint)),
            ..Plan::default()
        })
        .await;
    done.plan.endpoint.expect("the plan has the row")
}

fn opened(row: &EndpointRow) -> EndpointRow {
    EndpointRow { state: EndpointState::Open, stop: None, ..row.clone() }
}

fn paused(row: &EndpointRow) -> EndpointRow {
    let stop = Stop { reason: "a look".to_owned(), by: "anna".to_owned(), ..Stop::default() };
    EndpointRow { state: EndpointState::Paused, stop: Some(stop), ..row.clone() }
}

fn paused_by_breaker(row: &EndpointRow) -> EndpointRow {
    let mut row = paused(row);
    row.stop.as_mut().expect("it has one").internal_too = true;
    row
}

/// A halt fences a commit that was decided before it, at the old epoch and at the new one, and the
/// row reads back whole, with why it stopped; opened, the new epoch commits and the old never does.
pub async fn s0_12_a_halt_fences_a_commit_decided_before_it(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let id = InstanceId(world.id());
    let early = world.commit_of(vec![world.step(id, 1)]).await;
    let row = become_(&world, halted).await;
    assert_eq!(world.row().await, row);
    let all = world.stores.records.endpoints().await.expect("endpoints are read");
    assert_eq!(all, std::slice::from_ref(&row));
    assert_eq!(world.load(&[], &[], &[]).await.endpoint, row);
    for epoch in [early.epoch, row.epoch] {
        let commit = Commit { epoch, ..early.clone() };
        let outcome = world.second().commit(commit).await.expect("answered");
        assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}");
    }
    let row = become_(&world, opened).await;
    assert_eq!((world.row().await, row.stop.is_none()), (row.clone(), true));
    let outcome = world.store().commit(early.clone()).await.expect("answered");
    assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}");
    assert_eq!(world.version(id).await, 0);
    kept(world.store().commit(Commit { epoch: row.epoch, ..early }).await.expect("answered"));
}

/// While lanes of two nodes commit without a pause, a halt gets through, and from the moment it
/// returned not one commit at the old epoch succeeds (row 85).
pub async fn row_085_after_a_halt_nothing_commits_at_the_old_epoch(guards: Guards) {
    const LANES: u64 = 8;
    let world = Arc::new(GuardWorld::new(guards).await);
    let template = world.commit_of(Vec::new()).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let committed = Arc::new(AtomicU64::new(0));
    let lanes: Vec<_> = (0..LANES)
        .map(|n| {
            let (stopped, committed) = (stopped.clone(), committed.clone());
            let (world, template) = (world.clone(), template.clone());
            tokio::spawn(async move {
                let store = if n % 2 == 0 { world.store() } else { world.second() };
                let mut fences = 0;
                while fences < 5 {
                    let slices = vec![world.step(InstanceId(world.id()), 1)];
                    let late = stopped.load(Ordering::SeqCst);
                    let commit = Commit { slices, ..template.clone() };
                    match store.commit(commit).await.expect("the commit is answered") {
                        CommitOutcome::Committed { .. } => {
                            assert!(!late, "committed at the old epoch after the halt returned");
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
    become_(&world, halted).await;
    stopped.store(true, Ordering::SeqCst);
    for lane in lanes {
        lane.await.expect("no lane saw a commit too late");
    }
    let counts = world.stores.records.counts().await.expect("counts are read");
    let stored: u64 = counts.iter().map(|count| count.count).sum();
    assert_eq!(stored, committed.load(Ordering::SeqCst));
}

/// Nothing is claimed of a halted endpoint, nor of one whose pause holds back what waits in the
/// store; a pause without that, and an open endpoint, give rows out.
pub async fn guard_a_stop_that_holds_back_what_waits_gives_out_no_rows(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let id = world.born().await;
    let stops: [(Change, bool); 5] = [
        (halted, false),
        (opened, true),
        (paused_by_breaker, false),
        (paused, true),
        (opened, true),
    ];
    for (change, flows) in stops {
        become_(&world, opened).await;
        let timers = vec![world.timer(id, -1_000)];
        let tasks = vec![world.call(id, "Look", -1_000)];
        world.commit(vec![Slice { timers, tasks, ..world.aside(id) }]).await;
        let row = become_(&world, change).await;
        let timers = world.claim_timers(world.store(), world.node).await.len();
        let calls = world.claim_calls(world.second(), world.other).await.len();
        assert_eq!((timers, calls), (usize::from(flows), usize::from(flows)), "{row:?}");
        become_(&world, opened).await;
        world.claim_timers(world.store(), world.node).await;
        world.claim_calls(world.second(), world.other).await;
    }
}

/// A verb about an endpoint that nobody has named yet makes its row, open, and others see it.
pub async fn guard_a_verb_about_an_unknown_endpoint_makes_its_row(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let name = Name::from("fresh");
    let ask = Ask { endpoint: name.clone(), ..world.ask() };
    let seen = world.look(ask.clone()).await.endpoint;
    assert_eq!((seen.state, &seen.name, &seen.stop), (EndpointState::Open, &name, &None));
    let done = world
        .verb(ask, |scene| Plan { endpoint: Some(halted(&scene.endpoint)), ..Plan::default() })
        .await;
    let row = world.second().endpoint(&name).await.expect("the row is read");
    assert_eq!(Some(&row), done.plan.endpoint.as_ref());
    assert_eq!(row.epoch, seen.epoch + 1);
}

/// A verb wakes a node that waits for work: what it opened or put there is looked at at once.
pub async fn guard_a_verb_wakes_a_node_that_waits(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let second = world.second().clone();
    let waiting = tokio::spawn(async move {
        second.wait_for_work(Duration::from_secs(600)).await;
    });
    // The waiter needs a moment to listen; a hint before it does is lost, so there are several.
    let mut tries = 0;
    while !waiting.is_finished() {
        tries += 1;
        assert!(tries < 100, "no hint came");
        become_(&world, opened).await;
        real_pause(100).await;
    }
    waiting.await.expect("waiting does not panic");
}
