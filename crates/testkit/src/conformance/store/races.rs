//! Two nodes at the same moment: exactly one wins, and nothing is overwritten or doubled.

use std::sync::Arc;

use knarr_model::commit::{Commit, CommitOutcome, KeyWrite, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::instance::Instance;
use knarr_model::ports::StoreError;
use knarr_model::work::{ParkedReason, RowKind};

use super::stores::Stores;
use super::world::{World, at_once, key, lost, raw};

/// How often each race is run: the window is small.
const ROUNDS: usize = 20;

type Answers = (CommitOutcome, CommitOutcome);

/// Commits through both handles at the same time.
async fn race(world: &World, one: Commit, two: Commit) -> Answers {
    let (store, second) = (world.store().clone(), world.second().clone());
    let answered = |outcome: Result<_, StoreError>| outcome.expect("the commit is answered");
    let (one, two) =
        at_once(async move { store.commit(one).await }, async move { second.commit(two).await })
            .await;
    (answered(one), answered(two))
}

async fn race_slices(world: &World, one: Vec<Slice>, two: Vec<Slice>) -> Answers {
    let one = world.commit_of(one).await;
    let two = Commit { node: world.other, ..world.commit_of(two).await };
    race(world, one, two).await
}

fn is_committed(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Committed { lost, .. } if lost.is_empty())
}

/// Two different start messages for one instance on two nodes: one wins; the other's slice alone is
/// lost, its batch's other slices commit (PE-113, MT-213).
pub async fn pe_113_of_two_starters_one_wins_and_the_other_slice_is_lost_alone(stores: Stores) {
    let world = World::new(stores).await;
    for _ in 0..ROUNDS {
        let id = InstanceId(world.id());
        let (left, right) = (InstanceId(world.id()), InstanceId(world.id()));
        let (one, two) = (world.step(id, 1), world.step(id, 1));
        let messages = [one.journal[0].message_id, two.journal[0].message_id];
        let (one, two) =
            race_slices(&world, vec![world.step(left, 1), one], vec![two, world.step(right, 1)])
                .await;
        let mut all = [lost(one), lost(two)];
        all.sort();
        assert_eq!(all, [vec![], vec![id]]);
        assert_eq!(world.outcomes(&messages).await.len(), 1);
        for id in [id, left, right] {
            assert_eq!(world.version(id).await, 1);
        }
    }
}

/// Many follow-up messages of one instance on two nodes, each retried when its slice is lost: all
/// of them are in the state, and the version counts them (PE-117, MT-214).
pub async fn pe_117_no_concurrent_step_overwrites_another(stores: Stores) {
    const STEPS: usize = 12;
    let world = Arc::new(World::new(stores).await);
    let id = world.born().await;
    let steps: Vec<_> = (0..STEPS)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let store = if n % 2 == 0 { world.store() } else { world.second() };
                let row = world.applied(id, 0);
                loop {
                    let old = world.read(id).await.expect("the instance is there");
                    // All read before any commits, also where a read does not wait.
                    tokio::task::yield_now().await;
                    let data = old.data.get().trim_end_matches('}').to_owned();
                    let data = raw(&format!("{data},\"{n}\":true}}"));
                    let instance = Instance { version: old.version + 1, data, ..old };
                    let journal = vec![row.clone()];
                    let instance = Some(instance);
                    let slice = Slice { key: Some(id), instance, journal, ..Slice::default() };
                    let outcome = world.commit_as(store, world.node, vec![slice]).await;
                    if lost(outcome).is_empty() {
                        return;
                    }
                }
            })
        })
        .collect();
    for step in steps {
        step.await.expect("no step panics");
    }
    let end = world.read(id).await.expect("the instance is there");
    assert_eq!(end.version, 1 + STEPS as i64);
    for n in 0..STEPS {
        assert!(end.data.get().contains(&format!("\"{n}\":true")), "{}", end.data);
    }
    let detail = world.stores.records.instance(&world.saga, id).await.expect("detail is read");
    assert_eq!(detail.map(|detail| detail.journal.len()), Some(1 + STEPS));
}

