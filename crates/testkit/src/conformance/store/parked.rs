//! Parked messages: in order behind their head, none lost, none overtaken.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::commit::{Again, CommitOutcome, JournalRow, Outcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::ports::store::Waiting;
use knarr_model::work::{Claim, Parked, ParkedReason, RowKind};

use super::stores::Stores;
use super::world::{World, at_once, kept};

use ParkedReason::{Deferred, Held, Missing, Retry, Suspect};

const PAST: Option<i64> = Some(-1_000);
const LATER: Option<i64> = Some(3_600_000);

fn ids(rows: &[Parked]) -> Vec<RowId> {
    rows.iter().map(|row| row.id).collect()
}

fn parking(world: &World, id: InstanceId, parked: Vec<Parked>) -> Slice {
    Slice { parked, ..world.aside(id) }
}

/// Parks rows of `id`, one for each reason and due time, in this order, and returns their ids.
async fn park(world: &World, id: InstanceId, rows: &[(ParkedReason, Option<i64>)]) -> Vec<RowId> {
    // Made and written last to first: the order is that of `seq`, not of ids or of writing.
    let mut parked = Vec::new();
    for (seq, (reason, millis)) in (1..).zip(rows).collect::<Vec<_>>().into_iter().rev() {
        parked.push(world.parked(Some(id), seq, *reason, *millis));
    }
    let found = parked.iter().rev().map(|row| row.id).collect();
    world.commit(vec![parking(world, id, parked)]).await;
    found
}

fn again(
    world: &World,
    row: RowId,
    due_at: Option<DateTime<Utc>>,
    attempt: u32,
    reason: ParkedReason,
) -> Again {
    let error = Some(format!("failure {attempt}"));
    let row = world.claimed(RowKind::Parked, row);
    Again { row, due_at, attempt, error, reason: Some(reason), place: None }
}

async fn claim(world: &World) -> Vec<RowId> {
    world.claim_parked(world.store(), world.node).await
}

async fn waiting(world: &World, id: InstanceId) -> Option<Waiting> {
    world.load(&[id], &[], &[]).await.waiting.remove(&id)
}

/// A parked message is known by its id and digest, in its saga alone, until its outcome is final;
/// then the journal knows it.
pub async fn a_parked_message_is_known_until_its_outcome_is_final(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let row = world.parked(Some(id), 1, Retry, PAST);
    let (message, digest, place) = (row.message_id, row.digest, row.id);
    world.commit(vec![parking(&world, id, vec![row])]).await;
    let loaded = world.load(&[], &[], &[message]).await;
    assert_eq!(loaded.parked.get(&message), Some(&(digest, place)));
    assert!(loaded.journal.is_empty());
    let foreign = world.load_of(&"billing".into(), &[id], &[], &[message]).await;
    assert!(foreign.parked.is_empty() && foreign.waiting.is_empty());
    assert_eq!(claim(&world).await, [place]);
    let row = JournalRow { digest, ..world.ignored(message, Some(id)) };
    let slice = Slice { journal: vec![row], ..world.taking(id, &[(RowKind::Parked, place)]) };
    world.commit(vec![slice]).await;
    let loaded = world.load(&[id], &[], &[message]).await;
    assert!(loaded.parked.is_empty() && loaded.waiting.is_empty());
    assert_eq!(loaded.journal.get(&message), Some(&(digest, Outcome::Ignored)));
}

/// A message that is parked already cannot be parked again under another row: it is a duplicate,
/// and nothing is written.
pub async fn a_message_is_parked_once(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let row = world.parked(Some(id), 1, Retry, LATER);
    world.commit(vec![parking(&world, id, vec![row.clone()])]).await;
    let message = row.message_id;
    let copy = Parked { id: RowId(world.id()), ..row };
    let slices = vec![parking(&world, id, vec![copy]), world.step(InstanceId(world.id()), 1)];
    let other = slices[1].key.expect("a step has a key");
    let outcome = world.try_commit(slices).await;
    assert!(matches!(&outcome, CommitOutcome::Duplicates(ids) if *ids == [message]), "{outcome:?}");
    assert_eq!(world.version(other).await, 0);
}

