//! Crash-watch: what a process that dies while it decides leaves behind, and who is suspected of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use knarr_model::commit::{Again, Slice};
use knarr_model::ids::{InstanceId, MessageId, NodeId, RowId};
use knarr_model::ports::Store;
use knarr_model::ports::crash::{Intent, Record, Suspect, Used};
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, ParkedReason, RowKind};

use super::stores::Stores;
use super::world::{World, raw};
use crate::Steering as _;

const WATCH: Duration = Duration::from_secs(60);

/// Each intent that a case makes is later than the ones before it.
static NUMBER: AtomicU64 = AtomicU64::new(1);

fn intent(world: &World, node: NodeId, lane: u32, messages: &[MessageId]) -> Intent {
    Intent {
        node,
        endpoint: world.endpoint.clone(),
        saga: world.saga.clone(),
        lane,
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
        messages: messages.to_vec(),
        alone: false,
    }
}

fn alone(world: &World, node: NodeId, message: MessageId) -> Intent {
    Intent { alone: true, ..intent(world, node, 0, &[message]) }
}

/// What the case's own node hears when it is about to decide these: who died of each, in the order
/// asked.
async fn suspects(world: &World, messages: &[MessageId]) -> Vec<(MessageId, u32, u32)> {
    let own = intent(world, world.node, 7, messages);
    let mut found = world.store().intend(&own).await.expect("it is answered");
    world.store().came_through(&own, &[]).await.expect("it is answered");
    found.sort_by_key(|suspect| messages.iter().position(|id| *id == suspect.message));
    found.into_iter().map(|Suspect { message, died, open, .. }| (message, died, open)).collect()
}

async fn look(world: &World) -> Vec<Record> {
    look_as(world.store(), world.node).await
}

async fn look_as(store: &Arc<dyn Store>, node: NodeId) -> Vec<Record> {
    store.look_round(node, Record::default(), WATCH).await.expect("it is answered")
}

async fn intends(world: &World, intent: &Intent) -> Vec<Suspect> {
    world.second().intend(intent).await.expect("it is answered")
}

fn ids<const N: usize>(world: &World) -> [MessageId; N] {
    std::array::from_fn(|_| MessageId(world.id()))
}

/// In a quiet world nothing is suspected and nothing is watched, however often a node looks round.
pub async fn nobody_is_suspected_where_nobody_died(stores: Stores) {
    let world = World::new(stores).await;
    let messages = ids::<2>(&world);
    look(&world).await;
    assert_eq!(suspects(&world, &messages).await, []);
    assert_eq!(world.row().await.watched_until, None);
    let loaded = world.load(&[], &[], &messages).await;
    assert_eq!(loaded.endpoint.watched_until, None);
}

/// What a dead node intended is suspected from the time its lease is past and it is buried.
pub async fn row_018_what_a_dead_node_intended_is_suspected_once(stores: Stores) {
    let world = World::new(stores).await;
    let [one, two, other] = ids(&world);
    let mortal = world.mortal().await;
    assert_eq!(intends(&world, &intent(&world, mortal, 3, &[one, two])).await, []);
    world.outlast_lease().await;
    look(&world).await;
    let found = suspects(&world, &[other, two, one]).await;
    assert_eq!(found, [(two, 0, 0), (one, 0, 0)]);
    look(&world).await;
    assert_eq!(suspects(&world, &[one]).await, [(one, 0, 0)], "counted once");
}

/// A death counts against a message that was decided alone, and against no other; deaths add up.
pub async fn row_018_only_a_death_alone_counts_as_one(stores: Stores) {
    let world = World::new(stores).await;
    let [killer, bystander] = ids(&world);
    let before = world.now();
    for deaths in 1..=2 {
        let mortal = world.mortal().await;
        intends(&world, &alone(&world, mortal, killer)).await;
        intends(&world, &intent(&world, mortal, 1, &[bystander])).await;
        world.outlast_lease().await;
        look(&world).await;
        let found = suspects(&world, &[killer, bystander]).await;
        assert_eq!(found, [(killer, deaths, 0), (bystander, 0, 0)]);
    }
    let own = intent(&world, world.node, 7, &[killer, bystander]);
    let mut found = world.store().intend(&own).await.expect("it is answered");
    found.sort_by_key(|suspect| suspect.message != killer);
    assert!(found[0].last.is_some_and(|at| at > before && at < world.now()), "{found:?}");
    assert_eq!(found[1].last, None);
}

