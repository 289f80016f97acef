//! A commit writes everything or nothing, and what it wrote is read back byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;

use knarr_model::commit::{CommitOutcome, Origin, Outcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::instance::Instance;
use serde::Serialize;
use uuid::Uuid;

use super::stores::Stores;
use super::world::{World, kept, key, lost, raw};

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it can be written as JSON")
}

/// 1 MiB of data comes back whole, and a shorter value leaves no rest of the longer one (PE-110).
pub async fn pe_110_large_and_then_small_data_come_back_whole(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let mut step = world.step(id, 1);
    let long = format!("{{\"text\":\"{}\"}}", "añ\\u0000🐟".repeat(100_000));
    assert!(long.len() > 1 << 20);
    step.instance = Some(Instance { data: raw(&long), ..world.instance(id, 1) });
    world.commit(vec![step]).await;
    assert!(world.read(id).await.is_some_and(|instance| instance.data.get() == long));
    let mut step = world.step(id, 2);
    step.instance = Some(Instance { data: raw("[]"), ..world.instance(id, 2) });
    world.commit(vec![step]).await;
    assert_eq!(world.read(id).await.map(|i| i.data.get().to_owned()), Some("[]".to_owned()));
}

/// An unknown instance, key or message is absent and no error; a known one is found by its id and
/// by each of its keys, with equal values (PE-109).
pub async fn pe_109_an_instance_is_found_by_id_and_by_each_key(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let keys = [key("number", "A-1"), key("mail", "a@b")];
    let mut step = world.step(id, 1);
    step.keys = keys
        .iter()
        .map(|key| knarr_model::commit::KeyWrite {
            key: key.clone(),
            generation: 1,
            free: false,
            by: MessageId(world.id()),
            by_start: true,
        })
        .collect();
    world.commit(vec![step.clone()]).await;
    for key in &keys {
        let loaded = world.load(&[], std::slice::from_ref(key), &[]).await;
        assert_eq!(json(&loaded.instances.get(&id)), json(&step.instance));
        assert_eq!(loaded.keys[key].instance, id);
    }
    let unknown = InstanceId(world.id());
    let message = MessageId(world.id());
    let loaded = world.load(&[unknown], &[key("number", "a-1")], &[message]).await;
    assert!(loaded.instances.is_empty() && loaded.keys.is_empty() && loaded.journal.is_empty());
    assert!(loaded.parked.is_empty() && loaded.waiting.is_empty());
    let detail = world.stores.records.instance(&world.saga, unknown).await;
    assert!(detail.expect("an unknown instance is no error").is_none());
}

/// The version rises by one per commit, however many messages are folded into it.
pub async fn the_version_rises_by_one_per_commit(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    for version in 1..=4 {
        let mut step = world.step(id, version);
        step.journal = (0..3).map(|n| world.applied(id, version * 3 + n)).collect();
        world.commit(vec![step]).await;
        assert_eq!(world.version(id).await, version);
    }
    let detail = world.stores.records.instance(&world.saga, id).await.expect("detail is read");
    let seqs: Vec<_> = detail.iter().flat_map(|d| &d.journal).map(|row| row.seq).collect();
    assert_eq!(seqs, (3..15).map(Some).collect::<Vec<_>>(), "history is oldest first");
}

/// A slice whose version is stale, in either direction, is lost alone and writes nothing; the
/// other slices, and those without an instance, are kept.
pub async fn a_stale_version_is_lost_alone(stores: Stores) {
    let world = World::new(stores).await;
    let (stale, ahead, fresh) = (world.born().await, world.born().await, world.born().await);
    world.commit(vec![world.step(stale, 2)]).await;
    let aside = world.ignored(MessageId(world.id()), None);
    let mut losing = world.step(stale, 2);
    losing.timers = vec![world.timer(stale, -1_000)];
    losing.outgoing = vec![world.outgoing(stale, 1)];
    losing.quarantine = vec![world.quarantined(knarr_model::Class::Unhandled)];
    losing.taken = vec![world.claimed(knarr_model::work::RowKind::Timer, RowId(world.id()))];
    let mut winning = world.step(fresh, 2);
    winning.outgoing = vec![world.outgoing(fresh, 1)];
    let slices = vec![
        losing.clone(),
        winning.clone(),
        world.step(ahead, 3),
        Slice { journal: vec![aside.clone()], ..Slice::default() },
    ];
    match world.try_commit(slices).await {
        CommitOutcome::Committed { lost, chunks } => {
            assert_eq!(lost, [stale, ahead]);
            assert_eq!(chunks.len(), 1);
            assert_eq!(json(&chunks[0].messages), json(&winning.outgoing));
        }
        other => panic!("not committed: {other:?}"),
    }
    assert_eq!(world.version(stale).await, 2);
    assert_eq!(world.version(ahead).await, 1);
    assert_eq!(world.version(fresh).await, 2);
    let messages = [losing.journal[0].message_id, winning.journal[0].message_id, aside.message_id];
    let outcomes = world.outcomes(&messages).await;
    assert_eq!(
        outcomes,
        BTreeMap::from([(messages[1], Outcome::Applied), (messages[2], Outcome::Ignored)])
    );
    assert!(world.claim_timers(world.store(), world.node).await.is_empty());
    let kept = world.stores.records.quarantined(losing.quarantine[0].id).await;
    assert!(kept.expect("it is read").is_none());
}

