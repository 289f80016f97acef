//! A commit writes everything or nothing, and what it wrote is read back byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_model::commit::{CommitOutcome, Origin, Outcome, Slice};
use knarr_model::envelope::{Context, Envelope};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::instance::{Book, Instance, Join, OpenCall, OpenTimer};
use knarr_model::retry::RetryPolicy;
use knarr_model::work::{Addressing, Outgoing, ParkedReason};
use serde::Serialize;
use uuid::Uuid;

use super::stores::Stores;
use super::world::{HARD_NAME, HARD_TEXT, World, every_header, kept, key, lost, raw};

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it can be written as JSON")
}

/// JSON that stores have been seen to normalise: spacing, doubled members, big and odd numbers,
/// escapes, a NUL.
const HARD_JSON: &str = "{ \"z\":1.0, \"a\" : [ ], \"a\":12345678901234567890123,\t\"e\":1E+2,\
    \"nul\":\"\\u0000\",\"esc\":\"\\u00e9/\\/\", \"\u{1f41f}\":\"\u{5e9}\",\"x\":{\"y\":[null,{}]}}";

fn hard_context(world: &World) -> Context {
    Context {
        conversation_id: Some(world.id()),
        initiator_id: Some(world.id()),
        headers: every_header(),
        trace_parent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        trace_state: Some("a=1".to_owned()),
        baggage: Some("tenant=ü".to_owned()),
    }
}

fn hard_envelope(world: &World) -> Envelope {
    Envelope {
        request_id: Some(world.id()),
        correlation_id: Some(world.id()),
        conversation_id: Some(world.id()),
        initiator_id: Some(world.id()),
        source_address: Some("rabbitmq://host/a?b=c".to_owned()),
        destination_address: Some(String::new()),
        response_address: Some(HARD_TEXT.to_owned()),
        fault_address: Some("rabbitmq://host/fault".to_owned()),
        message: raw(HARD_JSON),
        expiration_time: Some(world.at(60_000)),
        sent_time: Some(world.at(-1)),
        headers: every_header(),
        reply_to: Some("amq.rabbitmq.reply-to.x".to_owned()),
        ..world.envelope()
    }
}

fn hard_outgoing(world: &World, instance: InstanceId) -> Outgoing {
    Outgoing {
        addressing: Addressing::Publish { bases: vec!["Shop:Event".to_owned(), "Ä".to_owned()] },
        routing_key: "alpha.β".to_owned(),
        correlation_id: Some(world.id()),
        headers: every_header(),
        expires_at: Some(world.at(60_000)),
        priority: Some(3),
        body: Bytes::from_static(&[0, 255, 1, 128, 10]),
        ..world.outgoing(instance, 1)
    }
}

fn hard_instance(world: &World, id: InstanceId, timer: RowId, call: RowId) -> Instance {
    let token = OpenTimer { token: timer, due: world.at(5_000) };
    Instance {
        run: 7,
        state: format!("State {HARD_NAME}"),
        definition_version: 41,
        data: raw(HARD_JSON),
        book: Book {
            applied: 12,
            produced: i64::MAX,
            timers: BTreeMap::from([(HARD_TEXT.to_owned(), token)]),
            calls: vec![OpenCall { call: "Look".to_owned(), token: call }],
            joins: BTreeMap::from([(3, Join { seen: vec![0, 2], fired: true })]),
            deferred: vec!["urn:message:Shop:OrderPaid".to_owned()],
            keys: vec![("number".to_owned(), HARD_TEXT.to_owned())],
        },
        incident: Some(world.id()),
        ..world.instance(id, 1)
    }
}

