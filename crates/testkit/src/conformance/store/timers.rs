//! Timers: due ones fire once, on one node, and survive until their end is committed.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use knarr_model::commit::{Again, CommitOutcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, Name, RowId};
use knarr_model::ports::store::EndpointState;
use knarr_model::work::{Claim, ParkedReason, RowKind, Timer};

use super::stores::Stores;
use super::world::{World, at_once, real_pause};
use crate::Steering as _;

fn setting(world: &World, id: InstanceId, timers: Vec<Timer>) -> Slice {
    Slice { timers, ..world.aside(id) }
}

/// Fires a timer that `node` holds.
async fn fire(world: &World, id: InstanceId, row: RowId) -> CommitOutcome {
    let journal = vec![world.ignored(MessageId(row.0), Some(id))];
    let slice = Slice { journal, ..world.taking(id, &[(RowKind::Timer, row)]) };
    world.commit_as(world.store(), world.node, vec![slice]).await
}

fn again(world: &World, row: RowId, due_at: DateTime<chrono::Utc>, attempt: u32) -> Again {
    let error = Some("it failed".to_owned());
    Again {
        row: world.claimed(RowKind::Timer, row),
        due_at: Some(due_at),
        attempt,
        error,
        reason: None,
        place: None,
    }
}

/// A due time in the past, even before 1970, is due at once; before its commit there is nothing
/// (PE-133).
pub async fn pe_133_a_due_time_in_the_past_fires_at_once(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let (now, late) = (world.timer(id, -50), world.timer(id, -60_000));
    let ancient =
        Timer { due_at: DateTime::UNIX_EPOCH - TimeDelta::days(400), ..world.timer(id, 0) };
    let expected = [ancient.id, late.id, now.id];
    assert!(world.claim_timers(world.store(), world.node).await.is_empty());
    world.commit(vec![setting(&world, id, vec![now, late, ancient])]).await;
    assert_eq!(world.claim_timers(world.store(), world.node).await, expected, "earliest first");
}

/// A timer is claimed when it is due and not before; its due time is the one it was given, however
/// often it was looked for (a wait keeps its due time across restarts).
pub async fn a_timer_is_claimed_when_due_and_not_before(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let (soon, late) = (world.timer(id, 1_500), world.timer(id, 3_600_000));
    let expected = soon.id;
    world.commit(vec![setting(&world, id, vec![soon, late])]).await;
    assert!(world.claim_timers(world.store(), world.node).await.is_empty());
    world.advance(Duration::from_millis(2_000)).await;
    assert_eq!(world.claim_timers(world.second(), world.other).await, [expected]);
    assert!(world.claim_timers(world.second(), world.other).await.is_empty(), "once");
    assert!(world.claim_timers(world.store(), world.node).await.is_empty(), "on one node");
}

