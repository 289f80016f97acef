//! The three fences that look right and are not, each on a real Postgres, and ours beside it.

#[path = "support/pause.rs"]
mod pause;
mod support;

use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome};
use knarr_model::ids::{NodeId, derived_id};
use knarr_model::ports::Store as _;
use knarr_model::ports::store::EndpointState;
use knarr_postgres::Store;
use knarr_testkit::Steering as _;
use knarr_testkit::services::postgres::{self, Database};
use sqlx::{Connection, Executor, PgConnection};

use pause::pause;
use support::{connect, settings};

const TAKE_SHARED: &str = "SELECT pg_advisory_xact_lock_shared($1, $2)";
const TAKE_ALONE: &str = "SELECT pg_advisory_xact_lock($1, $2)";
const READ: &str = "SELECT epoch FROM knarr.endpoint WHERE name = 'orders'";
const RAISE: &str =
    "UPDATE knarr.endpoint SET epoch = epoch + 1, state = 'halted' WHERE name = 'orders'";

/// The two numbers of the fence of `orders` in schema `knarr`: part of the schema's format, since
/// nodes of two versions must meet at one lock.
fn fence() -> (i32, i32) {
    let number = |parts: &[&[u8]]| {
        let id = derived_id(parts);
        i32::from_be_bytes(id.as_bytes()[..4].try_into().expect("four bytes"))
    };
    (number(&[b"fence", b"knarr"]), number(&[b"object", b"orders"]))
}

async fn store_with_endpoint() -> (Database, Store) {
    let database = postgres::database().await;
    let store = Store::connect(settings(&database.url())).await.expect("the store is opened");
    let row = store.endpoint(&"orders".into()).await.expect("the endpoint is made");
    assert_eq!((row.epoch, row.state), (1, EndpointState::Open));
    (database, store)
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    connection.execute(sql).await.expect("the statement runs");
}

async fn take(connection: &mut PgConnection, sql: &'static str) {
    let (class, object) = fence();
    let lock = sqlx::query(sql).bind(class).bind(object);
    lock.execute(connection).await.expect("the lock is taken");
}

async fn epoch(connection: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("the epoch is read")
}

/// A commit that writes nothing, decided at epoch 1.
fn commit_at_first_epoch() -> Commit {
    Commit {
        endpoint: "orders".into(),
        saga: "order".into(),
        node: NodeId(derived_id(&[b"node"])),
        epoch: 1,
        guard_version: 0,
        ordered: false,
        slices: Vec::new(),
        chunk_ids: Vec::new(),
        finished_chunks: Vec::new(),
        now: chrono::DateTime::UNIX_EPOCH,
    }
}

/// Wrong fence 1: sharers of the endpoint's row are let in although a halt waits for it, as long
/// as one of them is always there.
#[tokio::test]
async fn s0_12_for_share_lets_sharers_pass_a_waiting_halt() {
    const SHARE: &str = "SELECT epoch FROM knarr.endpoint WHERE name = 'orders' FOR SHARE";
    let (database, _store) = store_with_endpoint().await;
    let url = database.url();
    let (mut one, mut other) = (connect(&url).await, connect(&url).await);
    let mut halting = connect(&url).await;
    run(&mut one, "BEGIN").await;
    epoch(&mut one, SHARE).await;
    let halt = tokio::spawn(async move {
        run(&mut halting, RAISE).await;
    });
    until_waiting(&url, 1).await;
    let mut let_in = 0;
    for _ in 0..25 {
        run(&mut other, "BEGIN; SET LOCAL lock_timeout = '5s'").await;
        assert_eq!(epoch(&mut other, SHARE).await, 1, "the old epoch passes");
        let_in += 1;
        run(&mut one, "COMMIT").await;
        assert!(!halt.is_finished(), "the halt starves while there is always a sharer");
        std::mem::swap(&mut one, &mut other);
    }
    assert_eq!(let_in, 25);
    run(&mut one, "COMMIT").await;
    halt.await.expect("the halt gets through once nobody shares");
}

/// Ours: once a halt waits, nobody is let in before it.
#[tokio::test]
async fn s0_12_a_waiting_halt_goes_before_later_sharers() {
    let (database, store) = store_with_endpoint().await;
    let url = database.url();
    let mut sharing = connect(&url).await;
    run(&mut sharing, "BEGIN").await;
    take(&mut sharing, TAKE_SHARED).await;
    let halting = store.clone();
    let halt = tokio::spawn(async move { halting.halt(&"orders".into()).await });
    until_waiting(&url, 1).await;
    let committing = store.clone();
    let late = tokio::spawn(async move { committing.commit(commit_at_first_epoch()).await });
    until_waiting(&url, 2).await;
    run(&mut sharing, "COMMIT").await;
    let row = halt.await.expect("no panic").expect("the halt gets through");
    assert_eq!((row.epoch, row.state), (2, EndpointState::Halted));
    let outcome = late.await.expect("no panic").expect("the commit is answered");
    assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}");
}