/// A load tells how many messages others wait behind, the first and last place, and when the first
/// is due. `missing` and `deferred` block nobody: alone they are no entry, but `last_seq` counts
/// them.
pub async fn a_load_tells_behind_what_later_messages_wait(stores: Stores) {
    let world = World::new(stores).await;
    let (id, free) = (world.born().await, world.born().await);
    park(&world, free, &[(Missing, PAST), (Deferred, None)]).await;
    let places = [(Deferred, None), (Retry, LATER), (Held, LATER), (Missing, PAST)];
    park(&world, id, &places).await;
    let found = waiting(&world, id).await.expect("two rows block");
    assert_eq!((found.rows, found.first_seq, found.last_seq), (2, 2, 4));
    let due = found.due_at.expect("the head has a due time");
    assert!(due > world.at(3_000_000) && due <= world.at(3_600_000));
    assert_eq!(waiting(&world, free).await, None);
    let unborn = InstanceId(world.id());
    park(&world, unborn, &[(Suspect, None)]).await;
    let found = waiting(&world, unborn).await.map(|w| (w.rows, w.first_seq, w.due_at));
    assert_eq!(found, Some((1, 1, None)), "also of an instance that does not exist yet");
}

/// When the head is due, the rows of its instance come together, side by side and in the order of
/// `seq`, and another instance's rows do not come between them.
pub async fn the_rows_of_an_instance_come_together_in_order(stores: Stores) {
    let world = World::new(stores).await;
    // The instance that was born last is due first.
    let (two, one) = (world.born().await, world.born().await);
    let first = park(&world, one, &[(Retry, Some(-5_000)), (Held, PAST), (Held, PAST)]).await;
    let second = park(&world, two, &[(Suspect, Some(-4_000)), (Held, Some(-4_500))]).await;
    assert_eq!(claim(&world).await, [first, second].concat());
    assert!(claim(&world).await.is_empty());
    assert!(world.claim_parked(world.second(), world.other).await.is_empty());
}

/// A message that waits behind another does not overtake it, though its own due time is past; it
/// comes with the head, whatever its due time says.
pub async fn a_held_message_does_not_overtake_its_head(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let rows = park(&world, id, &[(Retry, Some(1_500)), (Held, PAST), (Held, LATER)]).await;
    assert!(claim(&world).await.is_empty());
    world.advance(Duration::from_millis(2_000)).await;
    assert_eq!(claim(&world).await, rows);
}

/// While the head is in a node's hands nothing behind it is given out, also to that node; when the
/// head is done the next is due at once, before its own due time.
pub async fn when_its_head_is_gone_a_held_message_is_due(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let head = park(&world, id, &[(Retry, PAST)]).await[0];
    assert_eq!(claim(&world).await, [head]);
    let row = world.parked(Some(id), 2, Held, LATER);
    let behind = row.id;
    world.commit(vec![parking(&world, id, vec![row])]).await;
    assert!(claim(&world).await.is_empty());
    assert!(world.claim_parked(world.second(), world.other).await.is_empty());
    let journal = vec![world.applied(id, 2)];
    let slice = Slice { journal, ..world.taking(id, &[(RowKind::Parked, head)]) };
    world.commit(vec![slice]).await;
    assert_eq!(world.claim_parked(world.second(), world.other).await, [behind]);
}

/// A head that fails again waits in its own row, with reason, attempt, error and due time replaced,
/// and what waits behind it goes on waiting. At no moment is the message unknown.
pub async fn a_head_that_fails_again_waits_in_its_own_row(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let rows = park(&world, id, &[(Retry, PAST), (Held, PAST)]).await;
    assert_eq!(claim(&world).await, rows);
    let later = world.at(3_600_000);
    let waits = vec![
        again(&world, rows[0], Some(later), 3, Suspect),
        again(&world, rows[1], Some(world.at(-500)), 0, Held),
    ];
    world.commit(vec![Slice { again: waits, ..world.aside(id) }]).await;
    assert!(claim(&world).await.is_empty());
    let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
    let parked = detail.map(|detail| detail.parked).unwrap_or_default();
    assert_eq!(ids(&parked), rows);
    assert_eq!((parked[0].reason, parked[0].attempt), (Suspect, 3));
    assert_eq!((parked[0].due_at, parked[0].error.as_deref()), (Some(later), Some("failure 3")));
    let message = parked[0].message_id;
    let loaded = world.load(&[], &[], &[message]).await;
    assert_eq!(loaded.parked.get(&message).map(|(_, row)| *row), Some(rows[0]));
    let slice = world.taking(id, &[(RowKind::Parked, rows[0])]);
    let outcome = world.try_commit(vec![slice]).await;
    assert!(matches!(outcome, CommitOutcome::Gone(_)), "it was given back: {outcome:?}");
}

/// What the guard holds has reason `held` and no due time: it is not due when nothing is before
/// it, and what comes later waits behind it.
pub async fn what_the_guard_holds_is_not_due(stores: Stores) {
    let world = World::new(stores).await;
    let (alone, behind) = (world.born().await, world.born().await);
    park(&world, alone, &[(Held, None), (Held, PAST), (Retry, PAST)]).await;
    let rows = park(&world, behind, &[(Retry, PAST), (Held, None), (Held, PAST)]).await;
    assert_eq!(claim(&world).await, rows[..1]);
}

