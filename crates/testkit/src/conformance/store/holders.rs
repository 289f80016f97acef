//! Endpoints that one node at a time may serve: who holds one, and that nobody else commits to it.

use knarr_model::commit::{Commit, CommitOutcome};
use knarr_model::ids::{InstanceId, Name, NodeId};

use super::stores::Stores;
use super::world::{World, at_once, kept};

/// The first live node that asks gets the endpoint and keeps it; others learn whose it is, from
/// every side. An endpoint that nobody asked for is nobody's, and one is not the other.
pub async fn pe_259_an_endpoint_is_held_by_one_live_node(stores: Stores) {
    let world = World::new(stores).await;
    assert_eq!(world.row().await.holder, None);
    for _ in 0..3 {
        let row = world.store().hold(&world.endpoint, world.node).await.expect("answered");
        assert_eq!(row, world.row().await);
        let theirs = world.second().hold(&world.endpoint, world.other).await.expect("answered");
        assert_eq!(theirs.holder, Some(world.node));
    }
    let loaded = world.load(&[], &[], &[]).await;
    assert_eq!(loaded.endpoint.holder, Some(world.node));
    let listed = world.stores.records.endpoints().await.expect("the list");
    assert_eq!(listed, [world.row().await]);
    let fresh = Name::from("fresh");
    let row = world.second().hold(&fresh, world.other).await.expect("answered");
    assert_eq!((row.holder, row.epoch), (Some(world.other), world.row().await.epoch));
}

/// Of two nodes that ask at once one gets it, and both hear which.
pub async fn pe_259_of_two_that_ask_at_once_one_gets_it(stores: Stores) {
    let world = World::new(stores).await;
    for n in 0..20 {
        let name = Name::from(format!("endpoint-{n}"));
        let (store, second) = (world.store().clone(), world.second().clone());
        let (one, two) = (name.clone(), name.clone());
        let (node, other) = (world.node, world.other);
        let (one, two) = at_once(async move { store.hold(&one, node).await }, async move {
            second.hold(&two, other).await
        })
        .await;
        one.expect("answered");
        two.expect("answered");
        let after = world.store().endpoint(&name).await.expect("the row is read");
        assert!([Some(node), Some(other)].contains(&after.holder), "{after:?}");
        for (store, node) in [(world.store(), node), (world.second(), other)] {
            assert_eq!(store.hold(&name, node).await.expect("answered"), after);
        }
    }
}

/// A node that stops lets go at once; one that dies keeps the endpoint until its lease is past and
/// no longer; one that never joined, or is dead itself, gets nothing.
pub async fn pe_259_a_survivor_takes_an_endpoint_over(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let hold = async |node| {
        let row = world.store().hold(&world.endpoint, node).await.expect("answered");
        row.holder
    };
    assert_eq!(hold(NodeId(world.id())).await, None, "a stranger");
    assert_eq!(hold(mortal).await, Some(mortal));
    assert_eq!(hold(world.other).await, Some(mortal), "its lease runs");
    world.outlast_lease().await;
    assert_eq!(hold(mortal).await, Some(mortal), "nobody else wanted it");
    assert_eq!(hold(world.other).await, Some(world.other));
    assert_eq!(hold(mortal).await, Some(world.other), "it is dead");
    world.second().leave(world.other).await.expect("it leaves");
    assert_eq!(world.row().await.holder, None);
    assert_eq!(hold(world.node).await, Some(world.node));
}

/// Statement (b): what another node than the holder decided is not written, also when nobody holds
/// the endpoint; an endpoint that is not ordered does not ask.
pub async fn pe_265_only_the_holder_commits_to_an_ordered_endpoint(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let plain = world.commit_of(vec![world.step(id, 1)]).await;
    let ordered = Commit { ordered: true, ..plain.clone() };
    let commit = |commit: Commit| async { world.store().commit(commit).await.expect("answered") };
    let fenced = |outcome: &CommitOutcome| matches!(outcome, CommitOutcome::Fenced);
    assert!(fenced(&commit(ordered.clone()).await), "nobody holds it");
    world.second().hold(&world.endpoint, world.other).await.expect("answered");
    assert!(fenced(&commit(ordered.clone()).await), "another node holds it");
    assert_eq!(world.version(id).await, 0, "fenced commits write nothing");
    assert!(world.outcomes(&[ordered.slices[0].journal[0].message_id]).await.is_empty());
    kept(commit(plain).await);
    world.second().leave(world.other).await.expect("it leaves");
    world.store().hold(&world.endpoint, world.node).await.expect("answered");
    let next = world.commit_of(vec![world.step(id, 2)]).await;
    kept(commit(Commit { ordered: true, ..next }).await);
    assert_eq!(world.version(id).await, 2);
}

/// Commits of two nodes while the endpoint passes from one to the other: once the new holder has
/// it, nothing of the old one is written any more.
pub async fn pe_265_nothing_of_the_last_holder_commits_after_a_take_over(stores: Stores) {
    let world = World::new(stores).await;
    for _ in 0..10 {
        let (old, new) = (NodeId(world.id()), NodeId(world.id()));
        for node in [old, new] {
            world.store().join(node, super::world::LONG_LEASE).await.expect("it joins");
        }
        world.store().hold(&world.endpoint, old).await.expect("answered");
        let ids: Vec<_> = (0..20).map(|_| InstanceId(world.id())).collect();
        let mut commits = Vec::new();
        for id in &ids {
            let commit = world.commit_of(vec![world.step(*id, 1)]).await;
            commits.push(Commit { node: old, ordered: true, ..commit });
        }
        let (store, second) = (world.store().clone(), world.second().clone());
        let (reader, saga, endpoint) =
            (world.second().clone(), world.saga.clone(), world.endpoint.clone());
        let asked = ids.clone();
        let (_, seen) = at_once(
            async move {
                for commit in commits {
                    store.commit(commit).await.expect("answered");
                }
                0
            },
            async move {
                second.leave(old).await.expect("it leaves");
                let row = second.hold(&endpoint, new).await.expect("answered");
                assert_eq!(row.holder, Some(new));
                let load = knarr_model::ports::store::Load {
                    endpoint,
                    saga,
                    instances: asked,
                    keys: Vec::new(),
                    messages: Vec::new(),
                };
                reader.load(load).await.expect("the load is answered").instances.len()
            },
        )
        .await;
        assert_eq!(world.load(&ids, &[], &[]).await.instances.len(), seen);
        world.store().leave(new).await.expect("it leaves");
    }
}
