//! Tombstones, and the sweep of old history.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use knarr_model::commit::{JournalRow, KeyWrite, Origin, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::instance::{Book, FINAL, Instance, OpenCall, OpenTimer, PURGED};
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, ParkedReason};

use super::stores::Stores;
use super::world::{World, key, raw};
use crate::Steering as _;

/// A run with one of everything, and what it has.
async fn full_run(world: &World) -> (InstanceId, Slice) {
    let id = InstanceId(world.id());
    let timer = world.timer(id, -1_000);
    let calls = [world.call(id, "Look", -2_000), world.call(id, "Look", -1_000)];
    let token = OpenTimer { token: timer.id, due: timer.due_at };
    let book = Book {
        applied: 1,
        produced: 2,
        timers: [("expiry".to_owned(), token)].into(),
        calls: vec![OpenCall { call: "Look".to_owned(), token: calls[0].id }],
        deferred: vec!["urn:message:Shop:OrderPaid".to_owned()],
        keys: vec![("number".to_owned(), format!("A-{id}"))],
        ..Book::default()
    };
    let mut step = world.step(id, 1);
    step.instance = Some(Instance { book, ..world.instance(id, 1) });
    step.keys = vec![KeyWrite {
        key: key("number", &format!("A-{id}")),
        generation: 1,
        free: false,
        by: step.journal[0].message_id,
        by_start: true,
    }];
    let envelope = Arc::new(world.envelope());
    let message_id = envelope.message_id;
    step.origin = Some(Origin { run: 1, message_id, fingerprint: [3; 32], envelope });
    step.timers = vec![timer];
    step.tasks = calls.to_vec();
    step.parked = vec![
        world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000)),
        world.parked(Some(id), 2, ParkedReason::Deferred, None),
    ];
    let fault = knarr_model::work::Outgoing { sequence: None, ..world.outgoing(id, 3) };
    step.outgoing = vec![world.outgoing(id, 1), fault, world.outgoing(id, 2)];
    (id, step)
}

/// A purge leaves the tombstone: state `Purged`, data emptied (`null` or `{}`), the version one
/// higher, nothing open in the book (its counters may stay). The run's timers, calls, parked
/// messages, keys, start message and unsent messages are gone; its history, faults (they belong to
/// no run), and everything of other instances stay.
pub async fn a_purge_leaves_a_tombstone_and_nothing_that_waits(stores: Stores) {
    let world = World::new(stores).await;
    let ((id, purged), (other, kept)) = (full_run(&world).await, full_run(&world).await);
    world.commit(vec![purged.clone(), kept.clone()]).await;
    let running = world.claim_calls(world.store(), world.node).await.remove(0);
    assert!(world.second().purge(&world.endpoint, &world.saga, id).await.expect("purged"));

    let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
    let detail = detail.expect("the tombstone is there");
    let stone = &detail.instance;
    assert_eq!((stone.state.as_str(), stone.version, stone.run), (PURGED, 2, 1));
    assert!(["null", "{}"].contains(&stone.data.get()), "{}", stone.data);
    let book = &stone.book;
    assert!(book.timers.is_empty() && book.calls.is_empty() && book.joins.is_empty());
    assert!(book.deferred.is_empty() && book.keys.is_empty());
    assert!(detail.timers.is_empty() && detail.calls.is_empty() && detail.parked.is_empty());
    assert_eq!(detail.journal.len(), 1);
    let messages: Vec<_> = purged.parked.iter().map(|row| row.message_id).collect();
    let loaded = world.load(&[id], &[purged.keys[0].key.clone()], &messages).await;
    assert!(loaded.keys.is_empty() && loaded.parked.is_empty() && loaded.waiting.is_empty());
    let origin = world.store().origin(&world.saga, id, 1).await.expect("it is read");
    assert!(origin.is_none());
    let sent = world.store().own_chunks(world.node, &[]).await.expect("chunks are read");
    let sent: Vec<_> =
        sent.iter().flat_map(|chunk| &chunk.messages).map(|message| message.id).collect();
    let expected: Vec<_> =
        [&purged.outgoing[1], &kept.outgoing[0], &kept.outgoing[1], &kept.outgoing[2]]
            .map(|message| message.id)
            .to_vec();
    assert_eq!(sent, expected);
    let outcome = AttemptOutcome::Ended(CallEnd::Done(raw("1")));
    let late = AttemptRecord { task: running.id, claims: running.claims, outcome };
    let taken = world.store().record(world.node, &[late]).await.expect("it is answered");
    assert_eq!(taken, [running.instance == other]);

    let detail = world.stores.records.instance(&world.saga, other).await.expect("it is read");
    let detail = detail.expect("the other instance is there");
    assert_eq!((detail.instance.version, detail.timers.len()), (1, 1));
    assert_eq!((detail.calls.len(), detail.parked.len()), (2, 2));
    let loaded = world.load(&[], &[kept.keys[0].key.clone()], &[]).await;
    assert_eq!(loaded.instances.keys().copied().collect::<Vec<_>>(), [other]);
    let origin = world.store().origin(&world.saga, other, 1).await.expect("it is read");
    assert!(origin.is_some());
}

