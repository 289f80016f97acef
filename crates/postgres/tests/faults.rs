//! What the network and the server do to a store: lost answers, silence, kills, callers that leave.

#[path = "support/pause.rs"]
mod pause;
#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, JournalRow, Outcome, Slice};
use knarr_model::digest::Digest;
use knarr_model::ids::{InstanceId, MessageId, NodeId, RowId, derived_id};
use knarr_model::instance::{Book, Instance};
use knarr_model::ports::Store as _;
use knarr_model::ports::store::{Load, Loaded, StoreError};
use knarr_postgres::{Settings, Store};
use knarr_testkit::Steering as _;
use knarr_testkit::services::postgres;
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, Executor};
use tokio::time::timeout;

use pause::pause;
use proxy::{Mode, Proxy};
use support::{connect, settings};

/// A commit that makes the `n`-th instance with one journal row, and both ids.
fn birth(n: u64) -> (Commit, InstanceId, MessageId) {
    let id = InstanceId(derived_id(&[b"instance", &n.to_be_bytes()]));
    let message = MessageId(derived_id(&[b"message", &n.to_be_bytes()]));
    let instance = Instance {
        saga: "order".into(),
        id,
        run: 1,
        state: "Waiting".to_owned(),
        version: 1,
        definition_version: 1,
        data: RawValue::NULL.to_owned().into(),
        book: Book::default(),
        incident: None,
    };
    let row = JournalRow {
        message_id: message,
        digest: Digest::of_bytes(b"body"),
        instance: Some(id),
        run: Some(1),
        seq: Some(1),
        event: "urn:message:Shop:OrderPlaced".to_owned(),
        from_state: None,
        to_state: Some("Waiting".to_owned()),
        outcome: Outcome::Applied,
        at: chrono::DateTime::UNIX_EPOCH,
    };
    let slice =
        Slice { key: Some(id), instance: Some(instance), journal: vec![row], ..Slice::default() };
    let commit = Commit {
        endpoint: "orders".into(),
        saga: "order".into(),
        node: NodeId(derived_id(&[b"node"])),
        epoch: 1,
        guard_version: 0,
        ordered: false,
        slices: vec![slice],
        chunk_ids: vec![RowId(derived_id(&[b"chunk", &n.to_be_bytes()]))],
        finished_chunks: Vec::new(),
        now: chrono::DateTime::UNIX_EPOCH,
    };
    (commit, id, message)
}

async fn open(settings: Settings) -> Store {
    let store = Store::connect(settings).await.expect("the store is opened");
    store.endpoint(&"orders".into()).await.expect("the endpoint is made");
    store
}

async fn load(
    store: &Store,
    instances: Vec<InstanceId>,
    messages: Vec<MessageId>,
) -> Result<Loaded, StoreError> {
    let (endpoint, saga) = ("orders".into(), "order".into());
    store.load(Load { endpoint, saga, instances, keys: Vec::new(), messages }).await
}