/// Every part of a slice is written, and each is read back exactly as it was: text with NUL and of
/// all scripts, JSON byte for byte, header values with their AMQP types, decimals with their
/// scale, times to the microsecond.
pub async fn everything_is_read_back_byte_exact(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let timer =
        knarr_model::work::Timer { context: hard_context(&world), ..world.timer(id, -1_000) };
    let call = knarr_model::work::ActivityTask {
        payload: raw(HARD_JSON),
        memo: Some(serde_json::json!({"analysis": "\u{0}", "n": 1.5})),
        retry: Some(RetryPolicy::doubling(5, Duration::from_millis(1), Duration::from_secs(9))),
        deadline: Some(Duration::from_millis(1_500)),
        context: hard_context(&world),
        ..world.call(id, "Look", -1_000)
    };
    let envelope = hard_envelope(&world);
    let mut parked = world.parked(Some(id), 4, ParkedReason::Missing, Some(-1_000));
    parked.message_id = envelope.message_id;
    parked.envelope = Arc::new(envelope);
    parked.error = Some(HARD_TEXT.to_owned());
    parked.attempt = 2;
    let mut aside = world.quarantined(knarr_model::Class::Exhausted);
    aside.errors = vec![HARD_TEXT.to_owned(), String::new()];
    aside.reason = HARD_TEXT.to_owned();
    aside.headers = every_header();
    aside.body = Bytes::from_static(&[0, 1, 254, 255]);
    aside.size = 70_000_000_000;
    (aside.instance, aside.run, aside.state) = (Some(id), Some(7), Some(HARD_NAME.to_owned()));
    aside.fingerprint = Some("ab".repeat(32));
    let origin = Origin {
        run: 7,
        message_id: MessageId(world.id()),
        fingerprint: [0xfe; 32],
        envelope: Arc::new(hard_envelope(&world)),
    };
    let instance = hard_instance(&world, id, timer.id, call.id);
    let row = knarr_model::commit::JournalRow {
        event: HARD_NAME.to_owned(),
        to_state: Some(HARD_NAME.to_owned()),
        run: Some(7),
        ..world.applied(id, 12)
    };
    let message = hard_outgoing(&world, id);
    let chunks = world
        .commit(vec![Slice {
            key: Some(id),
            instance: Some(instance.clone()),
            origin: Some(origin.clone()),
            journal: vec![row.clone()],
            timers: vec![timer.clone()],
            tasks: vec![call.clone()],
            parked: vec![parked.clone()],
            quarantine: vec![aside.clone()],
            outgoing: vec![message.clone()],
            ..Slice::default()
        }])
        .await;

    assert_eq!(json(&world.read(id).await), json(&Some(instance.clone())));
    let stored = world.store().origin(&world.saga, id, 7).await.expect("origin is read");
    assert_eq!(json(&stored), json(&Some(origin)));
    let detail = world.stores.records.instance(&world.saga, id).await.expect("detail is read");
    let detail = detail.expect("the instance is there");
    assert_eq!(json(&detail.instance), json(&instance));
    assert_eq!(json(&detail.journal), json(&vec![row]));
    assert_eq!(json(&detail.timers), json(&vec![timer.clone()]));
    assert_eq!(json(&detail.calls), json(&vec![call.clone()]));
    assert_eq!(json(&detail.parked), json(&vec![parked.clone()]));
    let kept = world.stores.records.quarantined(aside.id).await.expect("it is read");
    let kept = kept.expect("it was set aside");
    assert_eq!(kept.body, aside.body);
    assert_eq!(json(&kept), json(&aside));

    let claim = world.claim(world.other, 10);
    let timers = world.second().claim_timers(&claim).await.expect("timers are claimed");
    assert_eq!(json(&timers), json(&vec![timer]));
    let held = world.second().claim_parked(&claim).await.expect("parked rows are claimed");
    assert_eq!(json(&held), json(&vec![parked]));
    let calls = world.claim_calls(world.second(), world.other).await;
    assert_eq!(
        json(&calls),
        json(&vec![knarr_model::work::ActivityTask { attempt: 1, claims: 1, ..call }])
    );
    let stored = world.second().own_chunks(world.node, &[]).await.expect("chunks are read");
    for chunk in [&chunks[0], &stored[0]] {
        assert_eq!(chunk.endpoint, world.endpoint);
        assert_eq!(json(&chunk.messages), json(&vec![message.clone()]));
        assert_eq!(chunk.messages[0].body, message.body);
    }
    assert_eq!((chunks.len(), stored.len(), chunks[0].id), (1, 1, stored[0].id));
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
    losing.taken = vec![(knarr_model::work::RowKind::Timer, RowId(world.id()))];
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