/// A node that leaves takes its intents along, and nobody is watched for it.
pub async fn row_018_a_node_that_leaves_has_not_died(stores: Stores) {
    let world = World::new(stores).await;
    let [one] = ids(&world);
    intends(&world, &alone(&world, world.other, one)).await;
    world.second().leave(world.other).await.expect("it leaves");
    look(&world).await;
    assert_eq!(suspects(&world, &[one]).await, []);
    assert_eq!(world.row().await.watched_until, None);
}

/// What was committed before the death is no suspect, whatever the intent says.
pub async fn row_018_what_has_an_outcome_is_not_suspected(stores: Stores) {
    let world = World::new(stores).await;
    let [done, open] = ids(&world);
    let mortal = world.mortal().await;
    intends(&world, &intent(&world, mortal, 0, &[done, open])).await;
    let journal = vec![world.ignored(done, None)];
    world.commit(vec![Slice { journal, ..Slice::default() }]).await;
    world.outlast_lease().await;
    look(&world).await;
    assert_eq!(suspects(&world, &[done, open]).await, [(open, 0, 0)]);
}

/// Who has decided a suspect may die before it can say so: the outcome says it, and the endpoint is
/// watched no longer than after any death.
pub async fn row_018_a_suspect_with_an_outcome_is_forgotten_though_nobody_said_so(stores: Stores) {
    let world = World::new(stores).await;
    let [one] = ids(&world);
    let mortal = world.mortal().await;
    intends(&world, &intent(&world, mortal, 0, &[one])).await;
    world.outlast_lease().await;
    look(&world).await;
    assert_eq!(suspects(&world, &[one]).await, [(one, 0, 0)]);
    let journal = vec![world.ignored(one, None)];
    world.commit(vec![Slice { journal, ..Slice::default() }]).await;
    look(&world).await;
    assert_eq!(suspects(&world, &[one]).await, []);
    let watched = world.row().await.watched_until;
    world.outlast_lease().await;
    look(&world).await;
    assert_eq!(world.row().await.watched_until, watched);
}

/// A suspect that was decided is none any more; the others stay.
pub async fn row_018_what_came_through_is_suspected_no_more(stores: Stores) {
    let world = World::new(stores).await;
    let [one, two] = ids(&world);
    let mortal = world.mortal().await;
    intends(&world, &intent(&world, mortal, 0, &[one, two])).await;
    world.outlast_lease().await;
    look(&world).await;
    let tried = alone(&world, world.other, one);
    intends(&world, &tried).await;
    world.second().came_through(&tried, &[one]).await.expect("it is answered");
    assert_eq!(suspects(&world, &[one, two]).await, [(two, 0, 0)]);
}

/// A message that one node intends and another has in hand was lost by the first: it is a suspect at
/// once, and a try alone is told as open until its node is known to be dead or done with it.
pub async fn row_018_another_nodes_intent_makes_a_suspect_before_anybody_is_dead(stores: Stores) {
    let world = World::new(stores).await;
    let [shared, tried] = ids(&world);
    let batch = intent(&world, world.other, 1, &[shared]);
    intends(&world, &batch).await;
    let lone = alone(&world, world.other, tried);
    intends(&world, &lone).await;
    let found = suspects(&world, &[shared, tried]).await;
    assert_eq!(found, [(shared, 0, 0), (tried, 0, 1)]);
    assert_eq!(intends(&world, &lone).await, [], "its own intent makes no suspect");
    world.second().came_through(&lone, &[tried]).await.expect("it is answered");
    world.second().came_through(&batch, &[]).await.expect("it is answered");
    assert_eq!(suspects(&world, &[shared, tried]).await, []);
}

/// The next intent of a lane takes the place of its last; other lanes and endpoints keep theirs.
pub async fn row_018_a_lane_has_one_intent(stores: Stores) {
    let world = World::new(stores).await;
    let [first, second, beside, foreign] = ids(&world);
    let mortal = world.mortal().await;
    intends(&world, &intent(&world, mortal, 0, &[first])).await;
    intends(&world, &intent(&world, mortal, 1, &[beside])).await;
    intends(&world, &intent(&world, mortal, 0, &[second])).await;
    let elsewhere = Intent { endpoint: "foreign".into(), ..alone(&world, mortal, foreign) };
    intends(&world, &elsewhere).await;
    world.outlast_lease().await;
    look(&world).await;
    let found = suspects(&world, &[first, second, beside, foreign]).await;
    assert_eq!(found, [(second, 0, 0), (beside, 0, 0)]);
    let there = Intent { node: world.node, ..elsewhere };
    let found = world.store().intend(&there).await.expect("it is answered");
    assert_eq!(found.iter().map(|one| (one.message, one.died)).collect::<Vec<_>>(), [(foreign, 1)]);
}