/// Tries until the store serves again; every error on the way is nobody's fault.
async fn until_served(store: &Store) -> Loaded {
    let mut last = None;
    for _ in 0..100 {
        match load(store, Vec::new(), Vec::new()).await {
            Ok(loaded) => return loaded,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                last = Some(error);
            }
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("the store never served again: {last:?}");
}

/// Reliability I.1 #5: the answer to COMMIT is lost. The outcome is unknown, never guessed; what
/// was committed is found by whoever looks, and the same batch again is a duplicate.
#[tokio::test]
async fn i1_5_a_lost_answer_to_commit_is_transient_and_the_journal_decides() {
    let database = postgres::database().await;
    let proxy = Proxy::start(&database.url()).await;
    let store = open(settings(&proxy.url(&database.url()))).await;
    for n in 0..5 {
        let (commit, id, message) = birth(n);
        proxy.set(Mode::CutAfterCommit);
        let error = store.commit(commit.clone()).await.expect_err("the answer was lost");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("COMMIT"), "{error}");
        assert!(proxy.is(Mode::Carry), "the COMMIT was cut");
        let mut found = false;
        for _ in 0..100 {
            until_served(&store).await;
            let loaded = load(&store, vec![id], vec![message]).await.expect("the load is answered");
            assert_eq!(loaded.journal.len(), loaded.instances.len(), "all or nothing");
            found = !loaded.journal.is_empty();
            if found {
                break;
            }
            pause(Duration::from_millis(20)).await;
        }
        assert!(found, "the server had been told to commit");
        match store.commit(commit).await.expect("the repetition is answered") {
            CommitOutcome::Committed { lost, chunks } => {
                assert_eq!(lost, [id], "the version decides before the journal");
                assert!(chunks.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A server that falls silent: the call ends by itself, the connection is never used again.
#[tokio::test]
async fn a_silent_server_costs_the_connection_and_no_more() {
    let database = postgres::database().await;
    let proxy = Proxy::start(&database.url()).await;
    let mut settings = settings(&proxy.url(&database.url()));
    settings.engine_connections = 1;
    settings.answer_timeout = Duration::from_millis(800);
    settings.acquire_timeout = Duration::from_millis(800);
    let store = open(settings).await;
    proxy.set(Mode::Silent);
    let (commit, ..) = birth(1);
    let error = store.commit(commit.clone()).await.expect_err("nobody answers");
    assert!(error.is_transient(), "{error}");
    proxy.set(Mode::Carry);
    until_served(&store).await;
    let outcome = store.commit(commit).await.expect("the commit is answered");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

/// Backends are killed while commits run. Every error is transient, nothing
/// is half written, and the store goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_039_killed_backends_are_replaced_and_nothing_is_half_written() {
    const KILL: &str = "
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let database = postgres::database().await;
    let store = open(settings(&database.url())).await;
    let mut killer = connect(&database.url()).await;
    let committing = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut confirmed = Vec::new();
            for n in 0..120 {
                let (commit, id, message) = birth(n);
                match store.commit(commit).await {
                    Ok(CommitOutcome::Committed { lost, .. }) if lost.is_empty() => {
                        confirmed.push((id, message));
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
            confirmed
        })
    };
    while !committing.is_finished() {
        killer.execute(KILL).await.expect("backends are killed");
        pause(Duration::from_millis(60)).await;
    }
    let confirmed = committing.await.expect("no panic");
    until_served(&store).await;
    let (ids, messages): (Vec<_>, Vec<_>) = confirmed.into_iter().unzip();
    let loaded = load(&store, ids.clone(), messages.clone()).await.expect("the load is answered");
    assert_eq!(loaded.instances.len(), ids.len(), "what was confirmed is there");
    assert_eq!(loaded.journal.len(), messages.len());
    const HALF: &str = "
        SELECT count(*) FROM knarr.instance i
        FULL JOIN knarr.journal j ON j.instance = i.id WHERE i.id IS NULL OR j.instance IS NULL";
    let half: i64 = sqlx::query_scalar(HALF).fetch_one(&mut killer).await.expect("it is counted");
    assert_eq!(half, 0);
}

/// Callers leave at any moment, as in a `select!`. What they began ends by
/// itself, and no connection stays within a transaction (I11).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_044_s0_16_callers_that_leave_leave_no_transaction_open() {
    const OPEN: &str = "
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND state LIKE 'idle in transaction%'";
    const LOCKS: &str = "
        SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.pid <> pg_backend_pid()";
    let database = postgres::database().await;
    let store = open(settings(&database.url())).await;
    let mut left = 0;
    for n in 0..150 {
        let (commit, ..) = birth(n);
        // From a few microseconds, before anything is sent, to beyond a whole commit.
        let patience = Duration::from_micros(40 * n);
        left += u32::from(timeout(patience, store.commit(commit)).await.is_err());
    }
    assert!(left > 10, "some callers left early: {left}");
    let mut looking = connect(&database.url()).await;
    for _ in 0..1_200 {
        let open: i64 = sqlx::query_scalar(OPEN).fetch_one(&mut looking).await.expect("a count");
        if open == 0 {
            break;
        }
        pause(Duration::from_millis(50)).await;
    }
    let open: i64 = sqlx::query_scalar(OPEN).fetch_one(&mut looking).await.expect("a count");
    assert_eq!(open, 0, "no connection stays within a transaction");
    let locks: i64 = sqlx::query_scalar(LOCKS).fetch_one(&mut looking).await.expect("a count");
    assert_eq!(locks, 0, "no lock is left, of rows or of fences");
    // Each of the few connections is used again, and what is committed on it is kept.
    for n in 1_000..1_020 {
        let (commit, id, _) = birth(n);
        let outcome = store.commit(commit).await.expect("the commit is answered");
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
        let mut kept = sqlx::query("SELECT 1 FROM knarr.instance WHERE id = $1")
            .bind(id.0)
            .fetch_all(&mut looking)
            .await
            .expect("it is read");
        assert!(kept.pop().is_some(), "it is visible to others");
    }
}

/// After a failover the sessions are on a read-only server. Nobody's fault;
/// the connections are given up, so that the next ones reach the new primary.
#[tokio::test]
async fn row_041_read_only_sessions_are_given_up() {
    let database = postgres::database().await;
    let mut admin = connect(&database.url()).await;
    let mut set = async |value: &str| {
        let name = database.name();
        let sql = format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
        admin.execute(AssertSqlSafe(sql)).await.expect("the default is set");
    };
    // Made before its sessions turn read-only.
    open(settings(&database.url())).await.close().await;
    set("on").await;
    let mut settings = settings(&database.url());
    settings.migrate = false;
    settings.engine_connections = 1;
    let store = Store::connect(settings).await.expect("reading is enough to connect");
    let (commit, ..) = birth(1);
    let error = store.commit(commit.clone()).await.expect_err("the session is read-only");
    assert!(error.is_transient() && error.to_string().contains("25006"), "{error}");
    set("off").await;
    let outcome = store.commit(commit).await.expect("the next session may write");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

/// A commit wakes the node that waits elsewhere, through the server, and more than once.
#[tokio::test]
async fn a_hint_crosses_to_another_node() {
    let database = postgres::database().await;
    let (here, there) =
        (open(settings(&database.url())).await, open(settings(&database.url())).await);
    // Whatever was said while the listeners were made is heard first.
    for _ in 0..3 {
        there.wait_for_work(Duration::from_millis(300)).await;
    }
    for _ in 0..3 {
        let waiting = {
            let there = there.clone();
            tokio::spawn(async move { there.wait_for_work(Duration::from_secs(3_600)).await })
        };
        pause(Duration::from_millis(50)).await;
        here.resume(&"orders".into()).await.expect("it is opened");
        timeout(Duration::from_secs(20), waiting)
            .await
            .expect("the hint arrives")
            .expect("no panic");
    }
}

/// A closed store holds nothing on the server and says so.
#[tokio::test]
async fn closing_ends_every_connection() {
    const OTHERS: &str = "
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND backend_type = 'client backend'";
    let database = postgres::database().await;
    let store = open(settings(&database.url())).await;
    store.close().await;
    let error = load(&store, Vec::new(), Vec::new()).await.expect_err("it is closed");
    assert!(error.is_transient(), "{error}");
    let mut looking = connect(&database.url()).await;
    for _ in 0..100 {
        let others: i64 =
            sqlx::query_scalar(OTHERS).fetch_one(&mut looking).await.expect("a count");
        if others == 0 {
            return;
        }
        pause(Duration::from_millis(50)).await;
    }
    panic!("connections are left");
}
