//! What the tests of the file itself share: a store in a temporary folder, messages, commits.

#![expect(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_embedded::{Settings, Store, Transport};
use knarr_model::commit::{Commit, CommitOutcome, JournalRow, Outcome, Slice};
use knarr_model::ids::{InstanceId, MessageId, Name, NodeId, RowId};
use knarr_model::instance::{Book, Instance};
use knarr_model::ports::transport::Delivery;
use knarr_model::ports::{Clock as _, Consumer, Store as _};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, Subscription, WithoutId};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Digest, Headers};
use knarr_testkit::clock::TokioClock;
use serde_json::value::RawValue;
use uuid::Uuid;

/// The endpoint of all tests here.
pub(crate) const ENDPOINT: &str = "orders";

/// A fresh id.
pub(crate) fn id() -> Uuid {
    TokioClock::real().new_id()
}

/// The machine's time.
pub(crate) fn now() -> DateTime<Utc> {
    TokioClock::real().now()
}

pub(crate) async fn open(path: &Path) -> (Store, Transport) {
    let store = Store::open(Settings::new(path), Arc::new(TokioClock::real()))
        .await
        .expect("the file can be opened");
    let transport = Transport::new(&store);
    (store, transport)
}

pub(crate) fn endpoint(name: &str, exchanges: &[&str]) -> ReceiveEndpoint {
    ReceiveEndpoint {
        name: Name::from(name),
        subscriptions: exchanges
            .iter()
            .map(|exchange| Subscription {
                urn: format!("urn:message:{exchange}"),
                exchange: (*exchange).to_owned(),
            })
            .collect(),
        queue: QueueKind::Quorum,
        declare: Declare::Create,
        prefetch: 100,
        max_body: 1 << 20,
        without_id: WithoutId::Digest,
        ordered: false,
    }
}

/// A message to `exchange`; its body is raw JSON.
pub(crate) fn outgoing(exchange: &str, addressing: Addressing, n: u64) -> Outgoing {
    Outgoing {
        id: MessageId(id()),
        sequence: None,
        exchange: exchange.to_owned(),
        routing_key: String::new(),
        addressing,
        content_type: "application/json".to_owned(),
        correlation_id: None,
        headers: Headers::new(),
        expires_at: None,
        priority: None,
        body: Bytes::from(format!(r#"{{"n":{n}}}"#)),
    }
}

pub(crate) fn published(exchange: &str, n: u64) -> Outgoing {
    outgoing(exchange, Addressing::Publish { bases: Vec::new() }, n)
}

/// The `n` of the next messages, waiting at most five seconds for each round.
pub(crate) async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let next = consumer.next(count - taken.len());
        let next = tokio::time::timeout(Duration::from_secs(5), next).await;
        taken.extend(next.expect("deliveries come").expect("the queue can be read"));
    }
    taken
}

/// Expects that nothing comes for a while.
pub(crate) async fn nothing(consumer: &mut dyn Consumer) {
    let next = tokio::time::timeout(Duration::from_millis(300), consumer.next(10)).await;
    assert!(next.is_err(), "something came: {next:?}");
}

pub(crate) fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries
        .iter()
        .map(|delivery| {
            let body: serde_json::Value = serde_json::from_slice(&delivery.body).expect("JSON");
            body["n"].as_u64().expect("a number")
        })
        .collect()
}

pub(crate) fn raw(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).expect("the text is JSON").into()
}

/// A commit that makes `count` instances, each with one journal row and one outgoing message.
pub(crate) fn births(node: NodeId, ids: &[InstanceId]) -> Commit {
    let (saga, now) = (Name::from("order"), now());
    let slices = ids.iter().map(|id| {
        let instance = Instance {
            saga: saga.clone(),
            id: *id,
            run: 1,
            state: "Waiting".to_owned(),
            version: 1,
            definition_version: 1,
            data: raw(r#"{"a":1}"#),
            book: Book { applied: 1, ..Book::default() },
            incident: None,
        };
        let row = JournalRow {
            message_id: MessageId(id.0),
            digest: Digest::of_bytes(b"m"),
            instance: Some(*id),
            run: Some(1),
            seq: Some(1),
            event: "urn:message:Shop:OrderPlaced".to_owned(),
            from_state: Some("Initial".to_owned()),
            to_state: Some("Waiting".to_owned()),
            outcome: Outcome::Applied,
            at: now,
        };
        Slice {
            key: Some(*id),
            instance: Some(instance),
            journal: vec![row],
            outgoing: vec![published("Shop:OrderTaken", 1)],
            ..Slice::default()
        }
    });
    Commit {
        endpoint: Name::from(ENDPOINT),
        saga: saga.clone(),
        node,
        epoch: 1,
        guard_version: 0,
        ordered: false,
        slices: slices.collect(),
        chunk_ids: vec![RowId(id()), RowId(id())],
        finished_chunks: Vec::new(),
        now,
    }
}

pub(crate) async fn committed(store: &Store, commit: Commit) {
    match store.commit(commit).await.expect("the commit is answered") {
        CommitOutcome::Committed { lost, .. } => assert!(lost.is_empty()),
        other => panic!("not committed: {other:?}"),
    }
}
