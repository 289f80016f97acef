//! Nodes and their leases: what a dead node held is taken over, what a live one holds is not.

use std::collections::BTreeSet;

use knarr_model::commit::{CommitOutcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, NodeId, RowId};
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, Claim, ParkedReason, RowKind};

use super::stores::Stores;
use super::world::{LONG_LEASE, World, kept, raw};

/// One due row of each kind that a node can claim, and an ended call.
struct Due {
    id: InstanceId,
    timer: RowId,
    parked: RowId,
    call: RowId,
    ended: RowId,
}

/// Makes one due row of each kind and lets `node` claim them all.
async fn held_by(world: &World, node: NodeId) -> Due {
    let id = world.born().await;
    let timer = world.timer(id, -1_000);
    let parked = world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000));
    let (call, ending) = (world.call(id, "Look", -1_000), world.call(id, "Look", -2_000));
    let due = Due { id, timer: timer.id, parked: parked.id, call: call.id, ended: ending.id };
    let (timers, tasks, parked) = (vec![timer], vec![call, ending], vec![parked]);
    world.commit(vec![Slice { timers, tasks, parked, ..world.aside(id) }]).await;
    assert_eq!(world.claim_timers(world.second(), node).await, [due.timer]);
    assert_eq!(world.claim_parked(world.second(), node).await, [due.parked]);
    let calls = world.claim_calls(world.second(), node).await;
    assert_eq!(calls.iter().map(|call| call.id).collect::<Vec<_>>(), [due.ended, due.call]);
    let record = AttemptRecord {
        task: due.ended,
        claims: calls[0].claims,
        outcome: AttemptOutcome::Ended(CallEnd::Done(raw("1"))),
    };
    let taken = world.second().record(node, &[record]).await.expect("it is recorded");
    assert_eq!(taken, [true]);
    due
}

/// What the case's own node can claim now: timers, parked messages, calls, ended calls.
async fn claimable(world: &World) -> [Vec<RowId>; 4] {
    let calls = world.claim_calls(world.store(), world.node).await;
    let ended = world.claim_ended(world.store(), world.node).await;
    [
        world.claim_timers(world.store(), world.node).await,
        world.claim_parked(world.store(), world.node).await,
        calls.iter().map(|call| call.id).collect(),
        ended.iter().map(|ended| ended.task.id).collect(),
    ]
}

fn all(due: &Due) -> [Vec<RowId>; 4] {
    [vec![due.timer], vec![due.parked], vec![due.call], vec![due.ended]]
}

const NOTHING: [Vec<RowId>; 4] = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];

/// Puts a chunk into the outbox for `node` and returns its row.
async fn chunk_of(world: &World, node: NodeId) -> RowId {
    let id = InstanceId(world.id());
    let outgoing = vec![world.outgoing(id, 1)];
    let step = Slice { outgoing, ..world.step(id, 1) };
    kept(world.commit_as(world.second(), node, vec![step]).await)[0].id
}

/// A node that leaves is gone at once: its claims are everybody's, its chunks are taken over, and
/// its lease cannot be renewed (PE-249).
pub async fn pe_249_a_node_that_leaves_gives_everything_back_at_once(stores: Stores) {
    let world = World::new(stores).await;
    let due = held_by(&world, world.other).await;
    let chunk = chunk_of(&world, world.other).await;
    assert_eq!(claimable(&world).await, NOTHING);
    assert!(world.store().take_chunks(world.node, 9).await.expect("answered").is_empty());
    world.second().leave(world.other).await.expect("it leaves");
    assert_eq!(claimable(&world).await, all(&due));
    let chunks = world.store().take_chunks(world.node, 9).await.expect("chunks are taken");
    assert_eq!(chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), [chunk]);
    assert!(!world.second().renew(world.other, LONG_LEASE).await.expect("it is answered"));
    let slice = world.taking(due.id, &[(RowKind::Timer, due.timer)]);
    let outcome = world.commit_as(world.second(), world.other, vec![slice]).await;
    assert!(matches!(outcome, CommitOutcome::Gone(_)), "{outcome:?}");
}