/// A chunk of which a purge takes every message is gone.
pub async fn a_chunk_emptied_by_a_purge_is_gone(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let outgoing = vec![world.outgoing(id, 1), world.outgoing(id, 2)];
    world.commit(vec![Slice { outgoing, ..world.step(id, 1) }]).await;
    assert!(world.store().purge(&world.endpoint, &world.saga, id).await.expect("purged"));
    assert!(world.store().own_chunks(world.node, &[]).await.expect("chunks are read").is_empty());
}

/// There is nothing to purge where there is no instance, in this saga.
pub async fn what_does_not_exist_is_not_purged(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let purge = |saga: &str, id| {
        let (store, endpoint, saga) = (world.store().clone(), world.endpoint.clone(), saga.into());
        async move { store.purge(&endpoint, &saga, id).await.expect("it is answered") }
    };
    assert!(!purge("order", InstanceId(world.id())).await);
    assert!(!purge("billing", id).await);
    assert_eq!(world.version(id).await, 1);
}

/// The tombstone is an instance like others for what comes later: absorbed messages are journaled
/// without writing it, and a new run is written over it at the next version.
pub async fn messages_after_a_purge_are_journaled(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    world.store().purge(&world.endpoint, &world.saga, id).await.expect("purged");
    let row = world.ignored(MessageId(world.id()), Some(id));
    let message = row.message_id;
    world.commit(vec![Slice { journal: vec![row], ..world.aside(id) }]).await;
    assert_eq!(world.outcomes(&[message]).await.len(), 1);
    assert_eq!(super::world::lost(world.try_commit(vec![world.step(id, 1)]).await), [id]);
    let mut next = world.step(id, 3);
    next.instance = Some(Instance { run: 2, ..world.instance(id, 3) });
    world.commit(vec![next]).await;
    assert_eq!(world.read(id).await.map(|instance| instance.run), Some(2));
}

/// A purge of an instance while others commit to it on another node ends in one order: after it
/// returned the tombstone stands, with nothing that waits.
pub async fn a_purge_among_commits_leaves_nothing_behind(stores: Stores) {
    let world = Arc::new(World::new(stores).await);
    for _ in 0..10 {
        let id = world.born().await;
        let committing = {
            let world = world.clone();
            tokio::spawn(async move {
                for version in 2..40 {
                    let timers = vec![world.timer(id, -1_000)];
                    let outgoing = vec![world.outgoing(id, version)];
                    let slice = Slice { timers, outgoing, ..world.step(id, version) };
                    let commit = world.commit_of(vec![slice]).await;
                    let outcome = world.second().commit(commit).await.expect("answered");
                    let knarr_model::CommitOutcome::Committed { lost, .. } = outcome else {
                        // A store may tell purges apart by the block set.
                        continue;
                    };
                    if !lost.is_empty() {
                        return;
                    }
                }
            })
        };
        while world.version(id).await < 4 {
            tokio::task::yield_now().await;
        }
        assert!(world.store().purge(&world.endpoint, &world.saga, id).await.expect("purged"));
        let stone = world.read(id).await.expect("the tombstone is there");
        assert_eq!(stone.state, PURGED);
        committing.await.expect("committing does not panic");
        assert_eq!(world.version(id).await, stone.version);
        let detail = world.stores.records.instance(&world.saga, id).await.expect("it is read");
        assert!(detail.is_some_and(|detail| detail.timers.is_empty()));
    }
    let sent = world.store().own_chunks(world.node, &[]).await.expect("chunks are read");
    assert!(sent.is_empty(), "unsent messages stayed");
}

