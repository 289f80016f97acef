//! Business keys: one owner at a time, generations, conflicts.

use knarr_model::commit::{CommitOutcome, Key, KeyRow, KeyWrite, Slice};
use knarr_model::ids::{InstanceId, MessageId};

use super::stores::Stores;
use super::world::{World, kept, key, lost};

fn take(world: &World, key: &Key, generation: i64) -> KeyWrite {
    let by = MessageId(world.id());
    KeyWrite { key: key.clone(), generation, free: false, by, by_start: true }
}

fn give(world: &World, key: &Key, generation: i64) -> KeyWrite {
    KeyWrite { free: true, by_start: false, ..take(world, key, generation) }
}

fn step(world: &World, id: InstanceId, version: i64, keys: Vec<KeyWrite>) -> Slice {
    Slice { keys, ..world.step(id, version) }
}

async fn born_with(world: &World, keys: Vec<KeyWrite>) -> InstanceId {
    let id = InstanceId(world.id());
    world.commit(vec![step(world, id, 1, keys)]).await;
    id
}

async fn refused(world: &World, slices: Vec<Slice>) -> (MessageId, Key, bool) {
    let ids: Vec<_> = slices.iter().filter_map(|slice| slice.key).collect();
    match world.try_commit(slices).await {
        CommitOutcome::KeyTaken { by, key, by_start } => {
            let stored = world.load(&ids, &[], &[]).await.instances;
            assert!(stored.values().all(|instance| instance.version == 1 && instance.run == 1));
            (by, key, by_start)
        }
        other => panic!("the key was not refused: {other:?}"),
    }
}

/// A key is taken at its first generation, freed by its owner, and taken again by another instance
/// at the next generation and no other; its row stays all the while.
pub async fn a_key_is_taken_freed_and_taken_at_the_next_generation(stores: Stores) {
    let world = World::new(stores).await;
    let number = key("number", "A-1");
    let first = born_with(&world, vec![take(&world, &number, 1)]).await;
    let row = |instance, generation, free| Some(KeyRow { instance, generation, free });
    assert_eq!(world.key_row(&number).await, row(first, 1, false));
    for generation in [1, 2] {
        let late = InstanceId(world.id());
        refused(&world, vec![step(&world, late, 1, vec![take(&world, &number, generation)])]).await;
    }
    world.commit(vec![step(&world, first, 2, vec![give(&world, &number, 1)])]).await;
    assert_eq!(world.key_row(&number).await, row(first, 1, true));
    for generation in [1, 3] {
        let late = InstanceId(world.id());
        refused(&world, vec![step(&world, late, 1, vec![take(&world, &number, generation)])]).await;
    }
    let second = born_with(&world, vec![take(&world, &number, 2)]).await;
    assert_eq!(world.key_row(&number).await, row(second, 2, false));
}

/// A key of another instance: nothing at all is written, and the answer names message, key, and
/// whether the message starts a run.
pub async fn a_taken_key_names_the_message_and_whether_it_starts_a_run(stores: Stores) {
    let world = World::new(stores).await;
    let number = key("number", "A-1");
    born_with(&world, vec![take(&world, &number, 1)]).await;
    for by_start in [true, false] {
        let (fine, late) = (InstanceId(world.id()), InstanceId(world.id()));
        let write = KeyWrite { by_start, ..take(&world, &number, 1) };
        let by = write.by;
        let slices = vec![world.step(fine, 1), step(&world, late, 1, vec![write])];
        assert_eq!(refused(&world, slices).await, (by, number.clone(), by_start));
        assert_eq!((world.version(fine).await, world.version(late).await), (0, 0));
    }
}

/// Two instances that take one key value in one batch: the later slice is refused, by the message
/// that wanted it; without it the rest commits (PE-114).
pub async fn pe_114_two_slices_of_one_batch_take_one_key(stores: Stores) {
    let world = World::new(stores).await;
    let number = key("number", "A-1");
    let (one, two, three) =
        (InstanceId(world.id()), InstanceId(world.id()), InstanceId(world.id()));
    let second = take(&world, &number, 1);
    let by = second.by;
    let first = step(&world, one, 1, vec![take(&world, &number, 1)]);
    let third = world.step(three, 1);
    let slices = vec![first.clone(), step(&world, two, 1, vec![second]), third.clone()];
    assert_eq!(refused(&world, slices).await, (by, number.clone(), true));
    world.commit(vec![first, third]).await;
    assert_eq!(world.key_row(&number).await.map(|row| row.instance), Some(one));
}

/// The same key value in two sagas, and under two key names, belongs to each (PE-115).
pub async fn pe_115_a_key_belongs_to_its_saga_and_name(stores: Stores) {
    let world = World::new(stores).await;
    let (number, mail) = (key("number", "A-1"), key("mail", "A-1"));
    let one = born_with(&world, vec![take(&world, &number, 1)]).await;
    let two = born_with(&world, vec![take(&world, &mail, 1)]).await;
    let three = InstanceId(world.id());
    let mut slice = step(&world, three, 1, vec![take(&world, &number, 1)]);
    if let Some(instance) = &mut slice.instance {
        instance.saga = "billing".into();
    }
    let mut commit = world.commit_of(vec![slice]).await;
    commit.saga = "billing".into();
    let billing = commit.saga.clone();
    kept(world.store().commit(commit).await.expect("answered"));
    assert_eq!(world.key_row(&number).await.map(|row| row.instance), Some(one));
    assert_eq!(world.key_row(&mail).await.map(|row| row.instance), Some(two));
    let loaded = world.load_of(&billing, &[], std::slice::from_ref(&number), &[]).await;
    assert_eq!(loaded.keys.get(&number).map(|row| row.instance), Some(three));
    assert_eq!(loaded.instances.keys().copied().collect::<Vec<_>>(), [three]);
}

