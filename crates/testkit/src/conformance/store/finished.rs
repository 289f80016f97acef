//! What retention takes of finished instances: the row, its keys, and in the end its history.

use std::time::Duration;

use knarr_model::commit::{JournalRow, Key, KeyWrite, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::instance::{FINAL, Instance, PURGED};
use knarr_model::work::ParkedReason;
use uuid::Uuid;

use super::stores::Stores;
use super::world::{World, key};
use crate::Steering as _;

/// A slice that makes and finishes an instance in one step.
fn finished(world: &World, id: InstanceId) -> Slice {
    let instance = Instance { state: FINAL.to_owned(), ..world.instance(id, 1) };
    let row = JournalRow { to_state: Some(FINAL.to_owned()), ..world.applied(id, 1) };
    Slice { key: Some(id), instance: Some(instance), journal: vec![row], ..Slice::default() }
}

fn takes(key: &Key, generation: i64, free: bool) -> KeyWrite {
    let by = MessageId(Uuid::from_u128(5));
    KeyWrite { key: key.clone(), generation, free, by, by_start: true }
}

async fn sweep(world: &World, limit: usize) -> u64 {
    let before = world.at(1_000);
    world.store().sweep_finished(before, limit).await.expect("swept")
}

/// Old finished instances go; the living, the young, tombstones and those of which something waits
/// stay. The journal keeps what it has, and the row that finished an instance stays as long as it.
pub async fn the_sweep_takes_old_finished_instances_and_nothing_else(stores: Stores) {
    let world = World::new(stores).await;
    let ids: Vec<_> = (0..4).map(|_| InstanceId(world.id())).collect();
    let [old, purged, waits, young] = ids[..] else { unreachable!("there are four") };
    let live = world.born().await;
    let first = finished(&world, old);
    let message = first.journal[0].message_id;
    world.commit(vec![first]).await;
    world.commit(vec![finished(&world, purged)]).await;
    world.store().purge(&world.endpoint, &world.saga, purged).await.expect("purged");
    let parked = vec![world.parked(Some(waits), 1, ParkedReason::Missing, Some(3_600_000))];
    world.commit(vec![Slice { parked, ..finished(&world, waits) }]).await;
    world.advance(Duration::from_millis(50)).await;
    let cut = world.now();
    world.advance(Duration::from_millis(50)).await;
    world.commit(vec![finished(&world, young)]).await;
    let swept = async || world.store().sweep_finished(cut, 10).await.expect("swept");
    // While it stands, it must be found.
    let later = world.at(60_000);
    let rows = world.store().sweep(later, 100).await.expect("swept");
    assert_eq!(rows, 1, "of the tombstone only");
    assert_eq!(swept().await, 1);
    assert_eq!(swept().await, 0);
    assert!(world.read(old).await.is_none());
    assert_eq!(world.outcomes(&[message]).await.len(), 1, "a copy is still known");
    for (id, state) in [(live, "Waiting"), (purged, PURGED), (waits, FINAL), (young, FINAL)] {
        assert_eq!(world.read(id).await.map(|instance| instance.state).as_deref(), Some(state));
    }
    assert_eq!(world.store().sweep(later, 100).await.expect("swept"), 1);
    assert!(world.outcomes(&[message]).await.is_empty());
}

/// A swept instance's keys may be taken by anybody. One that was used again keeps counting, so that
/// no new owner bears the id of an earlier one; one that has another owner stays that one's.
pub async fn the_keys_of_swept_instances_can_be_taken_again(stores: Stores) {
    let world = World::new(stores).await;
    let (once, again, passed) = (key("k", "once"), key("k", "again"), key("k", "passed"));
    let (before, old, heir) = (world.born().await, InstanceId(world.id()), world.born().await);
    let keys = vec![takes(&again, 1, false)];
    world.commit(vec![Slice { keys, ..world.aside(before) }]).await;
    world.commit(vec![Slice { keys: vec![takes(&again, 1, true)], ..world.aside(before) }]).await;
    let keys = vec![takes(&once, 1, false), takes(&again, 2, false), takes(&passed, 1, false)];
    world.commit(vec![Slice { keys, ..finished(&world, old) }]).await;
    world.commit(vec![Slice { keys: vec![takes(&passed, 1, true)], ..world.aside(old) }]).await;
    world.commit(vec![Slice { keys: vec![takes(&passed, 2, false)], ..world.aside(heir) }]).await;
    assert_eq!(sweep(&world, 10).await, 1);
    assert_eq!(world.key_row(&once).await, None);
    let left = world.key_row(&again).await.expect("it keeps counting");
    assert_eq!((left.generation, left.free), (2, true));
    let left = world.key_row(&passed).await.expect("it is the heir's");
    assert_eq!((left.instance, left.generation, left.free), (heir, 2, false));
    let keys = vec![takes(&once, 1, false), takes(&again, 3, false)];
    world.commit(vec![Slice { keys, ..world.aside(heir) }]).await;
    assert_eq!(world.key_row(&once).await.map(|row| row.instance), Some(heir));
}

/// A sweep takes at most as many as asked for; a late commit for a swept instance is told so and
/// writes nothing.
pub async fn the_sweep_of_instances_goes_in_bounded_steps(stores: Stores) {
    let world = World::new(stores).await;
    let ids: Vec<_> = (0..25).map(|_| InstanceId(world.id())).collect();
    for id in &ids {
        world.commit(vec![finished(&world, *id)]).await;
    }
    for (swept, left) in [(10, 15), (10, 5), (5, 0), (0, 0)] {
        assert_eq!(sweep(&world, 10).await, swept);
        assert_eq!(world.load(&ids, &[], &[]).await.instances.len(), left);
    }
    let late = world.try_commit(vec![world.step(ids[0], 2)]).await;
    let knarr_model::CommitOutcome::Swept(swept) = late else { panic!("{late:?}") };
    assert_eq!(swept, [ids[0]]);
    assert!(world.read(ids[0]).await.is_none());
}