/// Many timers due at once, two of each instance in the same instant, claimed by two nodes in
/// small bites at the same time: each comes to exactly one of them (PE-135, PE-266).
pub async fn pe_135_many_timers_due_together_are_each_claimed_once(stores: Stores) {
    const INSTANCES: usize = 150;
    let world = World::new(stores).await;
    let due = world.at(-1_000);
    let mut expected = BTreeSet::new();
    let slices = (0..INSTANCES)
        .map(|_| {
            let id = InstanceId(world.id());
            let timers: Vec<_> =
                (0..2).map(|_| Timer { due_at: due, ..world.timer(id, 0) }).collect();
            expected.extend(timers.iter().map(|timer| timer.id));
            Slice { timers, ..world.step(id, 1) }
        })
        .collect();
    world.commit(slices).await;
    let drain = |store: std::sync::Arc<dyn knarr_model::ports::Store>, claim: Claim| async move {
        let mut mine = Vec::new();
        loop {
            let rows = store.claim_timers(&claim).await.expect("timers are claimed");
            assert!(rows.len() <= claim.limit);
            if rows.is_empty() {
                return mine;
            }
            mine.extend(rows.into_iter().map(|timer| timer.id));
            tokio::task::yield_now().await;
        }
    };
    let (mut one, two) = at_once(
        drain(world.store().clone(), world.claim(world.node, 7)),
        drain(world.second().clone(), world.claim(world.other, 7)),
    )
    .await;
    one.extend(two);
    // Rows locked by the other node's open claim are passed over; a last look finds the rest.
    one.extend(world.claim_timers(world.store(), world.node).await);
    assert_eq!(one.len(), expected.len(), "no timer came twice");
    assert_eq!(one.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Timers of the same name belong to their saga, instance and run (PE-137).
pub async fn pe_137_a_timer_belongs_to_its_saga_instance_and_run(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let own = Timer { run: 3, ..world.timer(id, -2_000) };
    let others = Timer { saga: "billing".into(), run: 9, ..world.timer(id, -1_000) };
    let expected = [(own.id, own.saga.clone(), 3), (others.id, others.saga.clone(), 9)];
    world.commit(vec![setting(&world, id, vec![own, others])]).await;
    let rows = world.store().claim_timers(&world.claim(world.node, 10)).await.expect("claimed");
    let rows: Vec<_> = rows.into_iter().map(|row| (row.id, row.saga, row.run)).collect();
    assert_eq!(rows, expected);
}

/// A timer set again replaces its row while another node is about to fire the old one: the old one
/// is gone for that node, and only the new one fires (PE-141).
pub async fn pe_141_a_timer_set_again_fires_once(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let (old, new) = (world.timer(id, -1_000), world.timer(id, -500));
    let (first, second) = (old.id, new.id);
    world.commit(vec![setting(&world, id, vec![old])]).await;
    assert_eq!(world.claim_timers(world.store(), world.node).await, [first]);
    let again = Slice { cancelled_timers: vec![first], ..setting(&world, id, vec![new]) };
    super::world::kept(world.commit_as(world.second(), world.other, vec![again]).await);
    let outcome = fire(&world, id, first).await;
    assert!(matches!(&outcome, CommitOutcome::Gone(rows) if *rows == [first]), "{outcome:?}");
    assert!(world.outcomes(&[MessageId(first.0)]).await.is_empty());
    assert_eq!(world.claim_timers(world.store(), world.node).await, [second]);
    super::world::kept(fire(&world, id, second).await);
    let outcome = fire(&world, id, second).await;
    assert!(matches!(outcome, CommitOutcome::Gone(_) | CommitOutcome::Duplicates(_)));
}

/// A cancelled timer never fires, and a fired one is cancelled without a word (PE-142).
pub async fn pe_142_a_cancelled_timer_never_fires(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let (cancelled, fired) = (world.timer(id, -1_000), world.timer(id, -1_000));
    let (gone, row) = (cancelled.id, fired.id);
    world.commit(vec![setting(&world, id, vec![cancelled, fired])]).await;
    world.commit(vec![Slice { cancelled_timers: vec![gone], ..world.aside(id) }]).await;
    assert_eq!(world.claim_timers(world.store(), world.node).await, [row]);
    super::world::kept(fire(&world, id, row).await);
    world.commit(vec![Slice { cancelled_timers: vec![gone, row], ..world.aside(id) }]).await;
}

/// A row taken must be there, be claimed, and by the node that commits; else the commit names it
/// and writes nothing. The kind counts: a timer's id is no parked row's.
pub async fn a_taken_row_must_be_the_nodes_own(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let (free, others) = (world.timer(id, 3_600_000), world.timer(id, -1_000));
    let (unclaimed, foreign, absent) = (free.id, others.id, RowId(world.id()));
    world.commit(vec![setting(&world, id, vec![free, others])]).await;
    assert_eq!(world.claim_timers(world.second(), world.other).await, [foreign]);
    for row in [unclaimed, foreign, absent] {
        let other = InstanceId(world.id());
        let slices = vec![world.step(other, 1), world.taking(id, &[(RowKind::Timer, row)])];
        let outcome = world.try_commit(slices).await;
        assert!(matches!(&outcome, CommitOutcome::Gone(rows) if *rows == [row]), "{outcome:?}");
        let waiting = Slice { again: vec![again(&world, row, world.at(0), 1)], ..world.aside(id) };
        let outcome = world.try_commit(vec![waiting]).await;
        assert!(matches!(&outcome, CommitOutcome::Gone(rows) if *rows == [row]), "{outcome:?}");
        assert_eq!(world.version(other).await, 0);
    }
    for kind in [RowKind::Parked, RowKind::Call] {
        let slice = world.taking(id, &[(kind, foreign)]);
        let outcome = world.commit_as(world.second(), world.other, vec![slice]).await;
        assert!(matches!(outcome, CommitOutcome::Gone(_)), "{outcome:?}");
    }
    let slice = world.taking(id, &[(RowKind::Timer, foreign)]);
    super::world::kept(world.commit_as(world.second(), world.other, vec![slice]).await);
}

/// A timer that waits again keeps its row: it is given back with its new due time and attempt,
/// and anybody may claim it when it is due.
pub async fn a_timer_that_waits_again_keeps_its_row(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let timer = world.timer(id, -1_000);
    let row = timer.id;
    world.commit(vec![setting(&world, id, vec![timer])]).await;
    assert_eq!(world.claim_timers(world.store(), world.node).await, [row]);
    let later = world.at(3_600_000);
    world
        .commit(vec![Slice { again: vec![again(&world, row, later, 1)], ..world.aside(id) }])
        .await;
    assert!(world.claim_timers(world.store(), world.node).await.is_empty());
    let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
    let timers = detail.map(|detail| detail.timers).unwrap_or_default();
    assert_eq!((timers.len(), timers[0].id, timers[0].due_at), (1, row, later));
    let outcome = fire(&world, id, row).await;
    assert!(matches!(outcome, CommitOutcome::Gone(_)), "it was given back: {outcome:?}");
}

/// The attempt of a timer that waits again is kept, for the next node to claim it.
pub async fn the_attempt_of_a_timer_is_kept(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let timer = world.timer(id, -1_000);
    let row = timer.id;
    world.commit(vec![setting(&world, id, vec![timer])]).await;
    for attempt in 1..=3 {
        let rows = world.store().claim_timers(&world.claim(world.node, 5)).await.expect("claimed");
        assert_eq!(rows.iter().map(|row| row.attempt).collect::<Vec<_>>(), [attempt - 1]);
        world.given_out(rows.iter().map(|row| (row.id, row.claims)));
        let back = again(&world, row, world.at(-10), attempt);
        world.commit(vec![Slice { again: vec![back], ..world.aside(id) }]).await;
    }
    assert_eq!(world.claim_timers(world.second(), world.other).await, [row]);
}

/// Only timers of the endpoints asked for are claimed, at most as many as asked for (PE-262).
pub async fn pe_262_only_rows_of_the_endpoints_asked_for_are_claimed(stores: Stores) {
    let world = World::new(stores).await;
    let foreign = Name::from("foreign");
    world.store().endpoint(&foreign).await.expect("the row is made");
    let id = world.born().await;
    let others = Timer { endpoint: foreign.clone(), ..world.timer(id, -9_000) };
    let (first, second) = (world.timer(id, -5_000), world.timer(id, -4_000));
    let expected = [first.id, second.id, others.id];
    world.commit(vec![setting(&world, id, vec![second, others, first])]).await;
    let mut claimed = Vec::new();
    for claim in [
        Claim { endpoints: Vec::new(), ..world.claim(world.node, 9) },
        Claim { endpoints: vec!["unknown".into()], ..world.claim(world.node, 9) },
        world.claim(world.node, 1),
        world.claim(world.node, 9),
        Claim { endpoints: vec![foreign, world.endpoint.clone()], ..world.claim(world.node, 9) },
    ] {
        let rows = world.store().claim_timers(&claim).await.expect("timers are claimed");
        claimed.extend(rows.iter().map(|timer| timer.id));
        assert!(rows.len() <= 1);
    }
    assert_eq!(claimed, expected);
}

/// Nothing of a halted endpoint is claimed; of a paused one everything is, for only intake stops.
pub async fn a_halted_endpoint_gives_out_nothing_a_paused_one_does(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let timer = world.timer(id, -1_000);
    let row = timer.id;
    let call = world.call(id, "Look", -1_000);
    let parked = world.parked(Some(id), 1, ParkedReason::Missing, Some(-1_000));
    let waits = parked.id;
    let tasks = vec![call];
    let parked = vec![parked];
    world.commit(vec![Slice { tasks, parked, ..setting(&world, id, vec![timer]) }]).await;
    world.store().halt(&world.endpoint).await.expect("it halts");
    assert!(world.claim_timers(world.second(), world.other).await.is_empty());
    assert!(world.claim_calls(world.second(), world.other).await.is_empty());
    assert!(world.claim_parked(world.second(), world.other).await.is_empty());
    world.force(EndpointState::Paused).await;
    assert_eq!(world.claim_timers(world.second(), world.other).await, [row]);
    assert_eq!(world.claim_calls(world.second(), world.other).await.len(), 1);
    assert_eq!(world.claim_parked(world.second(), world.other).await, [waits]);
}

/// One row that cannot be read does not hide the others of its claim (PE-145, PE-098).
pub async fn pe_145_one_unreadable_row_does_not_hide_the_others(stores: Stores) {
    let Some(corrupt) = stores.corrupt.clone() else { return };
    let world = World::new(stores).await;
    let id = world.born().await;
    let timers: Vec<_> = (0..3).map(|n| world.timer(id, -5_000 + n)).collect();
    let calls: Vec<_> = (0..3).map(|n| world.call(id, "Look", -5_000 + n)).collect();
    let parked: Vec<_> =
        (0..3).map(|n| world.parked(None, n, ParkedReason::Retry, Some(-5_000 + n))).collect();
    let slice = Slice {
        tasks: calls.clone(),
        parked: parked.clone(),
        ..setting(&world, id, timers.clone())
    };
    world.commit(vec![slice]).await;
    corrupt((RowKind::Timer, timers[1].id)).await;
    corrupt((RowKind::Call, calls[1].id)).await;
    corrupt((RowKind::Parked, parked[1].id)).await;
    let found = world.claim_timers(world.store(), world.node).await;
    assert_eq!(found, [timers[0].id, timers[2].id]);
    let found: Vec<_> =
        world.claim_calls(world.store(), world.node).await.iter().map(|call| call.id).collect();
    assert_eq!(found, [calls[0].id, calls[2].id]);
    let found = world.claim_parked(world.store(), world.node).await;
    assert_eq!(found, [parked[0].id, parked[2].id]);
}

/// After a claim whose answer was lost: rows that the node holds without knowing come again, those
/// it names do not, and other nodes' rows never do.
pub async fn rows_claimed_without_knowing_come_again(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let timers: Vec<_> = (0..3).map(|n| world.timer(id, -5_000 + n)).collect();
    let ids: Vec<_> = timers.iter().map(|timer| timer.id).collect();
    world.commit(vec![setting(&world, id, timers)]).await;
    let foreign = Claim { limit: 1, ..world.claim(world.other, 1) };
    let rows = world.second().claim_timers(&foreign).await.expect("timers are claimed");
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids[..1]);
    assert_eq!(world.claim_timers(world.store(), world.node).await, ids[1..]);
    let again = |known: &[RowId]| Claim {
        reclaim_except: Some(known.to_vec()),
        ..world.claim(world.node, 9)
    };
    for (known, expected) in [(&ids[1..2], &ids[2..]), (&ids[1..], &[]), (&[], &ids[1..])] {
        let rows = world.store().claim_timers(&again(known)).await.expect("timers are claimed");
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected);
    }
}

