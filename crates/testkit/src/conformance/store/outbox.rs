//! The outbox: what was committed is there to be published until it is finished, under its own ids.

use bytes::Bytes;
use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::quarantine::Class;
use knarr_model::work::{Addressing, CHUNK_BYTES, CHUNK_MESSAGES, Chunk, Outgoing};

use super::stores::Stores;
use super::world::{World, every_header, kept};
use crate::Steering as _;

/// Everything that a publisher would see of a chunk.
fn content(chunks: &[Chunk]) -> Vec<(RowId, String)> {
    chunks
        .iter()
        .map(|chunk| {
            let (directory, bodies) = chunk.encode().expect("a chunk can be written");
            (chunk.id, format!("{} {directory} {bodies:?}", chunk.endpoint))
        })
        .collect()
}

fn messages(chunks: &[Chunk]) -> Vec<MessageId> {
    chunks.iter().flat_map(|chunk| &chunk.messages).map(|message| message.id).collect()
}

fn sending(world: &World, id: InstanceId, count: i64) -> Slice {
    let outgoing = (1..=count).map(|n| world.outgoing(id, n)).collect();
    Slice { outgoing, ..world.step(id, 1) }
}

async fn own(world: &World, known: &[RowId]) -> Vec<Chunk> {
    world.store().own_chunks(world.node, known).await.expect("chunks are read")
}

/// The answer to a commit holds, in order, exactly the messages of the slices that were kept; the
/// store holds the same, to the byte.
pub async fn a_chunk_holds_what_the_kept_slices_send(stores: Stores) {
    let world = World::new(stores).await;
    let stale = world.born().await;
    let (one, two) = (InstanceId(world.id()), InstanceId(world.id()));
    let mut plain = Slice { outgoing: vec![world.outgoing(one, 9)], ..Slice::default() };
    plain.outgoing[0].sequence = None;
    let slices =
        vec![sending(&world, two, 2), sending(&world, stale, 3), plain, sending(&world, one, 1)];
    let expected: Vec<_> =
        [0, 2, 3].iter().flat_map(|n| &slices[*n].outgoing).map(|message| message.id).collect();
    let commit = world.commit_of(slices).await;
    let ids = commit.chunk_ids.clone();
    match world.store().commit(commit).await.expect("the commit is answered") {
        CommitOutcome::Committed { lost, chunks } => {
            assert_eq!(lost, [stale]);
            assert_eq!(messages(&chunks), expected);
            assert_eq!(chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), ids[..1]);
            assert_eq!(content(&own(&world, &[]).await), content(&chunks));
        }
        other => panic!("not committed: {other:?}"),
    }
}

/// Chunks hold at most 256 messages and 1 MiB of bodies, in order, each under the next id given.
pub async fn chunks_keep_within_their_bounds(stores: Stores) {
    let world = World::new(stores).await;
    let (many, large) = (InstanceId(world.id()), InstanceId(world.id()));
    let mut slice = sending(&world, many, 600);
    let mut big = sending(&world, large, 3);
    for message in &mut big.outgoing {
        message.body = Bytes::from(vec![7; CHUNK_BYTES * 3 / 5]);
    }
    slice.outgoing.extend(std::mem::take(&mut big.outgoing));
    let expected: Vec<_> = slice.outgoing.iter().map(|message| message.id).collect();
    let commit = world.commit_of(vec![slice, big]).await;
    let ids = commit.chunk_ids.clone();
    let chunks = kept(world.store().commit(commit).await.expect("the commit is answered"));
    let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.messages.len()).collect();
    assert_eq!(sizes, [CHUNK_MESSAGES, CHUNK_MESSAGES, 89, 1, 1]);
    assert_eq!(chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), ids[..5]);
    assert_eq!(messages(&chunks), expected);
    assert_eq!(content(&own(&world, &[]).await), content(&chunks));
}

/// A commit that sends nothing makes no chunk.
pub async fn a_commit_that_sends_nothing_makes_no_chunk(stores: Stores) {
    let world = World::new(stores).await;
    world.born().await;
    assert!(own(&world, &[]).await.is_empty());
}