fn aged(world: &World, row: JournalRow, micros: i64) -> JournalRow {
    JournalRow { at: world.at(-1_000_000) + TimeDelta::microseconds(micros), ..row }
}

/// Only journal rows older than the cut-off go, not those at it; rows of living instances stay,
/// rows of ended ones, of purged ones, and of none go; the instances themselves (tombstones too)
/// stay (PE-103).
pub async fn pe_103_the_sweep_takes_old_rows_of_ended_instances(stores: Stores) {
    let world = World::new(stores).await;
    let cut = world.at(-1_000_000);
    let at =
        |row: JournalRow, micros| JournalRow { at: cut + TimeDelta::microseconds(micros), ..row };
    let (live, ended, purged) =
        (world.born().await, InstanceId(world.id()), InstanceId(world.id()));
    let mut old = Vec::new();
    let mut young = Vec::new();
    for id in [Some(live), Some(ended), Some(purged), None] {
        let rows: Vec<_> =
            [-1, 0, 1].map(|micros| at(world.ignored(MessageId(world.id()), id), micros)).to_vec();
        let gone = usize::from(id != Some(live));
        old.extend(rows[..gone].iter().map(|row| row.message_id));
        young.extend(rows[gone..].iter().map(|row| row.message_id));
        let slice = match id {
            Some(id) if id != live => {
                let state = if id == ended { FINAL } else { "Waiting" }.to_owned();
                let instance = Some(Instance { state, ..world.instance(id, 1) });
                Slice { key: Some(id), instance, journal: rows, ..Slice::default() }
            }
            key => Slice { key, journal: rows, ..Slice::default() },
        };
        world.commit(vec![slice]).await;
    }
    world.store().purge(&world.endpoint, &world.saga, purged).await.expect("purged");
    let all = [old.clone(), young.clone()].concat();
    assert_eq!(world.outcomes(&all).await.len(), all.len());
    assert_eq!(world.store().sweep(cut, 100).await.expect("swept"), 3);
    let left: BTreeSet<_> = world.outcomes(&all).await.into_keys().collect();
    assert_eq!(left, young.into_iter().collect());
    assert_eq!(world.version(live).await, 1);
    assert_eq!(world.read(purged).await.map(|instance| instance.state), Some(PURGED.to_owned()));
    assert_eq!(world.store().sweep(cut, 100).await.expect("swept"), 0);
}

/// A sweep takes at most as many rows as asked for and says how many it took; what is left goes
/// with the next ones.
pub async fn pe_103_the_sweep_goes_in_bounded_steps(stores: Stores) {
    let world = World::new(stores).await;
    let rows: Vec<_> =
        (0..25).map(|n| aged(&world, world.ignored(MessageId(world.id()), None), n)).collect();
    let ids: Vec<_> = rows.iter().map(|row| row.message_id).collect();
    world.commit(vec![Slice { journal: rows, ..Slice::default() }]).await;
    for (taken, left) in [(10, 15), (10, 5), (5, 0), (0, 0)] {
        let swept = world.store().sweep(world.now(), 10).await.expect("swept");
        assert_eq!((swept, world.outcomes(&ids).await.len()), (taken, left));
    }
}

/// A row whose message is still parked stays, or its copy would be decided a second time (PE-103).
pub async fn pe_103_the_sweep_spares_messages_that_are_still_parked(stores: Stores) {
    let world = World::new(stores).await;
    let parked = world.parked(None, 1, ParkedReason::Retry, Some(3_600_000));
    let message = parked.message_id;
    let journal = vec![aged(&world, world.ignored(message, None), 0)];
    world.commit(vec![Slice { journal, ..Slice::default() }]).await;
    world.commit(vec![Slice { parked: vec![parked], ..Slice::default() }]).await;
    assert_eq!(world.store().sweep(world.now(), 10).await.expect("swept"), 0);
    assert_eq!(world.outcomes(&[message]).await.len(), 1);
}