/// An intent whose carrying out is late takes no later one's place, nor comes it back after its
/// lane was done with it.
pub async fn row_018_an_intent_that_comes_late_blames_nobody(stores: Stores) {
    let world = World::new(stores).await;
    let [early, late, done] = ids(&world);
    let mortal = world.mortal().await;
    let (first, second) = (alone(&world, mortal, early), alone(&world, mortal, late));
    intends(&world, &second).await;
    intends(&world, &first).await;
    let before = Intent { lane: 1, ..alone(&world, mortal, done) };
    let over = Intent { number: before.number + 1, ..before.clone() };
    world.second().came_through(&over, &[]).await.expect("it is answered");
    intends(&world, &before).await;
    world.second().came_through(&first, &[]).await.expect("it is answered");
    world.outlast_lease().await;
    look(&world).await;
    assert_eq!(suspects(&world, &[early, late, done]).await, [(late, 1, 0)]);
}

/// Every endpoint is watched from the burial on; a death is told once.
pub async fn row_018_a_death_is_buried_once_and_every_endpoint_is_watched(stores: Stores) {
    let world = World::new(stores).await;
    let second = knarr_model::Name::from("second");
    world.store().endpoint(&second).await.expect("the row is made");
    world.mortal().await;
    look(&world).await;
    assert_eq!(world.row().await.watched_until, None, "it lives");
    world.outlast_lease().await;
    let before = world.now();
    look(&world).await;
    let until = world.row().await.watched_until.expect("it is watched");
    let (least, most) = (before + WATCH, world.at(1_000) + WATCH);
    assert!(until > least - Duration::from_secs(1) && until <= most, "{until} is not {WATCH:?} on");
    let row = world.store().endpoint(&second).await.expect("it is read");
    assert_eq!(row.watched_until, Some(until));
    assert_eq!(world.load(&[], &[], &[]).await.endpoint.watched_until, Some(until));
    world.advance(Duration::from_millis(50)).await;
    look_as(world.second(), world.other).await;
    assert_eq!(world.row().await.watched_until, Some(until), "nobody else died");
    // No verb of the guard changes it.
    let halted = world.store().halt(&world.endpoint).await.expect("it is halted");
    assert_eq!(halted.watched_until, Some(until));
}

/// While it has suspects an endpoint stays watched, one without does not.
pub async fn row_018_an_endpoint_is_watched_as_long_as_it_has_suspects(stores: Stores) {
    let world = World::new(stores).await;
    let [one] = ids(&world);
    let second = knarr_model::Name::from("second");
    world.store().endpoint(&second).await.expect("the row is made");
    let mortal = world.mortal().await;
    let batch = intent(&world, mortal, 0, &[one]);
    intends(&world, &batch).await;
    world.outlast_lease().await;
    look(&world).await;
    let until = world.row().await.watched_until.expect("it is watched");
    world.advance(Duration::from_millis(50)).await;
    look(&world).await;
    let later = world.row().await.watched_until.expect("it is watched");
    assert!(later > until, "{later} is not after {until}");
    let row = world.store().endpoint(&second).await.expect("it is read");
    assert_eq!(row.watched_until, Some(until));
    let own = Intent { node: world.node, ..batch };
    world.store().came_through(&own, &[one]).await.expect("it is answered");
    world.advance(Duration::from_millis(50)).await;
    look(&world).await;
    assert_eq!(world.row().await.watched_until, Some(later), "nothing is suspected any more");
}

/// A node whose own lease is past, or that never joined, buries nobody: perhaps the store was away.
pub async fn a_node_without_a_live_lease_buries_nobody(stores: Stores) {
    let world = World::new(stores).await;
    let [one] = ids(&world);
    let mortal = world.mortal().await;
    intends(&world, &intent(&world, mortal, 0, &[one])).await;
    world.outlast_lease().await;
    for node in [mortal, NodeId(world.id())] {
        look_as(world.second(), node).await;
    }
    assert_eq!(world.row().await.watched_until, None);
    let seen = suspects(&world, &[one]).await;
    assert_eq!(seen, [(one, 0, 0)], "its intent is there still");
    look(&world).await;
    assert!(world.row().await.watched_until.is_some());
}

