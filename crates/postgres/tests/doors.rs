//! Connections that are too few, slow, locked out, given up or shared: nobody's work fails of it.

#[path = "support/pause.rs"]
mod pause;
mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use knarr_model::commit::{Commit, CommitOutcome, Slice};
use knarr_model::ids::InstanceId;
use knarr_model::ports::records::PageRequest;
use knarr_model::ports::store::Load;
use knarr_model::ports::{Records as _, Store as _, StoreError};
use knarr_model::statement::{Dialects, Statement};
use knarr_postgres::{Error, Settings, Store};
use knarr_testkit::Steering as _;
use knarr_testkit::conformance::store::World;
use knarr_testkit::services::{Pooler, postgres};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tokio::time::timeout;

use pause::pause;
use support::{connect, settings};
use world::{count, until, world};

const INSTANCES: &str = "SELECT count(*) FROM knarr.instance";
const STEPS: &str = "SELECT count(*) FROM knarr.journal";
const IN_TRANSACTION: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND (state LIKE 'idle in transaction%' OR xact_start IS NOT NULL)
      AND backend_type = 'client backend'";

/// Advisory locks in this database.
const ADVISORY: &str = "SELECT count(*) FROM pg_locks l
    JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory'";

/// A commit takes so long.
const SLOW: &str = "
CREATE FUNCTION knarr.slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER INSERT ON knarr.journal FOR EACH STATEMENT EXECUTE FUNCTION knarr.slow()";
const NO_LONGER_SLOW: &str = "DROP TRIGGER slow ON knarr.journal";

/// Commits that each make an instance.
async fn births(world: &World, many: usize) -> Vec<Commit> {
    let mut commits = Vec::new();
    for _ in 0..many {
        let step = world.step(InstanceId(world.id()), 1);
        commits.push(world.commit_of(vec![step]).await);
    }
    commits
}

