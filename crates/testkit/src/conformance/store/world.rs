//! A small world for a case: an endpoint, a saga, two live nodes, and rows to write with one call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use knarr_model::commit::{Commit, CommitOutcome, JournalRow, Key, KeyRow, Outcome, Slice};
use knarr_model::digest::Digest;
use knarr_model::envelope::{Context, Envelope};
use knarr_model::headers::Headers;
use knarr_model::ids::{InstanceId, MessageId, Name, NodeId, RowId};
use knarr_model::instance::{Book, Instance};
use knarr_model::ports::Store;
use knarr_model::ports::store::{EndpointRow, EndpointState, Load, Loaded};
use knarr_model::quarantine::{Class, Quarantined, Status};
use knarr_model::work::{
    ActivityTask, Addressing, Chunk, Claim, ClaimedRow, EndedCall, Losses, Outgoing, Parked,
    ParkedReason, RowKind, Sequence, Timer,
};
use uuid::Uuid;

use super::stores::Stores;
pub use super::values::{
    HARD_NAME, HARD_TEXT, at_once, every_header, kept, key, lost, raw, real_pause,
};

/// Longer than any case: the lease of nodes that a case does not let die.
pub const LONG_LEASE: Duration = Duration::from_secs(3_600);

/// A fresh store with one endpoint and two live nodes.
pub struct World {
    /// The store under test.
    pub stores: Stores,
    /// The endpoint's name.
    pub endpoint: Name,
    /// The saga's name.
    pub saga: Name,
    /// The case's own node: it commits unless told otherwise.
    pub node: NodeId,
    /// The node that works through the second handle.
    pub other: NodeId,
    /// The claims under which rows were last seen to be given out.
    claims: Mutex<BTreeMap<RowId, i64>>,
}

impl World {
    /// Makes the endpoint's row and lets both nodes join.
    pub async fn new(stores: Stores) -> World {
        let (node, other) = (NodeId(stores.clock.new_id()), NodeId(stores.clock.new_id()));
        let endpoint = Name::from("orders");
        stores.store.endpoint(&endpoint).await.expect("the endpoint's row is made");
        stores.store.join(node, LONG_LEASE).await.expect("the node joins");
        stores.second.join(other, LONG_LEASE).await.expect("the other node joins");
        World { stores, endpoint, saga: Name::from("order"), node, other, claims: Mutex::default() }
    }

