//! Plans: those made while the tables were empty stay right when the tables have grown.

#[path = "support/pause.rs"]
mod pause;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, JournalRow, Key, KeyWrite, Outcome, Slice};
use knarr_model::digest::Digest;
use knarr_model::envelope::{Context, Envelope};
use knarr_model::ids::{InstanceId, MessageId, NodeId, RowId, derived_id};
use knarr_model::instance::{Book, Instance};
use knarr_model::ports::guard::Counts;
use knarr_model::ports::store::Load;
use knarr_model::ports::{Guarded as _, Store as _};
use knarr_model::work::{
    ActivityTask, AttemptOutcome, AttemptRecord, CallEnd, Claim, ClaimedRow, Losses, Parked,
    ParkedReason, RowKind, Timer,
};
use knarr_postgres::Store;
use knarr_testkit::services::postgres;
use serde_json::value::RawValue;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use pause::pause;
use support::{connect, settings};

/// Rows that each table grows by; far more than any statement here has a reason to read.
const GROWTH: i64 = 30_000;

const GROW: &str = include_str!("support/grow.sql");

/// Rows read so far, by table: through sequential scans and through indexes.
const READ: &str = "
SELECT relname::text, (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint
FROM pg_stat_user_tables WHERE schemaname = 'knarr'";

/// Statistics switched off for autovacuum: its ANALYZE would mend a bad plan, but only later.
const NO_VACUUM: &str = "
DO $$ DECLARE t regclass; BEGIN
  FOR t IN SELECT c.oid FROM pg_class c
           WHERE c.relnamespace = 'knarr'::regnamespace AND c.relkind = 'r'
  LOOP EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t); END LOOP;
END $$";

fn id(kind: &str, n: u64) -> Uuid {
    derived_id(&[kind.as_bytes(), &n.to_be_bytes()])
}

fn raw() -> std::sync::Arc<RawValue> {
    RawValue::NULL.to_owned().into()
}

/// A slice that writes a row of every kind.
fn slice(n: u64) -> Slice {
    let instance = InstanceId(id("instance", n));
    let message = MessageId(id("message", n));
    let past = chrono::DateTime::UNIX_EPOCH;
    let envelope = Envelope::new(MessageId(id("parked", n)), "urn:message:A:B".to_owned(), raw());
    Slice {
        key: Some(instance),
        instance: Some(Instance {
            saga: "order".into(),
            id: instance,
            run: 1,
            state: "Waiting".to_owned(),
            version: 1,
            definition_version: 1,
            data: raw(),
            book: Book::default(),
            incident: None,
        }),
        keys: vec![KeyWrite {
            key: Key { name: "number".to_owned(), value: format!("n{n}") },
            generation: 1,
            free: false,
            by: message,
            by_start: true,
        }],
        journal: vec![journal(message, instance)],
        timers: vec![Timer {
            id: RowId(id("timer", n)),
            endpoint: "orders".into(),
            saga: "order".into(),
            instance,
            run: 1,
            name: "expiry".to_owned(),
            due_at: past,
            attempt: 0,
            claims: 0,
            context: Context::default(),
        }],
        tasks: vec![ActivityTask {
            id: RowId(id("call", n)),
            endpoint: "orders".into(),
            saga: "order".into(),
            instance,
            run: 1,
            call: "Look".to_owned(),
            payload: raw(),
            idempotency_key: id("key", n),
            lost: Losses::default(),
            attempt: 0,
            claims: 0,
            memo: None,
            due_at: past,
            retry: None,
            deadline: None,
            context: Context::default(),
        }],
        parked: vec![Parked {
            id: RowId(id("row", n)),
            endpoint: "orders".into(),
            saga: "order".into(),
            message_id: envelope.message_id,
            digest: Digest::of_bytes(b""),
            instance: Some(instance),
            seq: 1,
            reason: ParkedReason::Retry,
            attempt: 1,
            claims: 0,
            due_at: Some(past),
            error: None,
            envelope: envelope.into(),
        }],
        forget_origin: Some(1),
        wakes_deferred: true,
        ..Slice::default()
    }
}

fn journal(message: MessageId, instance: InstanceId) -> JournalRow {
    JournalRow {
        message_id: message,
        digest: Digest::of_bytes(b""),
        instance: Some(instance),
        run: Some(1),
        seq: Some(1),
        event: "urn:message:A:B".to_owned(),
        from_state: None,
        to_state: None,
        outcome: Outcome::Applied,
        at: chrono::DateTime::UNIX_EPOCH,
    }
}

fn commit(node: NodeId, slice: Slice) -> Commit {
    Commit {
        endpoint: "orders".into(),
        saga: "order".into(),
        node,
        epoch: 1,
        guard_version: 0,
        ordered: false,
        slices: vec![slice],
        chunk_ids: Vec::new(),
        finished_chunks: vec![RowId(Uuid::nil())],
        now: chrono::DateTime::UNIX_EPOCH,
    }
}

