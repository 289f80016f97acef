//! Calls whose processes died: losses are counted, acquitted, forgotten, and kept, each when it should.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::Slice;
use knarr_model::ids::{NodeId, RowId};
use knarr_model::ports::Store;
use knarr_model::work::{ActivityTask, AttemptOutcome, AttemptRecord, CallEnd, Claim, Losses};

use super::stores::Stores;
use super::world::{World, raw};

/// Asks for a call that is due.
async fn asked(world: &World) {
    let id = world.born().await;
    let call = world.call(id, "Look", -1_000);
    world.commit(vec![Slice { tasks: vec![call], ..world.aside(id) }]).await;
}

/// Claims the only due call.
async fn claimed(world: &World, store: &Arc<dyn Store>, node: NodeId) -> ActivityTask {
    let mut calls = world.claim_calls(store, node).await;
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

/// A node claims the call, runs it if it is to, and dies. It is the next one's then.
async fn lost(world: &World, runs: bool) -> ActivityTask {
    let mortal = world.mortal().await;
    let call = claimed(world, world.second(), mortal).await;
    // Without losses it is run from its claim on.
    if runs && call.lost.count > 0 {
        assert!(run(world.second(), mortal, &call).await);
    }
    world.outlast_lease().await;
    claimed(world, world.store(), world.node).await
}

async fn run(store: &Arc<dyn Store>, node: NodeId, call: &ActivityTask) -> bool {
    store.run_call(node, call.id, call.claims).await.expect("it is answered")
}

async fn give_back(world: &World) {
    world.store().give_back(world.node, &world.endpoint).await.expect("given back");
}

async fn record(world: &World, call: &ActivityTask, outcome: AttemptOutcome) -> bool {
    let record = AttemptRecord { task: call.id, claims: call.claims, outcome };
    world.store().record(world.node, &[record]).await.expect("it is recorded")[0]
}

fn again(world: &World) -> AttemptOutcome {
    AttemptOutcome::Again { due_at: world.at(-10), memo: None, used: false }
}

/// Each process that died with the call running is one loss, with its time and how long before that
/// the attempt began; none of them is an attempt that counts.
pub async fn row_018_a_call_that_is_lost_with_its_node_has_one_loss_more(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let mut before = None;
    for count in 1..=3 {
        let began = world.now();
        let call = lost(&world, true).await;
        assert_eq!((call.lost.count, call.attempt), (count, 1));
        let at = call.lost.last.expect("it was noticed");
        assert!(at > began && at <= world.at(1_000) && Some(at) > before, "{at}");
        let after = call.lost.after.expect("it had begun");
        let most = (world.now() - began).to_std().expect("time passes") + Duration::from_secs(1);
        assert!(after >= world.stores.lease && after <= most, "{after:?}");
        before = Some(at);
        give_back(&world).await;
    }
}

/// A call with losses is run when its node says so and not before: a node that dies without having
/// run it acquits it of all but one.
pub async fn row_018_a_node_that_dies_without_running_a_call_acquits_it(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    assert_eq!(lost(&world, true).await.lost.count, 1);
    give_back(&world).await;
    assert_eq!(lost(&world, true).await.lost.count, 2);
    give_back(&world).await;
    for _ in 0..2 {
        let acquitted = lost(&world, false).await;
        assert_eq!((acquitted.lost.count, acquitted.attempt), (1, 1));
        give_back(&world).await;
    }
    assert_eq!(lost(&world, true).await.lost.count, 2);
}

/// An attempt of which one hears leaves no loss, whether it ended the call or not.
pub async fn row_018_a_recorded_attempt_leaves_no_losses(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let call = lost(&world, true).await;
    assert_eq!(call.lost.count, 1);
    assert!(record(&world, &call, again(&world)).await);
    let call = claimed(&world, world.store(), world.node).await;
    assert_eq!(call.lost, Losses::default());
    give_back(&world).await;
    let call = lost(&world, true).await;
    assert_eq!(call.lost.count, 1);
    assert!(record(&world, &call, AttemptOutcome::Ended(CallEnd::Done(raw("1")))).await);
    give_back(&world).await;
    let ended = world.claim_ended(world.second(), world.other).await;
    assert_eq!(ended[0].task.lost, Losses::default());
}

/// What is given back, by a halt or a stop, or comes again to its own node, keeps its losses: it
/// shows nothing.
pub async fn row_018_losses_stay_where_nobody_died_and_nothing_was_recorded(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let losses = lost(&world, true).await.lost;
    give_back(&world).await;
    let call = claimed(&world, world.store(), world.node).await;
    assert_eq!(call.lost, losses);
    assert!(run(world.store(), world.node, &call).await);
    let claim = Claim { reclaim_except: Some(Vec::new()), ..world.claim(world.node, 9) };
    let types = ["Look".to_owned()];
    let calls = world.store().claim_calls(&claim, &types).await.expect("claimed");
    assert_eq!(calls.iter().map(|call| call.lost).collect::<Vec<_>>(), [losses]);
    assert!(run(world.store(), world.node, &calls[0]).await);
    world.store().leave(world.node).await.expect("it leaves");
    assert_eq!(claimed(&world, world.second(), world.other).await.lost, losses);
}

/// A call that is put off comes at its time, for anybody, and that was no attempt; its losses stay.
pub async fn row_018_a_call_that_is_put_off_comes_later_and_keeps_its_losses(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let call = lost(&world, true).await;
    let off = [(call.id, call.claims)];
    let until = world.at(1_500);
    world.store().put_off(world.node, &off, until).await.expect("it is put off");
    assert!(world.claim_calls(world.second(), world.other).await.is_empty());
    world.advance(Duration::from_millis(2_000)).await;
    let next = claimed(&world, world.second(), world.other).await;
    assert_eq!((next.lost, next.attempt, next.claims), (call.lost, 1, call.claims + 1));
    assert_eq!(next.due_at, until);
}

/// Who is late neither runs a call nor puts it off: another claim, another node, an end, no row.
pub async fn row_018_who_is_late_neither_runs_a_call_nor_puts_it_off(stores: Stores) {
    let world = World::new(stores).await;
    asked(&world).await;
    let call = claimed(&world, world.store(), world.node).await;
    let (row, claims) = (call.id, call.claims);
    let wrong = [
        (world.node, row, claims - 1),
        (world.other, row, claims),
        (world.node, RowId(world.id()), 1),
    ];
    for (node, row, claims) in wrong {
        let ran = world.store().run_call(node, row, claims).await.expect("it is answered");
        assert!(!ran);
        let off = [(row, claims)];
        world.store().put_off(node, &off, world.at(-10)).await.expect("it is answered");
    }
    world.store().put_off(world.node, &[], world.at(-10)).await.expect("it is answered");
    assert!(world.claim_calls(world.second(), world.other).await.is_empty());
    assert!(record(&world, &call, AttemptOutcome::Ended(CallEnd::Done(raw("1")))).await);
    assert!(!run(world.store(), world.node, &call).await);
    let off = [(row, claims)];
    world.store().put_off(world.node, &off, world.at(-10)).await.expect("it is answered");
    assert!(world.claim_ended(world.second(), world.other).await.is_empty(), "it stays its own");
}