/// The next due time is the earliest of what nobody holds, over timers, calls and parked messages
/// of the endpoints asked for; what has no due time has none.
pub async fn the_next_due_time_is_the_earliest_of_unclaimed_rows(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let own = [world.endpoint.clone()];
    let next = || async { world.store().next_due(&own).await.expect("it is answered") };
    assert_eq!(next().await, None);
    let parked = |millis| world.parked(None, 1, ParkedReason::Missing, millis);
    let (never, late) = (parked(None), parked(Some(9_000_000)));
    let mut expected = late.due_at;
    world.commit(vec![Slice { parked: vec![never, late], ..Slice::default() }]).await;
    assert_eq!(next().await, expected);
    let call = world.call(id, "Look", 8_000_000);
    expected = Some(call.due_at);
    world.commit(vec![Slice { tasks: vec![call], ..world.aside(id) }]).await;
    assert_eq!(next().await, expected);
    let (timer, due) = (world.timer(id, 7_000_000), world.timer(id, -1_000));
    let foreign = Timer { endpoint: "foreign".into(), ..world.timer(id, 1_000) };
    let past = Some(due.due_at);
    expected = Some(timer.due_at);
    world.commit(vec![setting(&world, id, vec![timer, due, foreign])]).await;
    assert_eq!(next().await, past);
    assert_eq!(world.claim_timers(world.store(), world.node).await.len(), 1);
    assert_eq!(next().await, expected, "a row that is held is nobody's business");
}

/// Waiting for work ends when a commit of another node brings some, long before its bound
/// (MT-234), and at its bound when none comes.
pub async fn mt_234_a_commit_wakes_a_node_that_waits(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let second = world.second().clone();
    let waiting = tokio::spawn(async move {
        second.wait_for_work(Duration::from_secs(600)).await;
    });
    // The waiter needs a moment to listen; a hint before it does is lost, so there are several.
    let mut tries = 0;
    while !waiting.is_finished() {
        tries += 1;
        assert!(tries < 100, "no hint came");
        world.commit(vec![setting(&world, id, vec![world.timer(id, -1_000)])]).await;
        real_pause(100).await;
    }
    waiting.await.expect("waiting does not panic");
    let store = world.store().clone();
    let waiting = tokio::spawn(async move { store.wait_for_work(Duration::from_millis(50)).await });
    for _ in 0..100 {
        if waiting.is_finished() {
            return;
        }
        world.advance(Duration::from_millis(50)).await;
        real_pause(10).await;
    }
    panic!("the wait does not end at its bound");
}