/// A lease that is past cannot be renewed; the node comes back under a new id (PE-250).
pub async fn pe_250_a_past_lease_cannot_be_renewed(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    assert!(world.second().renew(mortal, world.stores.lease).await.expect("it is answered"));
    world.outlast_lease().await;
    assert!(!world.second().renew(mortal, LONG_LEASE).await.expect("it is answered"));
    assert!(!world.second().renew(NodeId(world.id()), LONG_LEASE).await.expect("answered"));
    let reborn = NodeId(world.id());
    world.second().join(reborn, LONG_LEASE).await.expect("it joins");
    assert!(world.second().renew(reborn, LONG_LEASE).await.expect("it is answered"));
    assert!(world.store().renew(world.node, LONG_LEASE).await.expect("others go on"));
}

/// What a node holds is taken over once its lease is past, and not before; what it still commits
/// on then is gone (PE-251).
pub async fn pe_251_a_dead_nodes_rows_are_taken_over_after_its_lease(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let due = held_by(&world, mortal).await;
    assert!(world.second().renew(mortal, world.stores.lease).await.expect("it is answered"));
    assert_eq!(claimable(&world).await, NOTHING, "only a lease in the past counts");
    world.outlast_lease().await;
    assert_eq!(claimable(&world).await, all(&due));
    let rows =
        [(RowKind::Timer, due.timer), (RowKind::Parked, due.parked), (RowKind::Call, due.ended)];
    for row in rows {
        let slice = world.taking(due.id, &[row]);
        let outcome = world.commit_as(world.second(), mortal, vec![slice]).await;
        assert!(matches!(&outcome, CommitOutcome::Gone(ids) if *ids == [row.1]), "{outcome:?}");
    }
    world.commit(vec![world.taking(due.id, &rows)]).await;
}

/// Renewed in time, a lease goes on: nothing is taken from a node that renews, however long it
/// lives (PE-251).
pub async fn pe_251_a_renewed_lease_goes_on(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    held_by(&world, mortal).await;
    for _ in 0..4 {
        world.advance(world.stores.lease * 2 / 5).await;
        assert!(world.second().renew(mortal, world.stores.lease).await.expect("it is answered"));
    }
    assert_eq!(claimable(&world).await, NOTHING);
}

/// A node whose lease is past has lost its rows only when somebody takes them: what it still holds
/// it may commit, once.
pub async fn what_nobody_took_over_is_still_the_nodes_own(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let due = held_by(&world, mortal).await;
    world.outlast_lease().await;
    let slice = world.taking(due.id, &[(RowKind::Timer, due.timer)]);
    kept(world.commit_as(world.second(), mortal, vec![slice]).await);
    assert!(claimable(&world).await[0].is_empty());
}

/// Only a node with a live lease claims or takes over: one that never joined, or whose lease is
/// past, gets nothing (an empty list of live nodes means that the store was away, never that all
/// are dead).
pub async fn a_node_without_a_live_lease_claims_nothing(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    world.second().leave(world.other).await.expect("it leaves");
    chunk_of(&world, world.other).await;
    let id = world.born().await;
    let timers = vec![world.timer(id, -1_000)];
    let tasks = vec![world.call(id, "Look", -1_000)];
    let parked = vec![world.parked(None, 1, ParkedReason::Retry, Some(-1_000))];
    world.commit(vec![Slice { timers, tasks, parked, ..world.aside(id) }]).await;
    world.outlast_lease().await;
    for node in [mortal, world.other, NodeId(world.id())] {
        let store = world.second();
        assert!(world.claim_timers(store, node).await.is_empty());
        assert!(world.claim_parked(store, node).await.is_empty());
        assert!(world.claim_calls(store, node).await.is_empty());
        assert!(store.take_chunks(node, 9).await.expect("it is answered").is_empty());
    }
    assert_eq!(claimable(&world).await.map(|rows| rows.len()), [1, 1, 1, 0]);
    assert_eq!(world.store().take_chunks(world.node, 9).await.expect("taken").len(), 1);
}

/// A node that joined a moment ago keeps its rows, whatever others knew before; a dead node with a
/// higher id is still cleared (PE-253).
pub async fn pe_253_a_newcomer_keeps_its_rows(stores: Stores) {
    let world = World::new(stores).await;
    let dead = world.mortal().await;
    let lost = chunk_of(&world, dead).await;
    world.outlast_lease().await;
    assert!(world.store().renew(world.node, LONG_LEASE).await.expect("it is answered"));
    let newcomer = NodeId(uuid::Uuid::from_u128(1));
    world.second().join(newcomer, LONG_LEASE).await.expect("it joins");
    let kept = chunk_of(&world, newcomer).await;
    let due = held_by(&world, newcomer).await;
    let chunks = world.store().take_chunks(world.node, 9).await.expect("chunks are taken");
    assert_eq!(chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), [lost]);
    assert_eq!(claimable(&world).await, NOTHING);
    let own = world.second().own_chunks(newcomer, &[]).await.expect("chunks are read");
    assert_eq!(own.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), [kept]);
    let slice = world.taking(due.id, &[(RowKind::Timer, due.timer)]);
    super::world::kept(world.commit_as(world.second(), newcomer, vec![slice]).await);
}

