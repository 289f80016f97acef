//! The reading side: lists, counts and histories, complete and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knarr_model::commit::Slice;
use knarr_model::ids::{InstanceId, MessageId, Name};
use knarr_model::instance::Instance;
use knarr_model::ports::records::{InstanceSummary, PageRequest};
use knarr_model::work::ParkedReason;

use super::stores::Stores;
use super::world::{World, kept};
use crate::Steering as _;

fn in_state(world: &World, id: InstanceId, version: i64, state: &str) -> Slice {
    let instance = Instance { state: state.to_owned(), ..world.instance(id, version) };
    Slice { instance: Some(instance), ..world.step(id, version) }
}

async fn pages(world: &World, saga: &Name, state: Option<&str>) -> Vec<InstanceSummary> {
    let mut found: Vec<InstanceSummary> = Vec::new();
    let mut cursor = None;
    loop {
        let page = PageRequest { limit: 7, cursor };
        let read = world.stores.records.instances(saga, state, &page).await.expect("listed");
        assert!(read.items.len() <= 7);
        found.extend(read.items);
        cursor = read.next;
        if cursor.is_none() {
            return found;
        }
        assert!(found.len() < 200, "the pages do not end");
    }
}

/// A saga without instances has an empty list, and no state has a count (PE-126).
pub async fn pe_126_lists_of_nothing_are_empty(stores: Stores) {
    let world = World::new(stores).await;
    assert!(pages(&world, &world.saga, None).await.is_empty());
    assert!(world.stores.records.counts().await.expect("counted").is_empty());
    let quarantined = world.stores.records.quarantined(world.id()).await.expect("read");
    assert!(quarantined.is_none());
}

/// Pages cover all instances of a saga exactly once, also many written in one commit; with a state,
/// those in it.
pub async fn pages_cover_all_instances_once(stores: Stores) {
    let world = World::new(stores).await;
    let ids: Vec<_> = (0..40).map(|_| InstanceId(world.id())).collect();
    for ids in ids.chunks(20) {
        let slices = ids
            .iter()
            .enumerate()
            .map(|(n, id)| in_state(&world, *id, 1, if n % 4 == 0 { "Paid" } else { "Waiting" }));
        world.commit(slices.collect()).await;
    }
    let mut foreign = in_state(&world, InstanceId(world.id()), 1, "Paid");
    if let Some(instance) = &mut foreign.instance {
        instance.saga = "billing".into();
    }
    let mut commit = world.commit_of(vec![foreign]).await;
    commit.saga = "billing".into();
    kept(world.store().commit(commit).await.expect("answered"));

    let all = pages(&world, &world.saga, None).await;
    let mut found: Vec<_> = all.iter().map(|row| row.id).collect();
    found.sort();
    assert_eq!(found, ids);
    assert!(all.is_sorted_by(|one, two| one.updated_at >= two.updated_at), "newest change first");
    let paid = pages(&world, &world.saga, Some("Paid")).await;
    assert_eq!(paid.len(), 10);
    assert!(paid.iter().all(|row| row.state == "Paid" && row.saga == world.saga));
    assert!(pages(&world, &world.saga, Some("paid")).await.is_empty());
    let counts = world.stores.records.counts().await.expect("counted");
    let counts: BTreeMap<_, _> =
        counts.iter().map(|count| ((&*count.saga, count.state.as_str()), count.count)).collect();
    let expected = [(("billing", "Paid"), 1), (("order", "Paid"), 10), (("order", "Waiting"), 30)];
    assert_eq!(counts, BTreeMap::from(expected));
}

