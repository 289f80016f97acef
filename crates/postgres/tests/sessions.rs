//! What our sessions leave on the server: no lock, no open transaction, and nothing of a neighbour's.

#[path = "support/pause.rs"]
mod pause;
mod support;
#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use knarr_model::commit::Slice;
use knarr_model::ids::{InstanceId, Name};
use knarr_model::instance::FINAL;
use knarr_model::ports::permit::Quota;
use knarr_model::ports::records::PageRequest;
use knarr_model::ports::store::{EndpointState, Load};
use knarr_model::ports::{Permits as _, Records as _, Store as _};
use knarr_postgres::Store;
use knarr_testkit::Steering as _;
use knarr_testkit::conformance::store::World;
use knarr_testkit::services::postgres::{self, Database};
use sqlx::{Connection, Executor, Row};

use support::{connect, settings};
use world::{count, until, world};

/// Everything that takes a lock: commits, halts, purges, permits, holding, claims, sweeps.
async fn busy(world: &World, store: &Store) {
    let id = world.born().await;
    world.commit(vec![Slice { timers: vec![world.timer(id, -1)], ..world.aside(id) }]).await;
    world.claim_timers(world.store(), world.node).await;
    let quota = Quota { limit: 100, window: Duration::from_secs(1) };
    store.take("purse", &[quota]).await.expect("answered").expect("there are permits");
    store.hold(&world.endpoint, world.node).await.expect("answered");
    store.halt(&world.endpoint).await.expect("halted");
    store.resume(&world.endpoint).await.expect("open");
    store.purge(&world.endpoint, &world.saga, id).await.expect("purged");
    store.sweep(world.now(), 10).await.expect("swept");
    store.sweep_finished(world.now(), 10).await.expect("swept");
}

/// Advisory locks in this database.
const ADVISORY: &str = "SELECT count(*) FROM pg_locks l
    JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory'";

#[tokio::test]
async fn pe_257_no_lock_of_ours_outlives_its_transaction() {
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    let mut beside = connect(&database.url()).await;
    for _ in 0..3 {
        busy(&world, &store).await;
        assert_eq!(count(&mut beside, ADVISORY).await, 0);
    }
    // A holder that dies within its transaction leaves nothing either: whoever asks next gets it.
    let mut blocking = connect(&database.url()).await;
    blocking
        .execute("BEGIN; LOCK TABLE knarr.outbox IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let commit = world.commit_of(vec![world.step(InstanceId(world.id()), 1)]).await;
    let dying = {
        let store = store.clone();
        tokio::spawn(async move { store.commit(commit).await })
    };
    until(&mut beside, ADVISORY, 1).await;
    const KILL: &str = "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l
        JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.locktype = 'advisory'";
    assert_eq!(count(&mut beside, KILL).await, 1);
    dying.await.expect("no panic").expect_err("its connection is gone");
    until(&mut beside, ADVISORY, 0).await;
    store.halt(&world.endpoint).await.expect("nobody holds the fence");
    blocking.close().await.expect("closed");
    assert_eq!(count(&mut beside, ADVISORY).await, 0);
}

#[tokio::test]
async fn pe_258_our_sessions_rest_outside_transactions_and_bear_our_name() {
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    busy(&world, &store).await;
    let listed = store.instances(&world.saga, None, &PageRequest { limit: 10, cursor: None }).await;
    listed.expect("listed");
    let mut beside = connect(&database.url()).await;
    const RESTLESS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'";
    until(&mut beside, RESTLESS, 0).await;
    const SESSIONS: &str = "SELECT application_name, state FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND backend_type = 'client backend'";
    let sessions = beside.fetch_all(SESSIONS).await.expect("read");
    // Of each handle at least the engine's, the lease's and the one that listens.
    assert!(sessions.len() >= 6, "{} sessions", sessions.len());
    for session in sessions {
        let (name, state): (String, String) = (session.get(0), session.get(1));
        assert_eq!((name.as_str(), state.as_str()), ("knarr", "idle"));
    }
    let named = Store::connect(settings(&with_name(&database))).await.expect("opened");
    named.endpoint(&"orders".into()).await.expect("read");
    const THEIRS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'the shop'";
    assert!(count(&mut beside, THEIRS).await >= 1, "a name in the URL counts");
}

fn with_name(database: &Database) -> String {
    let url = database.url();
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}application_name=the%20shop")
}