/// Once its messages are confirmed a chunk's content is gone from the store, and a redelivery of
/// what caused it sends nothing (PE-086, PE-097).
pub async fn pe_086_a_finished_chunk_is_gone_and_a_duplicate_sends_nothing(stores: Stores) {
    let world = World::new(stores).await;
    let slice = sending(&world, InstanceId(world.id()), 2);
    let chunks = world.commit(vec![slice.clone()]).await;
    world.store().finish_chunks(&[chunks[0].id, RowId(world.id())]).await.expect("finished");
    assert!(own(&world, &[]).await.is_empty());
    world.store().finish_chunks(&[chunks[0].id]).await.expect("finishing again is no error");
    let again = Slice { key: Some(InstanceId(world.id())), instance: None, ..slice };
    let outcome = world.try_commit(vec![again]).await;
    assert!(matches!(outcome, CommitOutcome::Duplicates(_)), "{outcome:?}");
    assert!(own(&world, &[]).await.is_empty());
}

/// Finished chunks go with the next commit, also when all its slices are lost; when that commit is
/// refused they stay.
pub async fn finished_chunks_go_with_the_next_commit(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let slice = sending(&world, id, 1);
    let known = slice.journal.clone();
    let first = world.commit(vec![slice]).await[0].id;
    let second = world.commit(vec![sending(&world, InstanceId(world.id()), 1)]).await[0].id;
    let third = world.commit(vec![sending(&world, InstanceId(world.id()), 1)]).await[0].id;
    let finishing = async |chunk, slices| {
        let commit = world.commit_of(slices).await;
        let commit = Commit { finished_chunks: vec![chunk], ..commit };
        world.store().commit(commit).await.expect("the commit is answered")
    };
    let left = || async {
        let chunks = own(&world, &[]).await;
        chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>()
    };
    let refused = finishing(first, vec![Slice { journal: known, ..Slice::default() }]).await;
    assert!(matches!(refused, CommitOutcome::Duplicates(_)), "{refused:?}");
    assert_eq!(left().await, [first, second, third]);
    kept(finishing(first, Vec::new()).await);
    assert_eq!(left().await, [second, third]);
    let lost = super::world::lost(finishing(second, vec![world.step(id, 1)]).await);
    assert_eq!((lost, left().await), (vec![id], vec![third]));
}

/// With nobody publishing, the messages wait in the store; the node that asks for its own finds
/// those it does not know of, oldest first (MT-235).
pub async fn mt_235_a_node_finds_its_own_chunks_that_it_does_not_know(stores: Stores) {
    let world = World::new(stores).await;
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(world.commit(vec![sending(&world, InstanceId(world.id()), 1)]).await[0].id);
    }
    let slice = sending(&world, InstanceId(world.id()), 1);
    let foreign = kept(world.commit_as(world.second(), world.other, vec![slice]).await)[0].id;
    let found: Vec<_> = own(&world, &made[1..2]).await.iter().map(|chunk| chunk.id).collect();
    assert_eq!(found, [made[0], made[2], made[3]]);
    let theirs = world.store().own_chunks(world.other, &[]).await.expect("chunks are read");
    assert_eq!(theirs.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), [foreign]);
}

/// Chunks of a live node are left alone, old or new, idle or not (PE-094, PE-107).
pub async fn pe_094_chunks_of_a_live_node_are_left_alone(stores: Stores) {
    let world = World::new(stores).await;
    let slice = sending(&world, InstanceId(world.id()), 1);
    kept(world.commit_as(world.second(), world.other, vec![slice]).await);
    world.commit(vec![sending(&world, InstanceId(world.id()), 1)]).await;
    world.outlast_lease().await;
    assert!(world.store().take_chunks(world.node, 9).await.expect("answered").is_empty());
    assert!(world.second().take_chunks(world.other, 9).await.expect("answered").is_empty());
}