/// Two transactions handle one message at the same time, for different instances: exactly one
/// applies, the other is told, and the first one's outgoing messages are untouched (PE-085).
pub async fn pe_085_one_message_in_two_open_transactions_applies_once(stores: Stores) {
    let world = World::new(stores).await;
    for round in 1..=ROUNDS {
        let (left, right) = (InstanceId(world.id()), InstanceId(world.id()));
        let mut one = world.step(left, 1);
        let mut two = world.step(right, 1);
        let message = one.journal[0].message_id;
        two.journal[0].message_id = message;
        one.outgoing = vec![world.outgoing(left, 1)];
        two.outgoing = vec![world.outgoing(right, 1)];
        let (one, two) = race_slices(&world, vec![one], vec![two]).await;
        assert!(is_committed(&one) != is_committed(&two), "{one:?} {two:?}");
        let loser = if is_committed(&one) { &two } else { &one };
        assert!(matches!(loser, CommitOutcome::Duplicates(ids) if *ids == [message]), "{loser:?}");
        assert_eq!(world.version(left).await + world.version(right).await, 1);
        let mut chunks = 0;
        for node in [world.node, world.other] {
            chunks += world.store().own_chunks(node, &[]).await.expect("chunks are read").len();
        }
        assert_eq!(chunks, round);
    }
}

/// A message redelivered to another node while the first still commits it, for one instance: it is
/// applied once, and the loser learns that it lost or that the message is known.
pub async fn a_redelivery_during_its_first_commit_changes_nothing(stores: Stores) {
    let world = World::new(stores).await;
    for _ in 0..ROUNDS {
        let id = world.born().await;
        let step = world.step(id, 2);
        let message = step.journal[0].message_id;
        let (one, two) = race_slices(&world, vec![step.clone()], vec![step]).await;
        assert!(is_committed(&one) != is_committed(&two), "{one:?} {two:?}");
        let loser = if is_committed(&one) { two } else { one };
        match loser {
            CommitOutcome::Committed { lost, .. } => assert_eq!(lost, [id]),
            CommitOutcome::Duplicates(ids) => assert_eq!(ids, [message]),
            other => panic!("the loser was told something else: {other:?}"),
        }
        assert_eq!(world.version(id).await, 2);
    }
}

/// Batches over the same instances in opposite orders do not deadlock, and of each instance one
/// slice wins.
pub async fn batches_in_opposite_orders_do_not_deadlock(stores: Stores) {
    const INSTANCES: usize = 20;
    let world = World::new(stores).await;
    let ids: Vec<_> = (0..INSTANCES).map(|_| InstanceId(world.id())).collect();
    for version in 1..=ROUNDS as i64 {
        let forth: Vec<_> = ids.iter().map(|id| world.step(*id, version)).collect();
        let back: Vec<_> = ids.iter().rev().map(|id| world.step(*id, version)).collect();
        let messages: Vec<_> =
            forth.iter().chain(&back).map(|slice| slice.journal[0].message_id).collect();
        let (one, two) = race_slices(&world, forth, back).await;
        assert_eq!(lost(one).len() + lost(two).len(), INSTANCES);
        assert_eq!(world.outcomes(&messages).await.len(), INSTANCES);
    }
    let loaded = world.load(&ids, &[], &[]).await;
    let versions = loaded.instances.values().map(|instance| instance.version);
    assert!(versions.eq(std::iter::repeat_n(ROUNDS as i64, INSTANCES)));
}

/// A hundred instances made at once over two nodes all exist (MT-217).
pub async fn mt_217_a_hundred_instances_made_at_once_all_exist(stores: Stores) {
    let world = Arc::new(World::new(stores).await);
    let ids: Vec<_> = (0..100).map(|_| InstanceId(world.id())).collect();
    let made: Vec<_> = ids
        .chunks(10)
        .enumerate()
        .map(|(n, ids)| {
            let (world, ids) = (world.clone(), ids.to_vec());
            tokio::spawn(async move {
                let store = if n % 2 == 0 { world.store() } else { world.second() };
                for id in ids {
                    let outcome = world.commit_as(store, world.node, vec![world.step(id, 1)]).await;
                    assert!(is_committed(&outcome), "{outcome:?}");
                }
            })
        })
        .collect();
    for lane in made {
        lane.await.expect("no lane panics");
    }
    assert_eq!(world.load(&ids, &[], &[]).await.instances.len(), 100);
}