/// Commits as the engine does, again after every error, which must be nobody's fault; how many there
/// were. A commit whose outcome was unknown turns out to be there.
async fn insist(store: Store, commit: Commit) -> u32 {
    let mut refused = 0;
    loop {
        match store.commit(commit.clone()).await {
            Ok(CommitOutcome::Committed { lost, .. }) if refused > 0 || lost.is_empty() => {
                return refused;
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                refused += 1;
                assert!(refused < 200, "it never gets through: {error}");
                pause(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn insist_on_all(store: &Store, commits: Vec<Commit>) -> u32 {
    let all = commits.into_iter().map(|commit| tokio::spawn(insist(store.clone(), commit)));
    join_all(all).await.into_iter().map(|refused| refused.expect("no panic")).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_043_five_hundred_at_once_on_five_connections_each_get_their_turn() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.engine_connections = 5;
    settings.acquire_timeout = Duration::from_secs(100);
    let (world, store) = world(settings).await;
    let mut beside = connect(&database.url()).await;
    let commits = births(&world, 500).await;
    assert_eq!(insist_on_all(&store, commits).await, 0, "whoever waits in line is not refused");
    assert_eq!(count(&mut beside, INSTANCES).await, 500);
    const OURS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    // Of two handles: the engine's five, two for orders, two for reading, lease, notify, listener.
    assert!(count(&mut beside, OURS).await <= 2 * (5 + 2 + 2 + 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_043_a_wait_that_is_too_long_and_a_server_that_is_full_are_nobodys_fault() {
    let database = postgres::database().await;
    let (name, mut beside) = (database.name(), connect(&database.url()).await);
    for sql in [
        format!("CREATE ROLE {name}_few LOGIN PASSWORD 'x' CONNECTION LIMIT 7"),
        format!("CREATE SCHEMA knarr AUTHORIZATION {name}_few"),
    ] {
        beside.execute(AssertSqlSafe(sql)).await.expect("the role is prepared");
    }
    let url = database.url();
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let server = rest.split_once('@').map_or(rest, |(_, server)| server);
    let mut settings = settings(&format!("{scheme}://{name}_few:x@{server}"));
    // It wants far more than it may have, five of which are not the engine's.
    settings.engine_connections = 8;
    settings.acquire_timeout = Duration::from_millis(400);
    let store = Store::connect(settings).await.expect("the store is opened");
    store.endpoint(&"orders".into()).await.expect("the endpoint is made");
    let (world, _) = world(support::settings(&database.url())).await;
    beside.execute(SLOW).await.expect("commits are slow");
    let commits = births(&world, 24).await;
    let refused = insist_on_all(&store, commits).await;
    assert!(refused > 0, "there was no need to wait");
    assert_eq!((count(&mut beside, INSTANCES).await, count(&mut beside, STEPS).await), (24, 24));
    store.close().await;
    drop(world);
    for sql in [format!("DROP OWNED BY {name}_few CASCADE"), format!("DROP ROLE {name}_few")] {
        beside.execute(AssertSqlSafe(sql)).await.expect("the role is removed");
    }
}

/// Callers of every door leave at any moment: a halt, a claim, a load, a lease, a list, a sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_044_s0_16_callers_that_leave_any_door_leave_no_transaction_and_no_lock() {
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    let mut beside = connect(&database.url()).await;
    let (endpoint, id) = (world.endpoint.clone(), world.born().await);
    let page = PageRequest { limit: 10, cursor: None };
    let claim = world.claim(world.node, 10);
    let mut left = 0;
    for n in 0..60_u64 {
        // From before anything is sent to beyond its end.
        let patience = Duration::from_micros(60 * n);
        let load = Load {
            endpoint: endpoint.clone(),
            saga: world.saga.clone(),
            instances: vec![id],
            keys: Vec::new(),
            messages: Vec::new(),
        };
        let lease = Duration::from_secs(3_600);
        for gone in [
            timeout(patience, store.halt(&endpoint)).await.is_err(),
            timeout(patience, store.resume(&endpoint)).await.is_err(),
            timeout(patience, store.hold(&endpoint, world.node)).await.is_err(),
            timeout(patience, store.claim_timers(&claim)).await.is_err(),
            timeout(patience, store.load(load)).await.is_err(),
            timeout(patience, store.renew(world.node, lease)).await.is_err(),
            timeout(patience, store.instances(&world.saga, None, &page)).await.is_err(),
            timeout(patience, store.sweep(world.now(), 10)).await.is_err(),
        ] {
            left += u32::from(gone);
        }
    }
    assert!(left > 60, "some callers left early: {left}");
    until(&mut beside, IN_TRANSACTION, 0).await;
    assert_eq!(count(&mut beside, ADVISORY).await, 0);
    // Every pool is as good as before: the verbs went to their end, and others can follow.
    store.resume(&endpoint).await.expect("the fence is free");
    world.commit(vec![world.step(InstanceId(world.id()), 1)]).await;
    assert_eq!(world.version(id).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_046_a_table_locked_by_others_is_waited_out_and_nothing_is_held_meanwhile() {
    const LOCK: &str = "BEGIN; LOCK TABLE knarr.instance, knarr.journal, knarr.node, knarr.timer
        IN ACCESS EXCLUSIVE MODE";
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.lock_timeout = Duration::from_millis(200);
    let (world, store) = world(settings).await;
    let (mut altering, mut beside) =
        (connect(&database.url()).await, connect(&database.url()).await);
    let commits = births(&world, 12).await;
    let claim = world.claim(world.node, 10);
    altering.execute(LOCK).await.expect("locked");
    for _ in 0..2 {
        let refused: [Result<(), StoreError>; 4] = [
            store.commit(commits[0].clone()).await.map(drop),
            store.claim_timers(&claim).await.map(drop),
            store.renew(world.node, Duration::from_secs(3_600)).await.map(drop),
            store
                .instances(&world.saga, None, &PageRequest { limit: 1, cursor: None })
                .await
                .map(drop),
        ];
        for refused in refused {
            let error = refused.expect_err("the table is locked");
            assert!(error.is_transient() && error.to_string().contains("55P03"), "{error}");
        }
    }
    // Between two attempts nothing of ours stands in the way, whoever else wants the tables.
    until(&mut beside, ADVISORY, 0).await;
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { insist_on_all(&store, commits).await }
    });
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&mut beside, WAITING, 2).await;
    // Longer than a commit tries by itself.
    pause(Duration::from_millis(2_500)).await;
    altering.execute("COMMIT").await.expect("unlocked");
    assert!(waiting.await.expect("no panic") > 0, "all got through in spite of the lock");
    assert_eq!((count(&mut beside, INSTANCES).await, count(&mut beside, STEPS).await), (12, 12));
}

#[tokio::test]
async fn row_049_a_statement_that_takes_too_long_is_tried_again_whosever_it_is() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.statement_timeout = Duration::from_millis(50);
    let (world, store) = world(settings).await;
    let mut beside = connect(&database.url()).await;
    let id = InstanceId(world.id());
    let ours = world.commit_of(vec![world.step(id, 1)]).await;
    // A saga's own statement, too: it is the server that is slow, not the saga that is wrong.
    let own = Statement {
        name: "count".to_owned(),
        text: Dialects::same("SELECT pg_sleep(0.3)"),
        parameters: Vec::new(),
    };
    let own = world.commit_of(vec![Slice { statements: vec![own], ..world.aside(id) }]).await;
    beside.execute(SLOW).await.expect("our statement is slow");
    for commit in [&ours, &own, &ours, &own] {
        let error = store.commit(commit.clone()).await.expect_err("it takes too long");
        assert!(error.is_transient() && error.to_string().contains("57014"), "{error}");
    }
    assert_eq!(count(&mut beside, IN_TRANSACTION).await, 0);
    beside.execute(NO_LONGER_SLOW).await.expect("it is quick again");
    insist(store, ours).await;
    assert_eq!(world.version(id).await, 1);
}

/// Sessions of every pool rest on a server that becomes read-only. One refused write is enough: all
/// of them are given up, also those that only read, since what they read is out of date.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_041_one_refused_write_gives_up_every_session_on_a_read_only_server() {
    const SESSIONS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'knarr'
        AND backend_type = 'client backend' AND query NOT LIKE 'LISTEN%'";
    let server = postgres::Private::launch().await;
    let url = server.url();
    let store = Store::connect(settings(&url)).await.expect("the store is opened");
    let world = world_of(&url).await;
    let commits = births(&world, 20).await;
    insist_on_all(&store, commits).await;
    store.renew(world.node, Duration::from_secs(3_600)).await.expect("renewed");
    let page = PageRequest { limit: 1, cursor: None };
    store.instances(&world.saga, None, &page).await.expect("listed");
    let last = births(&world, 1).await;
    drop(world);
    let mut beside = connect(&url).await;
    let sessions = async |beside: &mut PgConnection| -> BTreeSet<i32> {
        sqlx::query_scalar(SESSIONS).fetch_all(beside).await.expect("read").into_iter().collect()
    };
    pause(Duration::from_millis(300)).await;
    let before = sessions(&mut beside).await;
    assert!(before.len() >= 6, "engine, orders, reading, lease, notify: {before:?}");
    server.run("ALTER SYSTEM SET default_transaction_read_only = on").await;
    server.run("SELECT pg_reload_conf()").await;
    pause(Duration::from_millis(300)).await;
    let error = store.commit(last[0].clone()).await.expect_err("nothing is written there");
    assert!(error.is_transient() && error.to_string().contains("25006"), "{error}");
    let mut left = BTreeSet::new();
    for _ in 0..200 {
        left = sessions(&mut beside).await.intersection(&before).copied().collect();
        if left.is_empty() {
            break;
        }
        pause(Duration::from_millis(20)).await;
    }
    assert!(left.is_empty(), "still there: {left:?} of {before:?}");
    server.run("ALTER SYSTEM RESET default_transaction_read_only").await;
    server.run("SELECT pg_reload_conf()").await;
    insist_on_all(&store, last).await;
    store.close().await;
}

/// A world whose own handles are closed again.
async fn world_of(url: &str) -> World {
    world(settings(url)).await.0
}

#[tokio::test]
async fn row_054_a_pooler_that_shares_sessions_is_refused_in_one_clear_line() {
    let database = postgres::database().await;
    for mode in ["transaction", "statement"] {
        let pooler = Pooler::before(&database.url(), mode).await;
        let error = Store::connect(settings(&pooler.url(&database.url())));
        let error = error.await.expect_err("its sessions are not ours");
        assert!(matches!(error, Error::Pooled) && error.is_misfit(), "{mode}: {error}");
        let text = error.to_string();
        assert!(text.contains("pool_mode = session") && !text.contains('\n'), "{text}");
    }
    let mut beside = connect(&database.url()).await;
    const OURS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'knarr'";
    assert_eq!(count(&mut beside, OURS).await, 0, "nothing was written through it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_054_a_pooler_in_session_mode_is_served_and_its_notifications_are_heard() {
    let database = postgres::database().await;
    let pooler = Pooler::before(&database.url(), "session").await;
    let through: Settings = settings(&pooler.url(&database.url()));
    let (world, store) = world(through).await;
    let commits = births(&world, 50).await;
    insist_on_all(&store, commits).await;
    store.halt(&world.endpoint).await.expect("halted");
    store.resume(&world.endpoint).await.expect("open");
    let second = world.second().clone();
    let waiting =
        tokio::spawn(async move { second.wait_for_work(Duration::from_secs(3_600)).await });
    for _ in 0..200 {
        if waiting.is_finished() {
            break;
        }
        store.resume(&world.endpoint).await.expect("open");
        pause(Duration::from_millis(50)).await;
    }
    assert!(waiting.is_finished(), "no notification came through");
    let mut beside = connect(&database.url()).await;
    assert_eq!(count(&mut beside, INSTANCES).await, 50);
}