/// A bite smaller than an instance's rows takes the first ones; the rest stays behind them.
pub async fn a_small_bite_keeps_the_order(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let rows = park(&world, id, &[(Retry, PAST), (Held, PAST), (Held, PAST)]).await;
    let bite = world.claim(world.node, 2);
    let found = world.store().claim_parked(&bite).await.expect("claimed");
    assert_eq!(ids(&found), rows[..2]);
    assert!(claim(&world).await.is_empty());
    let taken: Vec<_> = rows[..2].iter().map(|row| (RowKind::Parked, *row)).collect();
    world.commit(vec![world.taking(id, &taken)]).await;
    assert_eq!(claim(&world).await, rows[2..]);
}

/// `missing` and `deferred` messages block nobody and wait behind nobody: each comes when it is due
/// itself. A message of no instance is alone.
pub async fn missing_and_deferred_messages_block_nobody(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let rows = [(Deferred, None), (Missing, LATER), (Retry, PAST), (Missing, PAST), (Held, PAST)];
    let rows = park(&world, id, &rows).await;
    assert_eq!(claim(&world).await, rows[2..]);
    let other = world.born().await;
    let rows = park(&world, other, &[(Retry, LATER), (Missing, PAST), (Deferred, PAST)]).await;
    assert_eq!(claim(&world).await, rows[1..]);
    let alone: Vec<_> =
        [LATER, Some(-3_000), PAST].map(|due| world.parked(None, 1, Retry, due)).to_vec();
    let expected = ids(&alone[1..]);
    world.commit(vec![Slice { parked: alone, ..Slice::default() }]).await;
    assert_eq!(claim(&world).await, expected);
}

/// The commit that changes an instance's state makes its deferred rows due, those of no other
/// instance, and no other rows.
pub async fn a_change_of_state_wakes_deferred_messages(stores: Stores) {
    let world = World::new(stores).await;
    let (id, other) = (world.born().await, world.born().await);
    let rows = park(&world, id, &[(Deferred, None), (Missing, LATER), (Deferred, LATER)]).await;
    park(&world, other, &[(Deferred, None)]).await;
    world.commit(vec![world.step(id, 2)]).await;
    assert!(claim(&world).await.is_empty());
    world.commit(vec![Slice { wakes_deferred: true, ..world.step(id, 3) }]).await;
    assert_eq!(claim(&world).await, [rows[0], rows[2]]);
}

/// A message that was parked before its instance was known takes a place in that instance's line
/// once it is: what wakes or holds the instance's rows finds it.
pub async fn a_message_whose_instance_becomes_known_takes_its_place(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let (first, second) =
        (world.parked(None, 0, Missing, PAST), world.parked(None, 0, Missing, PAST));
    let rows = [first.id, second.id];
    world.commit(vec![Slice { parked: vec![first, second], ..Slice::default() }]).await;
    let claimed: BTreeSet<_> = claim(&world).await.into_iter().collect();
    assert_eq!(claimed, rows.into());
    let placed =
        |row, seq, reason| Again { place: Some((id, seq)), ..again(&world, row, None, 0, reason) };
    let waits = vec![placed(rows[1], 7, Retry), placed(rows[0], 8, Deferred)];
    world.commit(vec![Slice { again: waits, ..world.aside(id) }]).await;
    let found = waiting(&world, id).await.map(|w| (w.rows, w.first_seq, w.last_seq));
    assert_eq!(found, Some((1, 7, 8)));
    assert!(claim(&world).await.is_empty());
    world.commit(vec![Slice { wakes_deferred: true, ..world.step(id, 2) }]).await;
    assert_eq!(claim(&world).await, rows[..1]);
}

/// The commit that begins the next run of an instance makes what its tombstone held due, in order,
/// and what another instance's holds not.
pub async fn a_new_run_takes_what_its_tombstone_held(stores: Stores) {
    let world = World::new(stores).await;
    let (id, other) = (world.born().await, world.born().await);
    let rows = park(&world, id, &[(Held, None), (Held, None), (Deferred, None)]).await;
    park(&world, other, &[(Held, None)]).await;
    world.commit(vec![world.step(id, 2)]).await;
    assert!(claim(&world).await.is_empty());
    world.commit(vec![Slice { wakes_held: true, ..world.step(id, 3) }]).await;
    assert_eq!(claim(&world).await, rows[..2]);
}

/// The wake is for rows stored before: what this very slice parks, or parks again, already says
/// when it is due, for only the batch knows whether it met the state before or after the change.
pub async fn a_wake_is_not_for_what_the_same_slice_parks(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let rows = park(&world, id, &[(Deferred, PAST), (Deferred, None)]).await;
    assert_eq!(claim(&world).await, rows[..1]);
    let new = world.parked(Some(id), 3, Deferred, None);
    let slice = Slice {
        wakes_deferred: true,
        parked: vec![new],
        again: vec![again(&world, rows[0], None, 0, Deferred)],
        ..world.step(id, 2)
    };
    world.commit(vec![slice]).await;
    assert_eq!(claim(&world).await, rows[1..]);
}