/// Two instances that take one key at the same time on two nodes: one gets it, the other is told
/// (PE-114).
pub async fn pe_114_of_two_takers_of_a_key_one_gets_it(stores: Stores) {
    let world = World::new(stores).await;
    for round in 0..ROUNDS {
        let number = key("number", &format!("A-{round}"));
        let start = |id| {
            let by = MessageId(world.id());
            let write =
                KeyWrite { key: number.clone(), generation: 1, free: false, by, by_start: true };
            (Slice { keys: vec![write], ..world.step(id, 1) }, by)
        };
        let (left, right) = (InstanceId(world.id()), InstanceId(world.id()));
        let ((one, by_one), (two, by_two)) = (start(left), start(right));
        let (one, two) = race_slices(&world, vec![one], vec![two]).await;
        assert!(is_committed(&one) != is_committed(&two), "{one:?} {two:?}");
        let (loser, wanted, owner) =
            if is_committed(&one) { (two, by_two, left) } else { (one, by_one, right) };
        match loser {
            CommitOutcome::KeyTaken { by, key, by_start: true } => {
                assert_eq!((by, &key), (wanted, &number));
            }
            other => panic!("the loser was told something else: {other:?}"),
        }
        assert_eq!(world.key_row(&number).await.map(|row| row.instance), Some(owner));
        assert_eq!(world.version(left).await + world.version(right).await, 1);
    }
}

/// One message parked by two nodes at the same time waits once.
pub async fn one_message_parked_at_once_by_two_nodes_waits_once(stores: Stores) {
    let world = World::new(stores).await;
    for _ in 0..ROUNDS {
        let one = world.parked(None, 1, ParkedReason::Retry, Some(3_600_000));
        let mut two = one.clone();
        two.id = knarr_model::RowId(world.id());
        let message = one.message_id;
        let park = |row| vec![Slice { parked: vec![row], ..Slice::default() }];
        let (one, two) = race_slices(&world, park(one), park(two)).await;
        assert!(is_committed(&one) != is_committed(&two), "{one:?} {two:?}");
        let loser = if is_committed(&one) { two } else { one };
        assert!(matches!(&loser, CommitOutcome::Duplicates(ids) if *ids == [message]), "{loser:?}");
    }
}

/// One internal delivery decided twice at the same time by its own node is done once (PE-101).
pub async fn pe_101_an_internal_delivery_is_consumed_once(stores: Stores) {
    let world = World::new(stores).await;
    for _ in 0..ROUNDS {
        let id = world.born().await;
        let timer = world.timer(id, -1_000);
        let row = timer.id;
        world.commit(vec![Slice { timers: vec![timer], ..world.aside(id) }]).await;
        assert_eq!(world.claim_timers(world.store(), world.node).await, [row]);
        let fire = |world: &World| {
            let journal = vec![world.ignored(MessageId(world.id()), Some(id))];
            vec![Slice { journal, ..world.taking(id, &[(RowKind::Timer, row)]) }]
        };
        let one = world.commit_of(fire(&world)).await;
        let two = world.commit_of(fire(&world)).await;
        let messages = [one.slices[0].journal[0].message_id, two.slices[0].journal[0].message_id];
        let (one, two) = race(&world, one, two).await;
        assert!(is_committed(&one) != is_committed(&two), "{one:?} {two:?}");
        let loser = if is_committed(&one) { two } else { one };
        assert!(matches!(&loser, CommitOutcome::Gone(rows) if *rows == [row]), "{loser:?}");
        assert_eq!(world.outcomes(&messages).await.len(), 1);
    }
}

/// A timer cancelled and fired at the same moment ends in one order: fired, and the cancel did
/// nothing, or cancelled and never seen (PE-142).
pub async fn pe_142_cancel_and_fire_at_once_end_in_one_order(stores: Stores) {
    let world = World::new(stores).await;
    for _ in 0..ROUNDS {
        let id = world.born().await;
        let timer = world.timer(id, -1_000);
        let row = timer.id;
        world.commit(vec![Slice { timers: vec![timer], ..world.aside(id) }]).await;
        assert_eq!(world.claim_timers(world.store(), world.node).await, [row]);
        let fired = world.ignored(MessageId(row.0), Some(id));
        let fire = Slice { journal: vec![fired], ..world.taking(id, &[(RowKind::Timer, row)]) };
        let cancel = Slice { cancelled_timers: vec![row], ..world.aside(id) };
        let (fire, cancel) = race_slices(&world, vec![fire], vec![cancel]).await;
        assert!(is_committed(&cancel), "an absent timer is cancelled without a word: {cancel:?}");
        let seen = world.outcomes(&[MessageId(row.0)]).await.len();
        match fire {
            CommitOutcome::Committed { .. } => assert_eq!(seen, 1),
            CommitOutcome::Gone(rows) => assert_eq!((rows, seen), (vec![row], 0)),
            other => panic!("fired in an odd way: {other:?}"),
        }
        let claim = knarr_model::work::Claim {
            reclaim_except: Some(Vec::new()),
            ..world.claim(world.node, 10)
        };
        assert!(world.store().claim_timers(&claim).await.expect("claimed").is_empty());
    }
}