/// Wrong fence 2: locking and reading in one statement reads with the eyes from before the wait.
#[tokio::test]
async fn s0_12_locking_and_reading_in_one_statement_lets_the_old_epoch_pass() {
    const LOCK_AND_READ: &str = "
        SELECT epoch FROM knarr.endpoint, (SELECT pg_advisory_xact_lock_shared($1, $2)) AS fence
        WHERE name = 'orders'";
    let (database, _store) = store_with_endpoint().await;
    let url = database.url();
    let mut halting = connect(&url).await;
    let mut committing = connect(&url).await;
    run(&mut halting, "BEGIN").await;
    take(&mut halting, TAKE_ALONE).await;
    let read = tokio::spawn(async move {
        let (class, object) = fence();
        let read = sqlx::query_scalar(LOCK_AND_READ).bind(class).bind(object);
        let seen: i64 = read.fetch_one(&mut committing).await.expect("the epoch is read");
        (seen, epoch(&mut committing, READ).await)
    });
    until_waiting(&url, 1).await;
    run(&mut halting, RAISE).await;
    run(&mut halting, "COMMIT").await;
    let (seen, later) = read.await.expect("no panic");
    assert_eq!(seen, 1, "after the halt had returned, the old epoch was read under the fence");
    assert_eq!(later, 2, "a later statement reads the new one: what ours does");
}

/// Wrong fence 3: at REPEATABLE READ even a later statement sees what was before the fence.
#[tokio::test]
async fn s0_12_repeatable_read_lets_the_old_epoch_pass() {
    let (database, _store) = store_with_endpoint().await;
    let url = database.url();
    let mut halting = connect(&url).await;
    run(&mut halting, "BEGIN").await;
    take(&mut halting, TAKE_ALONE).await;
    let mut reads = Vec::new();
    for level in [
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
    ] {
        let mut committing = connect(&url).await;
        reads.push(tokio::spawn(async move {
            run(&mut committing, level).await;
            take(&mut committing, TAKE_SHARED).await;
            epoch(&mut committing, READ).await
        }));
    }
    until_waiting(&url, 3).await;
    run(&mut halting, RAISE).await;
    run(&mut halting, "COMMIT").await;
    let mut seen = Vec::new();
    for read in reads {
        seen.push(read.await.expect("no panic"));
    }
    assert_eq!(seen, [1, 1, 2], "only READ COMMITTED sees the halt it waited for");
}

/// Ours: whatever the database's default isolation, a commit that waited for a halt is fenced.
#[tokio::test]
async fn s0_12_a_commit_that_waited_for_a_halt_is_fenced() {
    for default in ["read committed", "repeatable read", "serializable"] {
        let database = postgres::database().await;
        let url = database.url();
        let set = format!(
            "ALTER DATABASE {} SET default_transaction_isolation = '{default}'",
            database.name()
        );
        connect(&url).await.execute(sqlx::AssertSqlSafe(set)).await.expect("the default is set");
        let store = Store::connect(settings(&url)).await.expect("the store is opened");
        store.endpoint(&"orders".into()).await.expect("the endpoint is made");
        let mut halting = connect(&url).await;
        run(&mut halting, "BEGIN ISOLATION LEVEL READ COMMITTED").await;
        take(&mut halting, TAKE_ALONE).await;
        let late = {
            let store = store.clone();
            tokio::spawn(async move { store.commit(commit_at_first_epoch()).await })
        };
        until_waiting(&url, 1).await;
        run(&mut halting, RAISE).await;
        run(&mut halting, "COMMIT").await;
        let outcome = late.await.expect("no panic").expect("the commit is answered");
        assert!(matches!(outcome, CommitOutcome::Fenced), "{default}: {outcome:?}");
    }
}

/// A halt gets its connection and its turn while every connection of the engine hangs within a
/// commit: the commits give way after their lock timeout, and are fenced.
#[tokio::test]
async fn s0_12_a_halt_gets_through_when_the_engines_connections_are_all_busy() {
    let database = postgres::database().await;
    let url = database.url();
    let mut settings = settings(&url);
    settings.engine_connections = 2;
    settings.lock_timeout = Duration::from_millis(700);
    let store = Store::connect(settings).await.expect("the store is opened");
    store.endpoint(&"orders".into()).await.expect("the endpoint is made");
    let mut blocking = connect(&url).await;
    run(&mut blocking, "BEGIN; LOCK TABLE knarr.outbox IN ACCESS EXCLUSIVE MODE").await;
    let commits: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(commit_at_first_epoch()).await })
        })
        .collect();
    until_waiting(&url, 2).await;
    let row = store.halt(&"orders".into()).await.expect("the halt gets through");
    assert_eq!(row.epoch, 2);
    run(&mut blocking, "COMMIT").await;
    blocking.close().await.expect("the connection is closed");
    for commit in commits {
        match commit.await.expect("no panic") {
            Ok(outcome) => assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}"),
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// Returns when `backends` of the database wait for a lock.
async fn until_waiting(url: &str, backends: i64) {
    const WAITING: &str = "
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut connection = connect(url).await;
    for _ in 0..2_000 {
        let waiting: i64 =
            sqlx::query_scalar(WAITING).fetch_one(&mut connection).await.expect("it is counted");
        if waiting >= backends {
            return;
        }
        pause(Duration::from_millis(10)).await;
    }
    panic!("{backends} backends never waited for a lock");
}