#[tokio::test]
async fn pe_269_two_applications_in_one_database_touch_only_their_own_rows() {
    let database = postgres::database().await;
    let url = database.url();
    let (ours, store) = world(settings(&url).schema("ours")).await;
    let (theirs, _) = world(settings(&url).schema("theirs")).await;
    let mut kept = Vec::new();
    for world in [&ours, &theirs] {
        let id = world.born().await;
        let slice = Slice {
            timers: vec![world.timer(id, -1_000)],
            tasks: vec![world.call(id, "Look", -1_000)],
            outgoing: vec![world.outgoing(id, 1)],
            ..world.aside(id)
        };
        world.commit(vec![slice]).await;
        let over = InstanceId(world.id());
        let mut slice = world.step(over, 1);
        slice.instance.as_mut().expect("it is written").state = FINAL.to_owned();
        slice.journal[0].to_state = Some(FINAL.to_owned());
        let message = slice.journal[0].message_id;
        world.commit(vec![slice]).await;
        kept.push((id, over, message));
    }
    let [(our, _, _), (their, over, message)] = kept[..] else { unreachable!("there are two") };
    // Claimed, taken over, halted, purged, swept, with everything that is called the same there.
    assert_eq!(ours.claim_timers(ours.store(), ours.node).await.len(), 1);
    assert_eq!(ours.claim_calls(ours.store(), ours.node).await.len(), 1);
    store.hold(&ours.endpoint, ours.node).await.expect("answered");
    store.leave(ours.node).await.expect("it leaves");
    store.leave(theirs.node).await.expect("a stranger leaves");
    assert_eq!(store.take_chunks(ours.other, 10).await.expect("taken").len(), 1);
    store.halt(&ours.endpoint).await.expect("halted");
    assert!(!store.purge(&ours.endpoint, &ours.saga, their).await.expect("answered"));
    assert!(store.purge(&ours.endpoint, &ours.saga, our).await.expect("answered"));
    let later = ours.at(60_000);
    assert_eq!(store.sweep_finished(later, 100).await.expect("swept"), 1);
    assert!(store.sweep(later, 100).await.expect("swept") > 0);
    let page = PageRequest { limit: 10, cursor: None };
    let listed = store.instances(&ours.saga, None, &page).await.expect("listed");
    assert_eq!(listed.items.iter().map(|item| item.id).collect::<Vec<_>>(), [our]);
    // The other application has all that it had.
    let row = theirs.row().await;
    assert_eq!((row.state, row.holder), (EndpointState::Open, None));
    assert_eq!((theirs.version(their).await, theirs.version(over).await), (1, 1));
    assert_eq!(theirs.outcomes(&[message]).await.len(), 1);
    let claim = theirs.claim_timers(theirs.store(), theirs.node).await;
    assert_eq!(claim.len(), 1, "its node is alive, whatever left elsewhere");
    assert_eq!(theirs.claim_calls(theirs.store(), theirs.node).await.len(), 1);
    let chunks = theirs.store().own_chunks(theirs.node, &[]).await.expect("read");
    assert_eq!(chunks.len(), 1);
}

#[tokio::test]
async fn pe_270_a_halt_goes_through_at_once_while_reads_hold_every_pooled_connection() {
    let database = postgres::database().await;
    let url = database.url();
    let mut settings = settings(&url);
    (settings.engine_connections, settings.reading_connections) = (3, 2);
    settings.lock_timeout = Duration::from_secs(20);
    settings.statement_timeout = Duration::from_secs(25);
    let store = Store::connect(settings).await.expect("the store is opened");
    let endpoint = Name::from("orders");
    store.endpoint(&endpoint).await.expect("the endpoint is made");
    let mut blocking = connect(&url).await;
    blocking
        .execute("BEGIN; LOCK TABLE knarr.instance IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    let mut reads = Vec::new();
    for _ in 0..20 {
        let (loading, listing) = (store.clone(), store.clone());
        let load = Load {
            endpoint: endpoint.clone(),
            saga: "order".into(),
            instances: vec![InstanceId(uuid())],
            keys: Vec::new(),
            messages: Vec::new(),
        };
        reads.push(tokio::spawn(async move { loading.load(load).await.map(drop) }));
        reads.push(tokio::spawn(async move {
            let page = PageRequest { limit: 10, cursor: None };
            listing.instances(&"order".into(), None, &page).await.map(drop)
        }));
    }
    let mut beside = connect(&url).await;
    const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(&mut beside, WAITING, 5).await;
    let row = store.halt(&endpoint).await.expect("the halt gets through");
    assert_eq!((row.epoch, row.state), (2, EndpointState::Halted));
    let row = store.resume(&endpoint).await.expect("and so does what undoes it");
    assert_eq!(row.state, EndpointState::Open);
    assert_eq!(count(&mut beside, WAITING).await, 5, "every one of them still waits");
    assert!(reads.iter().filter(|read| !read.is_finished()).count() >= 5);
    blocking.close().await.expect("closed");
    for read in reads {
        if let Err(error) = read.await.expect("no panic") {
            assert!(error.is_transient(), "{error}");
        }
    }
}

fn uuid() -> sqlx::types::Uuid {
    sqlx::types::Uuid::from_u128(7)
}