/// The instance changed last is the first in the list, with what it was last written as.
pub async fn the_instance_changed_last_is_listed_first(stores: Stores) {
    let world = World::new(stores).await;
    let (one, two) = (world.born().await, world.born().await);
    world.advance(Duration::from_millis(20)).await;
    let before = world.at(-10);
    world.commit(vec![in_state(&world, one, 2, "Paid")]).await;
    let listed = pages(&world, &world.saga, None).await;
    assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [one, two]);
    let first = &listed[0];
    assert_eq!((first.state.as_str(), first.version, first.run), ("Paid", 2, 1));
    assert!(first.updated_at >= before && listed[1].updated_at < first.updated_at);
    let detail = world.stores.records.instance(&world.saga, one).await.expect("it is read");
    assert_eq!(detail.map(|detail| detail.updated_at), Some(first.updated_at));
}

/// An instance's history has everything that was decided for it, oldest first, also what changed
/// nothing, and nothing of other instances or sagas.
pub async fn a_history_is_whole_and_oldest_first(stores: Stores) {
    let world = World::new(stores).await;
    let (id, other) = (InstanceId(world.id()), world.born().await);
    let mut expected = Vec::new();
    for version in 1..=3 {
        let step = world.step(id, version);
        expected.push(step.journal[0].message_id);
        world.commit(vec![step]).await;
        world.advance(Duration::from_millis(5)).await;
        let row = world.ignored(MessageId(world.id()), Some(id));
        expected.push(row.message_id);
        world.commit(vec![Slice { journal: vec![row], ..world.aside(id) }]).await;
        world.advance(Duration::from_millis(5)).await;
    }
    world.commit(vec![world.step(other, 2)]).await;
    let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
    let rows = detail.map(|detail| detail.journal).unwrap_or_default();
    let found: Vec<_> = rows.iter().map(|row| row.message_id).collect();
    assert_eq!(found, expected);
    let foreign = world.stores.records.instance(&"billing".into(), id).await;
    assert!(foreign.expect("it is read").is_none());
}

/// All endpoints are listed as they stand.
pub async fn endpoints_are_listed_as_they_stand(stores: Stores) {
    let world = World::new(stores).await;
    let halted = world.store().halt(&"billing".into()).await;
    let halted = match halted {
        Ok(row) => row,
        Err(error) => panic!("an endpoint that is halted before it is made is made: {error}"),
    };
    let mut listed = world.stores.records.endpoints().await.expect("listed");
    listed.sort_by(|one, two| one.name.cmp(&two.name));
    assert_eq!(listed, [halted, world.row().await]);
}

/// An instance spoilt by hand is named with what is wrong; its neighbours in the same load, what
/// waits, and lists are as they were, and neighbours are written.
pub async fn pe_098_a_spoilt_instance_does_not_hide_its_neighbours(stores: Stores) {
    let Some(corrupt) = stores.corrupt_instance.clone() else { return };
    let world = World::new(stores).await;
    let (first, spoilt, last) = (world.born().await, world.born().await, world.born().await);
    let waiting = world.parked(Some(spoilt), 1, ParkedReason::Retry, Some(3_600_000));
    world.commit(vec![Slice { parked: vec![waiting], ..world.aside(spoilt) }]).await;
    corrupt((world.saga.clone(), spoilt)).await;
    let loaded = world.load(&[first, spoilt, last], &[], &[]).await;
    assert_eq!(loaded.instances.keys().copied().collect::<BTreeSet<_>>(), [first, last].into());
    let (id, reason) = loaded.unreadable.first_key_value().expect("it is named");
    assert_eq!((*id, loaded.unreadable.len()), (spoilt, 1));
    assert!(!reason.is_empty());
    assert_eq!(loaded.waiting.get(&spoilt).map(|waiting| waiting.rows), Some(1));
    world.commit(vec![world.step(first, 2), world.step(last, 2)]).await;
    assert_eq!((world.version(first).await, world.version(last).await), (2, 2));
    let page = PageRequest { limit: 10, cursor: None };
    let listed = world.stores.records.instances(&world.saga, None, &page).await.expect("the list");
    assert!(listed.items.iter().any(|item| item.id == first));
    assert!(listed.items.iter().any(|item| item.id == last));
}