    /// The first handle.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.stores.store
    }

    /// The other node's handle.
    pub fn second(&self) -> &Arc<dyn Store> {
        &self.stores.second
    }

    /// Lets the store's time pass.
    pub async fn advance(&self, by: Duration) {
        (self.stores.advance)(by).await;
    }

    /// A fresh id.
    pub fn id(&self) -> Uuid {
        self.stores.clock.new_id()
    }

    /// Now, in whole microseconds: finer time need not be kept.
    pub fn now(&self) -> DateTime<Utc> {
        self.stores.clock.now().trunc_subsecs(6)
    }

    /// The instant `millis` from now (or before, if negative).
    pub fn at(&self, millis: i64) -> DateTime<Utc> {
        self.now() + TimeDelta::milliseconds(millis)
    }

    /// The endpoint's row as it is.
    pub async fn row(&self) -> EndpointRow {
        self.store().endpoint(&self.endpoint).await.expect("the endpoint's row is read")
    }

    /// Sets the endpoint's state and nothing else.
    pub async fn force(&self, state: EndpointState) {
        (self.stores.force_state)((self.endpoint.clone(), state)).await;
    }

    /// A commit of the case's node at the endpoint's present epoch and block set.
    pub async fn commit_of(&self, slices: Vec<Slice>) -> Commit {
        let row = self.row().await;
        let messages: usize = slices.iter().map(|slice| slice.outgoing.len()).sum();
        Commit {
            endpoint: self.endpoint.clone(),
            saga: self.saga.clone(),
            node: self.node,
            epoch: row.epoch,
            guard_version: row.guard_version,
            ordered: false,
            slices,
            chunk_ids: (0..=messages).map(|_| RowId(self.id())).collect(),
            finished_chunks: Vec::new(),
            now: self.now(),
        }
    }

    /// Commits through the first handle and returns what the store says.
    pub async fn try_commit(&self, slices: Vec<Slice>) -> CommitOutcome {
        let commit = self.commit_of(slices).await;
        self.store().commit(commit).await.expect("the commit is answered")
    }

    /// Commits at the present epoch for `node` through `store`.
    pub async fn commit_as(
        &self,
        store: &Arc<dyn Store>,
        node: NodeId,
        slices: Vec<Slice>,
    ) -> CommitOutcome {
        let commit = Commit { node, ..self.commit_of(slices).await };
        store.commit(commit).await.expect("the commit is answered")
    }

    /// Waits until a lease of [`Stores::lease`] that was given before is past.
    pub async fn outlast_lease(&self) {
        self.advance(self.stores.lease + Duration::from_millis(300)).await;
    }

    /// A live node with the short lease.
    pub async fn mortal(&self) -> NodeId {
        let node = NodeId(self.id());
        self.second().join(node, self.stores.lease).await.expect("the node joins");
        node
    }

    /// Commits, and expects that everything is kept.
    pub async fn commit(&self, slices: Vec<Slice>) -> Vec<Chunk> {
        kept(self.try_commit(slices).await)
    }

    /// An instance in its first state, at `version`.
    pub fn instance(&self, id: InstanceId, version: i64) -> Instance {
        Instance {
            saga: self.saga.clone(),
            id,
            run: 1,
            state: "Waiting".to_owned(),
            version,
            definition_version: 1,
            data: raw(&format!(r#"{{"version":{version}}}"#)),
            book: Book { applied: version, ..Book::default() },
            incident: None,
        }
    }

    /// A slice that writes `id` at `version`, with the journal row of one applied message.
    pub fn step(&self, id: InstanceId, version: i64) -> Slice {
        Slice {
            key: Some(id),
            instance: Some(self.instance(id, version)),
            journal: vec![self.applied(id, version)],
            ..Slice::default()
        }
    }

    /// A slice of `id` that writes no instance.
    pub fn aside(&self, id: InstanceId) -> Slice {
        Slice { key: Some(id), ..Slice::default() }
    }

    /// Makes an instance at version 1.
    pub async fn born(&self) -> InstanceId {
        let id = InstanceId(self.id());
        self.commit(vec![self.step(id, 1)]).await;
        id
    }

    /// The journal row of a fresh message that `id` applied as its `seq`-th.
    pub fn applied(&self, id: InstanceId, seq: i64) -> JournalRow {
        JournalRow {
            message_id: MessageId(self.id()),
            digest: Digest::of_bytes(b"applied"),
            instance: Some(id),
            run: Some(1),
            seq: Some(seq),
            event: "urn:message:Shop:OrderPaid".to_owned(),
            from_state: Some("Initial".to_owned()),
            to_state: Some("Waiting".to_owned()),
            outcome: Outcome::Applied,
            at: self.now(),
        }
    }

    /// The journal row of `message`, which changed nothing.
    pub fn ignored(&self, message: MessageId, instance: Option<InstanceId>) -> JournalRow {
        JournalRow {
            message_id: message,
            digest: Digest::of_bytes(b"ignored"),
            instance,
            run: instance.map(|_| 1),
            seq: None,
            event: "urn:message:Shop:OrderPaid".to_owned(),
            from_state: None,
            to_state: None,
            outcome: Outcome::Ignored,
            at: self.now(),
        }
    }

    /// A timer due `millis` from now.
    pub fn timer(&self, instance: InstanceId, millis: i64) -> Timer {
        Timer {
            id: RowId(self.id()),
            endpoint: self.endpoint.clone(),
            saga: self.saga.clone(),
            instance,
            run: 1,
            name: "expiry".to_owned(),
            due_at: self.at(millis),
            attempt: 0,
            claims: 0,
            context: Context::default(),
        }
    }

    /// A call of type `call` due `millis` from now.
    pub fn call(&self, instance: InstanceId, call: &str, millis: i64) -> ActivityTask {
        ActivityTask {
            id: RowId(self.id()),
            endpoint: self.endpoint.clone(),
            saga: self.saga.clone(),
            instance,
            run: 1,
            call: call.to_owned(),
            payload: raw(r#"{"ask": 1}"#),
            idempotency_key: self.id(),
            lost: Losses::default(),
            attempt: 0,
            claims: 0,
            memo: None,
            due_at: self.at(millis),
            retry: None,
            deadline: None,
            context: Context::default(),
        }
    }

    /// A message parked for `instance`, due `millis` from now or, with `None`, not by time.
    pub fn parked(
        &self,
        instance: Option<InstanceId>,
        seq: i64,
        reason: ParkedReason,
        millis: Option<i64>,
    ) -> Parked {
        let envelope = self.envelope();
        Parked {
            id: RowId(self.id()),
            endpoint: self.endpoint.clone(),
            saga: self.saga.clone(),
            message_id: envelope.message_id,
            digest: Digest::of_message(&envelope.message),
            instance,
            seq,
            reason,
            attempt: 0,
            claims: 0,
            due_at: millis.map(|millis| self.at(millis)),
            error: None,
            envelope: Arc::new(envelope),
        }
    }

    /// A message with a fresh id.
    pub fn envelope(&self) -> Envelope {
        Envelope::new(
            MessageId(self.id()),
            "urn:message:Shop:OrderPaid".to_owned(),
            raw(r#"{ "total": 1.50 }"#),
        )
    }

    /// The `n`-th message that the first run of `instance` publishes.
    pub fn outgoing(&self, instance: InstanceId, n: i64) -> Outgoing {
        Outgoing {
            id: MessageId(self.id()),
            sequence: Some(Sequence { instance, run: 1, n }),
            exchange: "Shop:OrderShipped".to_owned(),
            routing_key: String::new(),
            addressing: Addressing::Publish { bases: Vec::new() },
            content_type: "application/vnd.masstransit+json".to_owned(),
            correlation_id: None,
            headers: Headers::new(),
            expires_at: None,
            priority: None,
            body: Bytes::from(format!("message {n}")),
        }
    }

    /// A message set aside by the endpoint.
    pub fn quarantined(&self, class: Class) -> Quarantined {
        let body = Bytes::from_static(b"{\"total\":1}");
        Quarantined {
            id: self.id(),
            endpoint: self.endpoint.clone(),
            saga: self.saga.clone(),
            message_id: MessageId(self.id()),
            digest: Digest::of_bytes(&body),
            class,
            reason: "no row takes it".to_owned(),
            errors: vec!["outer".to_owned(), "inner".to_owned()],
            instance: None,
            run: None,
            state: None,
            attempts: 1,
            message_types: vec!["urn:message:Shop:OrderPaid".to_owned()],
            content_type: Some("application/json".to_owned()),
            headers: Headers::new(),
            size: body.len() as u64,
            body,
            exchange: "Shop:OrderPaid".to_owned(),
            routing_key: String::new(),
            fingerprint: None,
            definition_version: 1,
            at: self.now(),
            status: Status::Held,
            incident: None,
            copies: 0,
            released_as: None,
            edits: Vec::new(),
        }
    }

    /// A claim of `node` on the endpoint's rows.
    pub fn claim(&self, node: NodeId, limit: usize) -> Claim {
        Claim { node, endpoints: vec![self.endpoint.clone()], limit, reclaim_except: None }
    }

    /// Reads instances, keys and messages.
    pub async fn load(
        &self,
        instances: &[InstanceId],
        keys: &[Key],
        messages: &[MessageId],
    ) -> Loaded {
        self.load_of(&self.saga, instances, keys, messages).await
    }

    /// Reads instances, keys and messages of one saga.
    pub async fn load_of(
        &self,
        saga: &Name,
        instances: &[InstanceId],
        keys: &[Key],
        messages: &[MessageId],
    ) -> Loaded {
        let load = Load {
            endpoint: self.endpoint.clone(),
            saga: saga.clone(),
            instances: instances.to_vec(),
            keys: keys.to_vec(),
            messages: messages.to_vec(),
        };
        self.store().load(load).await.expect("the load is answered")
    }

    /// The stored instance, if there is one.
    pub async fn read(&self, id: InstanceId) -> Option<Instance> {
        self.load(&[id], &[], &[]).await.instances.remove(&id)
    }

    /// The version of the stored instance; 0 if there is none.
    pub async fn version(&self, id: InstanceId) -> i64 {
        self.read(id).await.map_or(0, |instance| instance.version)
    }

    /// What the journal says of these messages.
    pub async fn outcomes(&self, messages: &[MessageId]) -> BTreeMap<MessageId, Outcome> {
        let loaded = self.load(&[], &[], messages).await;
        loaded.journal.into_iter().map(|(id, (_, outcome))| (id, outcome)).collect()
    }

    /// The stored key, if there is one.
    pub async fn key_row(&self, key: &Key) -> Option<KeyRow> {
        self.load(&[], std::slice::from_ref(key), &[]).await.keys.remove(key)
    }

    /// Claims due timers of the endpoint and returns their ids.
    pub async fn claim_timers(&self, store: &Arc<dyn Store>, node: NodeId) -> Vec<RowId> {
        let claim = self.claim(node, 1_000);
        let rows = store.claim_timers(&claim).await.expect("timers are claimed");
        self.given_out(rows.iter().map(|timer| (timer.id, timer.claims)));
        rows.into_iter().map(|timer| timer.id).collect()
    }

    /// Claims due parked messages of the endpoint and returns their ids in the order given.
    pub async fn claim_parked(&self, store: &Arc<dyn Store>, node: NodeId) -> Vec<RowId> {
        let claim = self.claim(node, 1_000);
        let rows = store.claim_parked(&claim).await.expect("parked messages are claimed");
        self.given_out(rows.iter().map(|parked| (parked.id, parked.claims)));
        rows.into_iter().map(|parked| parked.id).collect()
    }

    /// Claims due calls of type `Look`.
    pub async fn claim_calls(&self, store: &Arc<dyn Store>, node: NodeId) -> Vec<ActivityTask> {
        let claim = self.claim(node, 1_000);
        store.claim_calls(&claim, &["Look".to_owned()]).await.expect("calls are claimed")
    }

    /// Claims ended calls.
    pub async fn claim_ended(&self, store: &Arc<dyn Store>, node: NodeId) -> Vec<EndedCall> {
        let claim = self.claim(node, 1_000);
        let rows = store.claim_ended(&claim).await.expect("ended calls are claimed");
        self.given_out(rows.iter().map(|ended| (ended.task.id, ended.task.claims)));
        rows
    }

    /// Notes under which claims rows were given out.
    pub fn given_out(&self, rows: impl IntoIterator<Item = (RowId, i64)>) {
        self.claims.lock().expect("no case panicked here").extend(rows);
    }

    /// A row under the claim noted last, or else under its first.
    pub fn claimed(&self, kind: RowKind, id: RowId) -> ClaimedRow {
        let claims = self.claims.lock().expect("no case panicked here").get(&id).copied();
        ClaimedRow { kind, id, claims: claims.unwrap_or(1) }
    }

    /// A slice of `id` that ends internal deliveries.
    pub fn taking(&self, id: InstanceId, taken: &[(RowKind, RowId)]) -> Slice {
        let taken = taken.iter().map(|(kind, row)| self.claimed(*kind, *row)).collect();
        Slice { taken, ..self.aside(id) }
    }
}