/// An instance that is gone while an update was meant was swept: nothing at all is written.
pub async fn an_insert_above_version_one_is_swept_and_nothing_is_written(stores: Stores) {
    let world = World::new(stores).await;
    let (gone, fine) = (InstanceId(world.id()), InstanceId(world.id()));
    let outcome = world.try_commit(vec![world.step(fine, 1), world.step(gone, 4)]).await;
    assert!(matches!(&outcome, CommitOutcome::Swept(ids) if *ids == [gone]), "{outcome:?}");
    assert_eq!((world.version(fine).await, world.version(gone).await), (0, 0));
}

/// A commit that changes nothing about an instance leaves its version alone, and an empty commit
/// is a commit.
pub async fn a_slice_without_an_instance_leaves_it_as_it_is(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let row = world.ignored(MessageId(world.id()), Some(id));
    world.commit(vec![Slice { journal: vec![row.clone()], ..world.aside(id) }]).await;
    assert_eq!(world.version(id).await, 1);
    assert_eq!(world.outcomes(&[row.message_id]).await.len(), 1);
    assert!(world.commit(Vec::new()).await.is_empty());
}

/// A message that has an outcome already makes the whole commit a duplicate, which is named and
/// writes nothing (PE-111: the store shows the state before).
pub async fn pe_111_a_known_message_rolls_the_commit_back(stores: Stores) {
    let world = World::new(stores).await;
    let (first, second) = (world.step(InstanceId(world.id()), 1), InstanceId(world.id()));
    let known = first.journal[0].message_id;
    world.commit(vec![first]).await;
    let mut again = world.step(second, 1);
    again.journal[0].message_id = known;
    again.keys = vec![knarr_model::commit::KeyWrite {
        key: key("number", "A-1"),
        generation: 1,
        free: false,
        by: known,
        by_start: true,
    }];
    let other = InstanceId(world.id());
    let outcome = world.try_commit(vec![world.step(other, 1), again]).await;
    assert!(matches!(&outcome, CommitOutcome::Duplicates(ids) if *ids == [known]), "{outcome:?}");
    assert_eq!((world.version(second).await, world.version(other).await), (0, 0));
    assert!(world.key_row(&key("number", "A-1")).await.is_none(), "the key is free");
}

/// The same id in two sagas is two messages; in one saga it is one (PE-087).
pub async fn pe_087_one_id_in_two_sagas_is_two_messages(stores: Stores) {
    let world = World::new(stores).await;
    let message = MessageId(world.id());
    let row = world.ignored(message, None);
    world.commit(vec![Slice { journal: vec![row.clone()], ..Slice::default() }]).await;
    let mut commit = world.commit_of(vec![Slice { journal: vec![row], ..Slice::default() }]).await;
    commit.saga = "billing".into();
    let billing = commit.saga.clone();
    kept(world.store().commit(commit).await.expect("the commit is answered"));
    assert_eq!(world.load_of(&billing, &[], &[], &[message]).await.journal.len(), 1);
    assert_eq!(world.load_of(&"third".into(), &[], &[], &[message]).await.journal.len(), 0);
}