/// A run that changes its key frees the old value and takes the new one in one commit (PE-121).
pub async fn pe_121_a_changed_key_follows_in_the_same_commit(stores: Stores) {
    let world = World::new(stores).await;
    let (old, new) = (key("number", "A-1"), key("number", "A-2"));
    let id = born_with(&world, vec![take(&world, &old, 1)]).await;
    let keys = vec![give(&world, &old, 1), take(&world, &new, 1)];
    world.commit(vec![step(&world, id, 2, keys)]).await;
    assert_eq!(world.key_row(&old).await.map(|row| row.free), Some(true));
    let loaded = world.load(&[], std::slice::from_ref(&new), &[]).await;
    assert_eq!(loaded.instances.get(&id).map(|instance| instance.version), Some(2));
}

/// Equal means byte-equal: case, blanks, composed and decomposed accents, right-to-left text, 4 kB
/// that do not compress. A value that cannot be stored (NUL, for some) is an error of the data and
/// writes nothing (PE-122).
pub async fn pe_122_equal_keys_are_byte_equal(stores: Stores) {
    let world = World::new(stores).await;
    let dense = |salt: u64| {
        let digits = (0..256_u64).map(|n| {
            let mixed = (n + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            format!("{:016x}", mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9))
        });
        digits.collect::<String>()
    };
    let values = [
        String::new(),
        " ".to_owned(),
        "a".to_owned(),
        "A".to_owned(),
        " a".to_owned(),
        "a ".to_owned(),
        "é".to_owned(),
        "e\u{301}".to_owned(),
        "שלום".to_owned(),
        "🐟".to_owned(),
        "'; DROP TABLE instance; --".to_owned(),
        "\\".to_owned(),
        "%".to_owned(),
        dense(1),
        format!("{}x", dense(1)),
    ];
    let mut owners = Vec::new();
    for value in &values {
        let write = take(&world, &key("number", value), 1);
        owners.push(born_with(&world, vec![write]).await);
    }
    for (value, owner) in values.iter().zip(&owners) {
        let found = world.key_row(&key("number", value)).await.map(|row| row.instance);
        assert_eq!(found, Some(*owner), "{value:?}");
    }
    let id = InstanceId(world.id());
    let slice = step(&world, id, 1, vec![take(&world, &key("number", "a\u{0}"), 1)]);
    let commit = world.commit_of(vec![slice]).await;
    match world.store().commit(commit).await {
        Ok(outcome) => {
            kept(outcome);
            let row = world.key_row(&key("number", "a\u{0}")).await;
            assert_eq!(row.map(|row| row.instance), Some(id));
        }
        Err(error) => {
            assert!(error.is_data(), "{error}");
            assert_eq!(world.version(id).await, 0);
        }
    }
    assert_eq!(world.key_row(&key("number", "a")).await.map(|row| row.instance), Some(owners[2]));
}

/// An owner that takes its key again at its generation changes nothing.
pub async fn an_owner_may_take_its_key_again(stores: Stores) {
    let world = World::new(stores).await;
    let number = key("number", "A-1");
    let id = born_with(&world, vec![take(&world, &number, 1)]).await;
    world.commit(vec![step(&world, id, 2, vec![take(&world, &number, 1)])]).await;
    let row = KeyRow { instance: id, generation: 1, free: false };
    assert_eq!(world.key_row(&number).await, Some(row));
}

/// Of several writes of one key in a slice the last counts: a run that starts and ends in one
/// commit leaves its key free at its generation, and the next start takes the one after.
pub async fn a_key_taken_and_freed_in_one_slice_stays_as_free(stores: Stores) {
    let world = World::new(stores).await;
    let number = key("number", "A-1");
    let keys = vec![take(&world, &number, 1), give(&world, &number, 1)];
    let first = born_with(&world, keys).await;
    let row = KeyRow { instance: first, generation: 1, free: true };
    assert_eq!(world.key_row(&number).await, Some(row));
    let second = born_with(&world, vec![take(&world, &number, 2)]).await;
    let keys = vec![give(&world, &number, 2), take(&world, &number, 2)];
    world.commit(vec![step(&world, second, 2, keys)]).await;
    let row = KeyRow { instance: second, generation: 2, free: false };
    assert_eq!(world.key_row(&number).await, Some(row));
}

/// A slice that is lost takes no key and is refused for none.
pub async fn a_lost_slice_takes_no_key(stores: Stores) {
    let world = World::new(stores).await;
    let (owned, free) = (key("number", "A-1"), key("number", "A-2"));
    born_with(&world, vec![take(&world, &owned, 1)]).await;
    let id = world.born().await;
    let keys = vec![take(&world, &owned, 1), take(&world, &free, 1)];
    let outcome = world.try_commit(vec![step(&world, id, 1, keys)]).await;
    assert_eq!(lost(outcome), [id]);
    assert_eq!(world.key_row(&free).await, None);
}