/// A live node hears how the other live nodes do, as they last told; not itself, not the dead.
pub async fn live_nodes_hear_each_others_records(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let tell = async |store: &Arc<dyn Store>, node, worked, failed| {
        let record = Record { worked, failed };
        store.look_round(node, record, WATCH).await.expect("it is answered")
    };
    assert_eq!(tell(world.store(), world.node, 5, 1).await, [Record::default(); 2]);
    let mut heard = tell(world.second(), mortal, 7, 0).await;
    heard.sort_by_key(|record| record.worked);
    assert_eq!(heard, [Record::default(), Record { worked: 5, failed: 1 }]);
    world.outlast_lease().await;
    tell(world.second(), world.other, 2, 40).await;
    let heard = tell(world.store(), world.node, 6, 1).await;
    assert_eq!(heard, [Record { worked: 2, failed: 40 }]);
    let heard = tell(world.second(), world.other, 2, 40).await;
    assert_eq!(heard, [Record { worked: 6, failed: 1 }]);
    world.second().leave(world.other).await.expect("it leaves");
    assert_eq!(look(&world).await, []);
}

/// Attempts are given back one by one, never below none, and only to what still waits: calls that
/// have not ended, ends and timers and messages that are to be decided again. A miss is no attempt.
pub async fn attempts_are_given_back_where_some_were_used(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let timer = knarr_model::work::Timer { attempt: 2, ..world.timer(id, -1_000) };
    let parked = knarr_model::work::Parked {
        attempt: 2,
        ..world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000))
    };
    let missing = knarr_model::work::Parked {
        attempt: 3,
        ..world.parked(None, 1, ParkedReason::Missing, Some(-1_000))
    };
    let ending = world.call(id, "Look", -2_000);
    let call = knarr_model::work::ActivityTask { attempt: 2, ..world.call(id, "Look", -1_000) };
    let rows = (timer.id, parked.id, missing.id, call.id, ending.id);
    let slice = Slice {
        timers: vec![timer],
        parked: vec![parked, missing],
        tasks: vec![call, ending],
        ..world.aside(id)
    };
    world.commit(vec![slice]).await;
    end_with_attempts(&world, id, rows.4).await;
    let used = [
        Used::Call(rows.3),
        Used::Row(RowKind::Call, rows.4),
        Used::Call(rows.4),
        Used::Row(RowKind::Timer, rows.0),
        Used::Row(RowKind::Parked, rows.1),
        Used::Row(RowKind::Parked, rows.1),
        Used::Row(RowKind::Parked, rows.1),
        Used::Row(RowKind::Parked, rows.2),
        Used::Row(RowKind::Timer, RowId(world.id())),
    ];
    world.store().give_back_attempts(&used).await.expect("they are given back");
    world.store().give_back_attempts(&[]).await.expect("nothing is given back");
    let claim = world.claim(world.other, 9);
    let timers = world.second().claim_timers(&claim).await.expect("timers are claimed");
    assert_eq!(timers[0].attempt, 1);
    let parked = world.second().claim_parked(&claim).await.expect("messages are claimed");
    let attempts = |of| parked.iter().find(|row| row.id == of).map(|row| row.attempt);
    assert_eq!((attempts(rows.1), attempts(rows.2)), (Some(0), Some(3)));
    let calls = world.claim_calls(world.second(), world.other).await;
    assert_eq!(calls.iter().map(|call| (call.id, call.attempt)).collect::<Vec<_>>(), [(rows.3, 2)]);
    let ended = world.claim_ended(world.second(), world.other).await;
    let attempts = ended.iter().map(|end| (end.decide_attempt, end.task.attempt));
    assert_eq!(attempts.collect::<Vec<_>>(), [(1, 1)]);
}

/// The call ends, and deciding its end has failed twice.
async fn end_with_attempts(world: &World, id: InstanceId, row: RowId) {
    let claim = world.claim(world.node, 1);
    let calls = world.store().claim_calls(&claim, &["Look".to_owned()]).await.expect("claimed");
    assert_eq!(calls[0].id, row, "the longest due comes first");
    let outcome = AttemptOutcome::Ended(CallEnd::Done(raw("1")));
    let record = AttemptRecord { task: row, claims: calls[0].claims, outcome };
    world.store().record(world.node, &[record]).await.expect("it is recorded");
    let again = Again {
        row: world.claimed(RowKind::Call, row),
        due_at: Some(world.at(-500)),
        attempt: 2,
        error: None,
        reason: None,
        place: None,
    };
    world.commit(vec![Slice { again: vec![again], ..world.aside(id) }]).await;
}