/// One message's whole way through the store.
async fn round(store: &Store, node: NodeId, n: u64) {
    let born = slice(n);
    let (key, instance) = (born.keys[0].key.clone(), born.key.expect("it has one"));
    let load = Load {
        endpoint: "orders".into(),
        saga: "order".into(),
        instances: vec![instance],
        keys: vec![key],
        messages: vec![born.journal[0].message_id],
    };
    store.load(load.clone()).await.expect("the load is answered");
    let outcome = store.commit(commit(node, born)).await.expect("the commit is answered");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    assert_eq!(store.load(load).await.expect("the load is answered").parked.len(), 0);

    let claim = Claim {
        node,
        endpoints: vec!["orders".into()],
        limit: 10,
        reclaim_except: Some(Vec::new()),
    };
    let timers = store.claim_timers(&claim).await.expect("timers are claimed");
    let parked = store.claim_parked(&claim).await.expect("parked rows are claimed");
    let calls = store.claim_calls(&claim, &["Look".to_owned()]).await.expect("calls are claimed");
    assert_eq!((timers.len(), parked.len(), calls.len()), (1, 1, 1));
    let record = AttemptRecord {
        task: calls[0].id,
        claims: calls[0].claims,
        outcome: AttemptOutcome::Ended(CallEnd::Done(raw())),
    };
    assert_eq!(store.record(node, &[record]).await.expect("it is recorded"), [true]);
    let ended = store.claim_ended(&claim).await.expect("ends are claimed");
    assert_eq!(ended.len(), 1);
    let lost = store.lost_calls(node, &[calls[0].id]).await.expect("it is answered");
    assert_eq!(lost, []);
    let orders = "orders".into();
    let marks = store.withdrawn(&orders, &[(instance, 1)]).await.expect("it is answered");
    assert_eq!(marks, []);
    assert_eq!(store.blocks(&orders).await.expect("it is answered").1, []);
    assert!(store.outlived_blocks(&orders).await.expect("it is answered").is_empty());
    let counts = Counts { copies: vec![(id("aside", n), 1)], classes: Vec::new() };
    store.add_counts(&counts).await.expect("it is answered");
    store.next_due(&["orders".into()]).await.expect("it is answered");
    store.take_chunks(node, 10).await.expect("it is answered");
    let end = Slice {
        key: Some(instance),
        journal: vec![journal(MessageId(id("end", n)), instance)],
        taken: vec![
            claimed(RowKind::Timer, timers[0].id, timers[0].claims),
            claimed(RowKind::Parked, parked[0].id, parked[0].claims),
            claimed(RowKind::Call, calls[0].id, ended[0].task.claims),
        ],
        cancelled_timers: vec![RowId(Uuid::nil())],
        cancelled_tasks: vec![RowId(Uuid::nil())],
        ..Slice::default()
    };
    let outcome = store.commit(commit(node, end)).await.expect("the commit is answered");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

fn claimed(kind: RowKind, id: RowId, claims: i64) -> ClaimedRow {
    ClaimedRow { kind, id, claims }
}

async fn read_so_far(connection: &mut PgConnection) -> BTreeMap<String, i64> {
    // What a backend has counted is seen after it has gone.
    connection.execute("SELECT pg_stat_clear_snapshot()").await.expect("a fresh look");
    let rows: Vec<(String, i64)> =
        sqlx::query_as(READ).fetch_all(connection).await.expect("statistics are read");
    rows.into_iter().collect()
}

#[tokio::test]
async fn plans_made_while_tables_were_empty_stay_right_when_they_grow() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    // One connection: the plans that it has made are the ones used later.
    settings.engine_connections = 1;
    let store = Store::connect(settings).await.expect("the store is opened");
    let node = NodeId(id("node", 1));
    store.endpoint(&"orders".into()).await.expect("the endpoint is made");
    store.join(node, Duration::from_secs(3_600)).await.expect("the node joins");
    let mut connection = connect(&database.url()).await;
    connection.execute(NO_VACUUM).await.expect("autovacuum keeps away");
    connection.execute("VACUUM ANALYZE").await.expect("the tables are known to be empty");
    for n in 0..8 {
        round(&store, node, n).await;
    }
    connection.execute(GROW).await.expect("the tables grow");
    let before = read_so_far(&mut connection).await;
    const ROUNDS: u64 = 20;
    for n in 100..100 + ROUNDS {
        round(&store, node, n).await;
    }
    store.close().await;
    let mut after = read_so_far(&mut connection).await;
    for _ in 0..100 {
        if after["journal"] > before["journal"] {
            break;
        }
        pause(Duration::from_millis(50)).await;
        after = read_so_far(&mut connection).await;
    }
    connection.close().await.expect("the connection is closed");
    for (table, read) in &after {
        let rows = read - before[table];
        assert!(
            rows < GROWTH / 2,
            "{table}: {rows} rows read in {ROUNDS} rounds of a handful of rows each"
        );
    }
}
