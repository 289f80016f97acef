//! Claims are numbered: what was decided under an earlier one comes too late.

use chrono::{DateTime, Utc};
use knarr_model::InstanceId;
use knarr_model::commit::{Again, CommitOutcome, Slice};
use knarr_model::work::{
    AttemptOutcome, AttemptRecord, CallEnd, ClaimedRow, ParkedReason, RowKind,
};

use super::stores::Stores;
use super::world::{World, raw};

/// One due row of each kind of internal delivery, claimed by the case's node, who lets go of them
/// and claims them once more: under the first claim, and under the second.
async fn claimed_twice(world: &World, id: InstanceId) -> [[ClaimedRow; 3]; 2] {
    let timer = world.timer(id, -1_000);
    let parked = world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000));
    let call = world.call(id, "Look", -1_000);
    let ids = [timer.id, parked.id, call.id];
    let (timers, parked, tasks) = (vec![timer], vec![parked], vec![call]);
    world.commit(vec![Slice { timers, parked, tasks, ..world.aside(id) }]).await;
    let task = world.claim_calls(world.store(), world.node).await.remove(0);
    let outcome = AttemptOutcome::Ended(CallEnd::Done(raw("1")));
    let record = AttemptRecord { task: task.id, claims: task.claims, outcome };
    let taken = world.store().record(world.node, &[record]).await.expect("it is recorded");
    assert_eq!(taken, [true]);
    world.store().give_back(world.node, &world.endpoint).await.expect("given back");
    let claim = async || {
        assert_eq!(world.claim_timers(world.store(), world.node).await, [ids[0]]);
        assert_eq!(world.claim_parked(world.store(), world.node).await, [ids[1]]);
        assert_eq!(world.claim_ended(world.store(), world.node).await.len(), 1);
        [
            world.claimed(RowKind::Timer, ids[0]),
            world.claimed(RowKind::Parked, ids[1]),
            world.claimed(RowKind::Call, ids[2]),
        ]
    };
    let first = claim().await;
    world.store().give_back(world.node, &world.endpoint).await.expect("given back");
    let second = claim().await;
    [first, second]
}

fn again(row: ClaimedRow, due_at: DateTime<Utc>) -> Again {
    let reason = (row.kind == RowKind::Parked).then_some(ParkedReason::Retry);
    Again { row, due_at: Some(due_at), attempt: 1, error: None, reason, place: None }
}

/// A commit that is carried out late finds its rows claimed by its own node once more: it writes
/// nothing, for it was decided under an earlier claim.
pub async fn a_commit_decided_under_an_earlier_claim_writes_nothing(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let [first, second] = claimed_twice(&world, id).await;
    for (old, new) in first.into_iter().zip(second) {
        assert!(new.claims > old.claims, "{old:?}, {new:?}");
        for slice in [
            Slice { taken: vec![old], ..world.aside(id) },
            Slice { again: vec![again(old, world.at(-500))], ..world.aside(id) },
        ] {
            let outcome = world.commit_as(world.store(), world.node, vec![slice]).await;
            assert!(
                matches!(&outcome, CommitOutcome::Gone(ids) if *ids == [old.id]),
                "{outcome:?}"
            );
        }
        let slice = Slice { again: vec![again(new, world.at(-500))], ..world.aside(id) };
        world.commit(vec![slice]).await;
    }
    assert_eq!(world.claim_timers(world.store(), world.node).await, [first[0].id]);
    assert_eq!(world.claim_parked(world.store(), world.node).await, [first[1].id]);
    assert_eq!(world.claim_ended(world.store(), world.node).await.len(), 1);
    for old in second {
        let new = world.claimed(old.kind, old.id);
        let slice = |row| Slice { taken: vec![row], ..world.aside(id) };
        let outcome = world.commit_as(world.store(), world.node, vec![slice(old)]).await;
        assert!(matches!(&outcome, CommitOutcome::Gone(ids) if *ids == [old.id]), "{outcome:?}");
        world.commit(vec![slice(new)]).await;
    }
}
