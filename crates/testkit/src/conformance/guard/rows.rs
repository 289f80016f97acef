//! Rows that a plan makes and ends: deliveries, journal lines, messages that leave, wakes.

use knarr_model::commit::{Outcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::ports::guard::Plan;
use knarr_model::work::{Parked, ParkedReason, RowKind};

use super::fixture::Guards;
use super::world::GuardWorld;
use crate::conformance::store::exact::json;
use crate::conformance::store::world::every_header;

/// A message becomes an internal delivery once: one whose id is journaled or parked already is left
/// out, alone, and so is one that the same plan journals; a journal line that is there stays as it
/// is.
pub async fn s0_17_a_message_becomes_a_delivery_once(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let due = || world.parked(None, 1, ParkedReason::Retry, Some(-1_000));
    let (journaled, parked, fresh, decided) = (due(), due(), due(), due());
    let slice = Slice {
        journal: vec![world.ignored(journaled.message_id, None)],
        parked: vec![parked.clone()],
        ..Slice::default()
    };
    world.commit(vec![slice]).await;
    let copy = |row: &Parked| Parked { id: RowId(world.id()), ..row.clone() };
    let mut line = world.ignored(decided.message_id, None);
    line.outcome = Outcome::Quarantined;
    let mut again = world.ignored(journaled.message_id, None);
    again.outcome = Outcome::Quarantined;
    let plan = Plan {
        journal: vec![line, again],
        deliveries: vec![copy(&journaled), copy(&parked), fresh.clone(), decided.clone()],
        ..Plan::default()
    };
    world.write(plan.clone()).await;
    world.write(plan).await;
    let mut claimed = world.claim_parked(world.second(), world.other).await;
    claimed.sort();
    let mut expected = vec![parked.id, fresh.id];
    expected.sort();
    assert_eq!(claimed, expected);
    let outcomes = world.outcomes(&[journaled.message_id, decided.message_id]).await;
    assert_eq!(outcomes[&journaled.message_id], Outcome::Ignored);
    assert_eq!(outcomes[&decided.message_id], Outcome::Quarantined);
}

/// Messages that leave are one chunk of the asking node under the id given, whole; another node
/// does not see it while that one lives.
pub async fn guard_messages_that_leave_are_a_chunk_of_the_asking_node(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let mut messages: Vec<_> = (1..=3).map(|n| world.outgoing(InstanceId(world.id()), n)).collect();
    messages[1].headers = every_header();
    messages[2].sequence = None;
    let chunk = RowId(world.id());
    let done =
        world.write(Plan { outgoing: Some((chunk, messages.clone())), ..Plan::default() }).await;
    let stored = world.second().own_chunks(world.node, &[]).await.expect("chunks are read");
    for chunks in [&done.chunks, &stored] {
        assert_eq!((chunks.len(), chunks[0].id), (1, chunk));
        assert_eq!(chunks[0].endpoint, world.endpoint);
        assert_eq!(json(&chunks[0].messages), json(&messages));
        let bodies = chunks[0].messages.iter().zip(&messages);
        assert!(bodies.into_iter().all(|(left, right)| left.body == right.body));
    }
    assert!(world.store().own_chunks(world.other, &[]).await.expect("read").is_empty());
    let none = Plan { outgoing: Some((RowId(world.id()), Vec::new())), ..Plan::default() };
    assert!(world.write(none).await.chunks.is_empty());
    assert_eq!(world.store().own_chunks(world.node, &[]).await.expect("read").len(), 1);
}

/// Messages held for an instance are due when the plan wakes it, also those that the guard held
/// without a time; other kinds of waiting, and other instances, are left alone.
pub async fn guard_a_wake_makes_held_messages_due(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let (id, other) = (world.born().await, world.born().await);
    let held = |of, seq, millis| world.parked(Some(of), seq, ParkedReason::Held, millis);
    let woken = [held(id, 1, None), held(id, 2, Some(3_600_000)), held(id, 3, None)];
    let deferred = world.parked(Some(id), 4, ParkedReason::Deferred, None);
    let left = held(other, 1, None);
    let parked = [woken.as_slice(), &[deferred]].concat();
    world.commit(vec![Slice { parked, ..world.aside(id) }]).await;
    world.commit(vec![Slice { parked: vec![left], ..world.aside(other) }]).await;
    assert!(world.claim_parked(world.store(), world.node).await.is_empty());
    world.write(Plan { wake: Some((world.saga.clone(), id)), ..Plan::default() }).await;
    let claimed = world.claim_parked(world.store(), world.node).await;
    assert_eq!(claimed, woken.map(|row| row.id));
}

/// When a plan ends a parked message behind which others wait, those are due, as after a commit;
/// what the guard holds without a time is not.
pub async fn guard_what_waits_behind_an_ended_delivery_is_due(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let id = world.born().await;
    let rows = [
        world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000)),
        world.parked(Some(id), 2, ParkedReason::Held, Some(3_600_000)),
        world.parked(Some(id), 3, ParkedReason::Held, None),
    ];
    world.commit(vec![Slice { parked: rows.to_vec(), ..world.aside(id) }]).await;
    let taken = vec![(RowKind::Parked, rows[0].id), (RowKind::Timer, RowId(world.id()))];
    let journal = vec![world.ignored(rows[0].message_id, Some(id))];
    let plan = Plan { taken, journal, ..Plan::default() };
    world.verb(world.ask_of(id), move |_| plan.clone()).await;
    assert_eq!(world.claim_parked(world.second(), world.other).await, [rows[1].id]);
    let known: Vec<MessageId> = rows.iter().map(|row| row.message_id).collect();
    let loaded = world.load(&[id], &[], &known).await;
    assert_eq!((loaded.parked.len(), loaded.journal.len()), (2, 1));
}