/// Many rows of a dead node are taken over in rounds of the size asked for until all are done;
/// rows of live nodes are untouched (PE-254).
pub async fn pe_254_take_over_goes_in_bounded_rounds(stores: Stores) {
    const ROWS: usize = 60;
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let id = world.born().await;
    let timers: Vec<_> = (0..ROWS).map(|_| world.timer(id, -1_000)).collect();
    let expected: BTreeSet<_> = timers.iter().map(|timer| timer.id).collect();
    world.commit(vec![Slice { timers, ..world.aside(id) }]).await;
    assert_eq!(world.claim_timers(world.second(), mortal).await.len(), ROWS);
    let mut chunks = Vec::new();
    for _ in 0..7 {
        chunks.push(chunk_of(&world, mortal).await);
    }
    let live = world.timer(id, -1_000);
    let foreign = live.id;
    world.commit(vec![Slice { timers: vec![live], ..world.aside(id) }]).await;
    assert_eq!(world.claim_timers(world.second(), world.other).await, [foreign]);
    world.outlast_lease().await;
    let mut taken = BTreeSet::new();
    loop {
        let rows = world.store().claim_timers(&world.claim(world.node, 25)).await.expect("claimed");
        assert!(rows.len() <= 25);
        if rows.is_empty() {
            break;
        }
        taken.extend(rows.into_iter().map(|timer| timer.id));
    }
    assert_eq!(taken, expected);
    let mut found = Vec::new();
    for size in [3, 3, 1, 0] {
        let rows = world.store().take_chunks(world.node, 3).await.expect("chunks are taken");
        assert_eq!(rows.len(), size);
        found.extend(rows.into_iter().map(|chunk| chunk.id));
    }
    assert_eq!(found, chunks, "oldest first");
}

/// A node gives back what it holds of one endpoint and keeps what it holds of others.
pub async fn a_node_gives_back_the_rows_of_one_endpoint(stores: Stores) {
    let world = World::new(stores).await;
    let due = held_by(&world, world.other).await;
    let foreign = knarr_model::Name::from("foreign");
    world.store().endpoint(&foreign).await.expect("the row is made");
    let timer =
        knarr_model::work::Timer { endpoint: foreign.clone(), ..world.timer(due.id, -1_000) };
    let kept_row = timer.id;
    world.commit(vec![Slice { timers: vec![timer], ..world.aside(due.id) }]).await;
    let claim = Claim { endpoints: vec![foreign.clone()], ..world.claim(world.other, 9) };
    assert_eq!(world.second().claim_timers(&claim).await.expect("claimed").len(), 1);
    world.second().give_back(world.other, &world.endpoint).await.expect("it is given back");
    assert_eq!(claimable(&world).await, all(&due));
    let own = Claim { endpoints: vec![foreign], ..world.claim(world.node, 9) };
    assert!(world.store().claim_timers(&own).await.expect("claimed").is_empty());
    let slice = world.taking(due.id, &[(RowKind::Timer, kept_row)]);
    kept(world.commit_as(world.second(), world.other, vec![slice]).await);
    // Given back by another node, or again, nothing changes.
    world.second().give_back(world.other, &world.endpoint).await.expect("it is given back");
    world.commit(vec![world.taking(due.id, &[(RowKind::Timer, due.timer)])]).await;
}

/// Joining twice under one id, after a lost answer, is joining once.
pub async fn joining_twice_is_joining_once(stores: Stores) {
    let world = World::new(stores).await;
    world.store().join(world.node, LONG_LEASE).await.expect("it joins again");
    let id = world.born().await;
    let timer = world.timer(id, -1_000);
    let row = timer.id;
    world.commit(vec![Slice { timers: vec![timer], ..world.aside(id) }]).await;
    assert_eq!(world.claim_timers(world.store(), world.node).await, [row]);
    let journal = vec![world.ignored(MessageId(row.0), Some(id))];
    world.commit(vec![Slice { journal, ..world.taking(id, &[(RowKind::Timer, row)]) }]).await;
}