/// What another node sends for a dead one differs in nothing from what the first would have sent:
/// ids, sequence, destination, headers, priority, expiry, body (PE-089, PE-102, MT-230, MT-231,
/// MT-237, MT-238). Also while the endpoint is halted: what was committed leaves.
pub async fn pe_089_a_successor_sends_exactly_the_same(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let mut slice = sending(&world, InstanceId(world.id()), 4);
    slice.outgoing[1] = Outgoing {
        routing_key: "alpha".to_owned(),
        addressing: Addressing::Queue,
        content_type: "application/json".to_owned(),
        correlation_id: Some(world.id()),
        headers: every_header(),
        expires_at: Some(world.at(9_000_000)),
        priority: Some(3),
        body: Bytes::from_static(&[0, 255, 10, 13]),
        ..slice.outgoing[1].clone()
    };
    slice.outgoing[2].addressing = Addressing::Exchange;
    slice.outgoing[3].addressing = Addressing::Answer;
    let made = kept(world.commit_as(world.second(), mortal, vec![slice]).await);
    world.store().halt(&world.endpoint).await.expect("it halts");
    world.outlast_lease().await;
    let taken = world.store().take_chunks(world.node, 9).await.expect("chunks are taken");
    assert_eq!(content(&taken), content(&made));
    assert_eq!(content(&own(&world, &[]).await), content(&made), "they are this node's now");
    assert!(world.second().take_chunks(world.other, 9).await.expect("answered").is_empty());
    world.store().finish_chunks(&[made[0].id]).await.expect("finished");
    assert!(own(&world, &[]).await.is_empty());
}

/// Two nodes that take over at the same time never get the same chunk.
pub async fn two_nodes_never_take_over_the_same_chunk(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    for _ in 0..20 {
        let slice = sending(&world, InstanceId(world.id()), 1);
        kept(world.commit_as(world.second(), mortal, vec![slice]).await);
    }
    world.second().leave(mortal).await.expect("it leaves");
    let (store, second) = (world.store().clone(), world.second().clone());
    let (node, other) = (world.node, world.other);
    let (one, two) = super::world::at_once(
        async move { store.take_chunks(node, 15).await.expect("chunks are taken") },
        async move { second.take_chunks(other, 15).await.expect("chunks are taken") },
    )
    .await;
    let last = world.store().take_chunks(world.node, 20).await.expect("chunks are taken");
    let mut all: Vec<_> = [one, two, last].concat().iter().map(|chunk| chunk.id).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20);
}

/// A chunk made smaller keeps what is still to go, exactly, and sets the rest aside in the same
/// breath; made empty it is gone (PE-090, PE-091).
pub async fn pe_091_a_message_that_cannot_go_is_set_aside_once(stores: Stores) {
    let world = World::new(stores).await;
    let chunk = world.commit(vec![sending(&world, InstanceId(world.id()), 3)]).await.remove(0);
    let mut aside = world.quarantined(Class::Unroutable);
    aside.message_id = chunk.messages[1].id;
    let left = [chunk.messages[0].clone(), chunk.messages[2].clone()];
    let shrink = |left: Vec<Outgoing>, aside: Vec<knarr_model::Quarantined>| {
        let store = world.store().clone();
        async move { store.shrink_chunk(chunk.id, &left, &aside).await.expect("it shrinks") }
    };
    shrink(left.to_vec(), vec![aside.clone()]).await;
    let stored = own(&world, &[]).await;
    let expected =
        Chunk { id: chunk.id, endpoint: chunk.endpoint.clone(), messages: left.to_vec() };
    assert_eq!(content(&stored), content(&[expected]));
    let found = world.stores.records.quarantined(aside.id).await.expect("it is read");
    assert_eq!(found.map(|row| (row.message_id, row.class)), Some((aside.message_id, aside.class)));
    shrink(Vec::new(), Vec::new()).await;
    assert!(own(&world, &[]).await.is_empty());
}

/// A chunk that is gone was dealt with or withdrawn: made smaller it stays gone, and sets nothing
/// aside.
pub async fn a_chunk_that_is_gone_stays_gone(stores: Stores) {
    let world = World::new(stores).await;
    let chunk = world.commit(vec![sending(&world, InstanceId(world.id()), 2)]).await.remove(0);
    world.store().finish_chunks(&[chunk.id]).await.expect("finished");
    let aside = world.quarantined(Class::Unroutable);
    let left = &chunk.messages[..1];
    let shrunk = world.store().shrink_chunk(chunk.id, left, std::slice::from_ref(&aside)).await;
    shrunk.expect("a gone chunk is no error");
    assert!(own(&world, &[]).await.is_empty());
    let found = world.stores.records.quarantined(aside.id).await.expect("it is read");
    assert!(found.is_none());
}