/// What a slice both makes and removes never existed: an origin forgotten, a timer or a call
/// cancelled in the commit that makes them. Absent rows may be cancelled.
pub async fn what_a_slice_makes_and_removes_never_existed(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let mut step = world.step(id, 1);
    step.origin = Some(Origin {
        run: 1,
        message_id: step.journal[0].message_id,
        fingerprint: [1; 32],
        envelope: Arc::new(world.envelope()),
    });
    step.forget_origin = Some(1);
    let (gone, stays) = (world.timer(id, -1_000), world.timer(id, -1_000));
    step.cancelled_timers = vec![gone.id, RowId(world.id())];
    let call = world.call(id, "Look", -1_000);
    step.cancelled_tasks = vec![call.id, RowId(world.id())];
    step.tasks = vec![call];
    let left = stays.id;
    step.timers = vec![gone, stays];
    world.commit(vec![step]).await;
    assert_eq!(world.claim_timers(world.store(), world.node).await, [left]);
    assert!(world.claim_calls(world.store(), world.node).await.is_empty());
    let origin = world.store().origin(&world.saga, id, 1).await.expect("origin is read");
    assert!(origin.is_none());
}

/// The start message is there while the run lives, under its run, and goes when it is forgotten.
pub async fn an_origin_lives_as_long_as_its_run(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let mut step = world.step(id, 1);
    let envelope = Arc::new(world.envelope());
    let message_id = envelope.message_id;
    step.origin = Some(Origin { run: 1, message_id, fingerprint: [9; 32], envelope });
    world.commit(vec![step]).await;
    let read = |run| world.store().origin(&world.saga, id, run);
    let found = read(1).await.expect("origin is read").expect("it is there");
    assert_eq!((found.message_id, found.fingerprint), (message_id, [9; 32]));
    assert!(read(2).await.expect("origin is read").is_none());
    let mut end = world.step(id, 2);
    end.forget_origin = Some(1);
    world.commit(vec![end]).await;
    assert!(read(1).await.expect("origin is read").is_none());
}

/// An instance that finishes in its first step leaves its row and its journal, and nothing else
/// (PE-119).
pub async fn pe_119_a_run_may_end_in_its_first_step(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let mut step = world.step(id, 1);
    let mut instance = world.instance(id, 1);
    instance.state = knarr_model::instance::FINAL.to_owned();
    step.instance = Some(instance);
    let message = step.journal[0].message_id;
    world.commit(vec![step]).await;
    assert!(world.read(id).await.is_some_and(|instance| instance.is_over()));
    assert_eq!(world.outcomes(&[message]).await.len(), 1);
    let late = world.try_commit(vec![world.step(id, 1)]).await;
    assert_eq!(lost(late), [id]);
}

/// Where a store refuses some data, the commit is an error that says so, nothing of it is written,
/// and the store goes on.
pub async fn refused_data_is_an_error_of_the_data_and_writes_nothing(stores: Stores) {
    let Some(spoil) = stores.refused else { return };
    let world = World::new(stores).await;
    let (fine, guilty) = (InstanceId(world.id()), InstanceId(world.id()));
    let mut slice = world.step(guilty, 1);
    spoil(&mut slice);
    let commit = world.commit_of(vec![world.step(fine, 1), slice]).await;
    let error = world.store().commit(commit).await.expect_err("the data are refused");
    assert!(error.is_data(), "{error}");
    assert_eq!((world.version(fine).await, world.version(guilty).await), (0, 0));
    world.commit(vec![world.step(fine, 1)]).await;
}

/// Nil ids and ids of any version are ids like others (PE-123).
pub async fn pe_123_a_nil_id_is_an_id(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(Uuid::nil());
    let mut step = world.step(id, 1);
    step.journal[0].message_id = MessageId(Uuid::nil());
    world.commit(vec![step]).await;
    assert_eq!(world.version(id).await, 1);
    assert_eq!(world.outcomes(&[MessageId(Uuid::nil())]).await.len(), 1);
}

/// Data are one document: a change deep inside is stored and loaded with the rest of it, and what
/// did not change is as it was, to the byte.
pub async fn mt_215_a_change_deep_inside_the_data_is_kept_with_the_rest(stores: Stores) {
    let world = World::new(stores).await;
    let id = world.born().await;
    let order =
        |children: &str| format!(r#"{{"parts":[{{"n":1,"children":[{children}]}}],"x":1.0}}"#);
    let steps = [
        order(""),
        order(r#"{"n":1,"children":[{"n":1,"label":"a"}]}"#),
        order(r#"{"n":1,"children":[{"n":1,"label":"b"},{"n":2,"label":null}]}"#),
        order(r#"{"n":1,"children":[{"n":2,"label":null}]}"#),
    ];
    for (version, data) in (2..).zip(&steps) {
        let instance = Instance { data: raw(data), ..world.instance(id, version) };
        world.commit(vec![Slice { instance: Some(instance), ..world.step(id, version) }]).await;
        assert_eq!(world.read(id).await.expect("it is there").data.get(), data);
    }
}
