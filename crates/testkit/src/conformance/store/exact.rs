//! Everything that a commit can write, made as hard as it may be, is read back byte for byte.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_model::commit::{JournalRow, Origin, Slice};
use knarr_model::envelope::{Context, Envelope};
use knarr_model::ids::{InstanceId, MessageId, RowId};
use knarr_model::instance::{Book, Instance, Join, OpenCall, OpenTimer};
use knarr_model::quarantine::{Class, Quarantined};
use knarr_model::retry::RetryPolicy;
use knarr_model::work::{ActivityTask, Addressing, Chunk, Outgoing, Parked, ParkedReason, Timer};
use serde::Serialize;

use super::stores::Stores;
use super::world::{HARD_NAME, HARD_TEXT, World, every_header, raw};

pub(in crate::conformance) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it can be written as JSON")
}

/// JSON that stores have been seen to normalise: spacing, doubled members, big and odd numbers,
/// escapes, a NUL.
const HARD_JSON: &str = "{ \"z\":1.0, \"a\" : [ ], \"a\":12345678901234567890123,\t\"e\":1E+2,\
    \"nul\":\"\\u0000\", \
    \"esc\":\"\\u00e9/\\/\", \"\u{1f41f}\":\"\u{5e9}\",\"x\":{\"y\":[null,{}]}}";

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
            holds: true,
        },
        incident: Some(world.id()),
        ..world.instance(id, 1)
    }
}

fn hard_call(world: &World, id: InstanceId) -> ActivityTask {
    ActivityTask {
        payload: raw(HARD_JSON),
        memo: Some(serde_json::json!({"analysis": "\u{0}", "n": 1.5})),
        retry: Some(RetryPolicy::doubling(5, Duration::from_millis(1), Duration::from_secs(9))),
        deadline: Some(Duration::from_millis(1_500)),
        context: hard_context(world),
        ..world.call(id, "Look", -1_000)
    }
}

fn hard_parked(world: &World, id: InstanceId) -> Parked {
    let envelope = hard_envelope(world);
    Parked {
        message_id: envelope.message_id,
        envelope: Arc::new(envelope),
        error: Some(HARD_TEXT.to_owned()),
        attempt: 2,
        ..world.parked(Some(id), 4, ParkedReason::Missing, Some(-1_000))
    }
}

fn hard_quarantined(world: &World, id: InstanceId) -> Quarantined {
    Quarantined {
        errors: vec![HARD_TEXT.to_owned(), String::new()],
        reason: HARD_TEXT.to_owned(),
        headers: every_header(),
        body: Bytes::from_static(&[0, 1, 254, 255]),
        size: 70_000_000_000,
        instance: Some(id),
        run: Some(7),
        state: Some(HARD_NAME.to_owned()),
        fingerprint: Some("ab".repeat(32)),
        ..world.quarantined(Class::Exhausted)
    }
}

/// Every part of a run, as hard as it may be.
pub(in crate::conformance) fn hard_slice(world: &World, id: InstanceId) -> Slice {
    let timer = Timer { context: hard_context(world), ..world.timer(id, -1_000) };
    let call = hard_call(world, id);
    let row = JournalRow {
        event: HARD_NAME.to_owned(),
        to_state: Some(HARD_NAME.to_owned()),
        run: Some(7),
        ..world.applied(id, 12)
    };
    Slice {
        key: Some(id),
        instance: Some(hard_instance(world, id, timer.id, call.id)),
        origin: Some(Origin {
            run: 7,
            message_id: MessageId(world.id()),
            fingerprint: [0xfe; 32],
            envelope: Arc::new(hard_envelope(world)),
        }),
        journal: vec![row],
        timers: vec![timer],
        tasks: vec![call],
        parked: vec![hard_parked(world, id)],
        quarantine: vec![hard_quarantined(world, id)],
        outgoing: vec![hard_outgoing(world, id)],
        ..Slice::default()
    }
}

/// Every part of a slice is written, and each is read back exactly as it was: text with NUL and of
/// all scripts, JSON byte for byte, header values with their AMQP types, decimals with their
/// scale, times to the microsecond.
pub async fn everything_is_read_back_byte_exact(stores: Stores) {
    let world = World::new(stores).await;
    let id = InstanceId(world.id());
    let slice = hard_slice(&world, id);
    let chunks = world.commit(vec![slice.clone()]).await;

    assert_eq!(json(&world.read(id).await), json(&slice.instance));
    let origin = world.store().origin(&world.saga, id, 7).await.expect("origin is read");
    assert_eq!(json(&origin), json(&slice.origin));
    let detail = world.stores.records.instance(&world.saga, id).await.expect("detail is read");
    let detail = detail.expect("the instance is there");
    assert_eq!(json(&Some(&detail.instance)), json(&slice.instance));
    assert_eq!(json(&detail.journal), json(&slice.journal));
    assert_eq!(json(&detail.timers), json(&slice.timers));
    assert_eq!(json(&detail.calls), json(&slice.tasks));
    assert_eq!(json(&detail.parked), json(&slice.parked));
    let aside = &slice.quarantine[0];
    let found = world.stores.records.quarantined(aside.id).await.expect("it is read");
    assert_eq!(found.as_ref().map(|found| &found.body), Some(&aside.body));
    assert_eq!(json(&found), json(&Some(aside)));
    let stored = world.second().own_chunks(world.node, &[]).await.expect("chunks are read");
    same_chunk(&world, &chunks, &slice.outgoing);
    same_chunk(&world, &stored, &slice.outgoing);
    assert_eq!(chunks[0].id, stored[0].id);

    let claim = world.claim(world.other, 10);
    let timers = world.second().claim_timers(&claim).await.expect("timers are claimed");
    let claimed = Timer { claims: 1, ..slice.timers[0].clone() };
    assert_eq!(json(&timers), json(&[claimed]));
    let parked = world.second().claim_parked(&claim).await.expect("parked rows are claimed");
    let claimed = Parked { claims: 1, ..slice.parked[0].clone() };
    assert_eq!(json(&parked), json(&[claimed]));
    let calls = world.claim_calls(world.second(), world.other).await;
    let claimed = ActivityTask { attempt: 1, claims: 1, ..slice.tasks[0].clone() };
    assert_eq!(json(&calls), json(&[claimed]));
}

/// The one chunk has these messages; bodies are compared apart, for they are no part of the JSON.
fn same_chunk(world: &World, chunks: &[Chunk], messages: &[Outgoing]) {
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].endpoint, world.endpoint);
    assert_eq!(json(&chunks[0].messages), json(&messages));
    let bodies = |messages: &[Outgoing]| -> Vec<_> {
        messages.iter().map(|message| message.body.clone()).collect()
    };
    assert_eq!(bodies(&chunks[0].messages), bodies(messages));
}