/// A slice that is lost wakes and parks nothing.
pub async fn a_lost_slice_parks_and_wakes_nothing(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    park(&world, id, &[(Deferred, None)]).await;
    let parked = vec![world.parked(Some(id), 2, Retry, PAST)];
    let message = parked[0].message_id;
    let slice = Slice { wakes_deferred: true, parked, ..world.step(id, 1) };
    assert_eq!(super::world::lost(world.try_commit(vec![slice]).await), [id]);
    assert!(claim(&world).await.is_empty());
    assert!(world.load(&[], &[], &[message]).await.parked.is_empty());
}

/// Two nodes that claim at the same time never share an instance: its rows go to one of them.
pub async fn two_nodes_never_share_an_instances_rows(stores: Stores) {
    const INSTANCES: usize = 30;
    let world = World::new(stores).await;
    let mut rows = Vec::new();
    for _ in 0..INSTANCES {
        let id = InstanceId(world.id());
        rows.push(park(&world, id, &[(Retry, PAST), (Held, PAST), (Held, PAST)]).await);
    }
    let drain = |store: std::sync::Arc<dyn knarr_model::ports::Store>, claim: Claim| async move {
        let mut mine = Vec::new();
        loop {
            let found = store.claim_parked(&claim).await.expect("claimed");
            if found.is_empty() {
                return mine;
            }
            mine.extend(ids(&found));
            tokio::task::yield_now().await;
        }
    };
    let (mut one, two) = at_once(
        drain(world.store().clone(), world.claim(world.node, 6)),
        drain(world.second().clone(), world.claim(world.other, 6)),
    )
    .await;
    one.extend(claim(&world).await);
    assert_eq!(one.len() + two.len(), 3 * INSTANCES, "none twice, none left");
    for members in rows {
        let mine = [&one, &two].map(|found| {
            found.iter().copied().filter(|row| members.contains(row)).collect::<Vec<_>>()
        });
        assert!(mine.contains(&members), "an instance was split or out of order: {mine:?}");
    }
}

/// Messages parked for an instance come again, head first, when a claim's answer was lost.
pub async fn parked_rows_claimed_without_knowing_come_again(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let rows = park(&world, id, &[(Retry, PAST), (Held, PAST)]).await;
    assert_eq!(claim(&world).await, rows);
    let again = |known: &[RowId]| Claim {
        reclaim_except: Some(known.to_vec()),
        ..world.claim(world.node, 9)
    };
    let found = world.store().claim_parked(&again(&[])).await.expect("claimed");
    assert_eq!(ids(&found), rows);
    let found = world.store().claim_parked(&again(&rows)).await.expect("claimed");
    assert!(found.is_empty());
}

/// A dead node's parked rows are taken over as a group, in order.
pub async fn a_dead_nodes_parked_rows_come_in_order(stores: Stores) {
    let world = World::new(stores).await;
    let mortal = world.mortal().await;
    let id = world.born().await;
    let rows = park(&world, id, &[(Retry, PAST), (Held, PAST)]).await;
    assert_eq!(world.claim_parked(world.second(), mortal).await, rows);
    world.outlast_lease().await;
    assert_eq!(claim(&world).await, rows);
}

/// A parked message may be taken by the commit that quarantines it, with its journal row; and a
/// message whose final outcome is known already is a duplicate when its parked copy is decided.
pub async fn a_parked_copy_of_a_known_message_is_a_duplicate(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let row = world.parked(Some(id), 1, Retry, PAST);
    let (message, place) = (row.message_id, row.id);
    let known = world.ignored(message, Some(id));
    world.commit(vec![Slice { journal: vec![known.clone()], ..world.aside(id) }]).await;
    world.commit(vec![parking(&world, id, vec![row])]).await;
    assert_eq!(claim(&world).await, [place]);
    let taking = world.taking(id, &[(RowKind::Parked, place)]);
    let deciding = Slice { journal: vec![known], ..taking.clone() };
    let outcome = world.try_commit(vec![deciding]).await;
    assert!(matches!(&outcome, CommitOutcome::Duplicates(ids) if *ids == [message]), "{outcome:?}");
    kept(world.try_commit(vec![taking]).await);
    assert!(world.load(&[], &[], &[message]).await.parked.is_empty());
    let unknown = MessageId(world.id());
    assert!(world.load(&[], &[], &[unknown]).await.parked.is_empty());
}
