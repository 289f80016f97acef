//! What is held right before its COMMIT: a commit, a halt, a purge; and what the others see of it.

#[path = "support/pause.rs"]
mod pause;
mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use knarr_model::commit::CommitOutcome;
use knarr_model::ids::{InstanceId, Name};
use knarr_model::instance::{Instance, PURGED};
use knarr_model::ports::guard::{Ask, CarriedOut, Decide, Guarded as _, Plan, Refusal, Run, Scene};
use knarr_model::ports::store::{EndpointState, StoreError};
use knarr_model::ports::{Records as _, Store as _};
use knarr_model::statement::{Dialects, Statement};
use knarr_postgres::Store;
use knarr_testkit::Steering as _;
use knarr_testkit::conformance::store::{Stores, World};
use knarr_testkit::services::postgres::{self, Database};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use pause::pause;
use support::{connect, settings};

/// Whoever fires this waits for the test: within its COMMIT, with everything written and its fence
/// still shared or closed.
const HOLD: &str = "
CREATE FUNCTION knarr.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(4242); RETURN NULL; END $$";
const AT_COMMIT_OF_JOURNAL: &str = "
CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON knarr.journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION knarr.hold()";
const AT_COMMIT_OF_ENDPOINT: &str = "
CREATE CONSTRAINT TRIGGER hold AFTER UPDATE ON knarr.endpoint
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION knarr.hold()";
const TAKE: &str = "SELECT pg_advisory_lock(4242)";
const LET_GO: &str = "SELECT pg_advisory_unlock(4242)";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";
/// The backend that waits for the test.
const HELD: &str = "SELECT pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objid = 4242
    AND NOT l.granted";

/// A store, its world of rows, and a connection past it that holds what comes to `trigger`.
struct Held {
    world: World,
    store: Store,
    beside: PgConnection,
    _database: Database,
}

impl Held {
    async fn new(trigger: &'static str) -> Held {
        let database = postgres::database().await;
        let mut settings = settings(&database.url());
        settings.lock_timeout = Duration::from_secs(20);
        let store = Store::connect(settings.clone()).await.expect("the store is opened");
        let second = Store::connect(settings).await.expect("the second handle is opened");
        let force = |_: (Name, EndpointState)| async {}.boxed();
        let (one, records) = (Arc::new(store.clone()), Arc::new(store.clone()));
        let stores = Stores::real(one, Arc::new(second), records, Arc::new(force));
        let world = World::new(stores).await;
        let mut beside = connect(&database.url()).await;
        for sql in [HOLD, trigger, TAKE] {
            beside.execute(sql).await.expect("the statement runs");
        }
        Held { world, store, beside, _database: database }
    }

    async fn count(&mut self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.beside).await.expect("counted")
    }

    /// Returns when so many backends wait for a lock.
    async fn until_waiting(&mut self, backends: i64) {
        for _ in 0..2_000 {
            if self.count(WAITING).await >= backends {
                return;
            }
            pause(Duration::from_millis(5)).await;
        }
        panic!("{backends} backends never waited for a lock");
    }

    /// The backend that is held.
    async fn held(&mut self) -> i32 {
        sqlx::query_scalar(HELD).fetch_one(&mut self.beside).await.expect("one is held")
    }

    async fn run(&mut self, sql: &'static str) {
        self.beside.execute(sql).await.expect("the statement runs");
    }

    async fn kill(&mut self, backend: i32) {
        let sql = format!("SELECT pg_terminate_backend({backend})");
        self.beside.execute(AssertSqlSafe(sql)).await.expect("it is ended");
    }

    /// A first step of an instance, held within its COMMIT.
    async fn committing(
        &mut self,
    ) -> (InstanceId, tokio::task::JoinHandle<Result<CommitOutcome, StoreError>>) {
        let id = InstanceId(self.world.id());
        let commit = self.world.commit_of(vec![self.world.step(id, 1)]).await;
        let store = self.store.clone();
        (id, tokio::spawn(async move { store.commit(commit).await }))
    }

    fn halting(
        &self,
    ) -> tokio::task::JoinHandle<Result<knarr_model::ports::store::EndpointRow, StoreError>> {
        let (store, endpoint) = (self.world.second().clone(), self.world.endpoint.clone());
        tokio::spawn(async move { store.halt(&endpoint).await })
    }
}

#[tokio::test]
async fn row_086_a_commit_held_before_its_end_is_there_before_the_halt_is() {
    let mut held = Held::new(AT_COMMIT_OF_JOURNAL).await;
    let (id, committing) = held.committing().await;
    held.until_waiting(1).await;
    let halting = held.halting();
    held.until_waiting(2).await;
    assert_eq!(held.world.version(id).await, 0, "it is not committed yet");
    assert_eq!(held.world.row().await.epoch, 1, "and so the halt is not");
    assert!(!halting.is_finished() && !committing.is_finished());
    held.run(LET_GO).await;
    let outcome = committing.await.expect("no panic").expect("answered");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    let row = halting.await.expect("no panic").expect("halted");
    assert_eq!((row.epoch, row.state), (2, EndpointState::Halted));
    assert_eq!(held.world.version(id).await, 1, "it was there before");
}

#[tokio::test]
async fn row_086_a_commit_that_meets_a_halt_held_before_its_end_is_refused() {
    let mut held = Held::new(AT_COMMIT_OF_ENDPOINT).await;
    let halting = held.halting();
    held.until_waiting(1).await;
    let (id, committing) = held.committing().await;
    held.until_waiting(2).await;
    assert!(!committing.is_finished(), "it was decided at the epoch that is still to be read");
    held.run(LET_GO).await;
    assert_eq!(halting.await.expect("no panic").expect("halted").epoch, 2);
    let outcome = committing.await.expect("no panic").expect("answered");
    assert!(matches!(outcome, CommitOutcome::Fenced), "{outcome:?}");
    assert_eq!(held.world.version(id).await, 0, "nothing of it is there");
}

#[tokio::test]
async fn row_086_a_commit_that_dies_before_its_end_holds_no_halt_up_and_leaves_nothing() {
    let mut held = Held::new(AT_COMMIT_OF_JOURNAL).await;
    let (id, committing) = held.committing().await;
    held.until_waiting(1).await;
    let halting = held.halting();
    held.until_waiting(2).await;
    let backend = held.held().await;
    held.kill(backend).await;
    assert_eq!(halting.await.expect("no panic").expect("halted").epoch, 2);
    let error = committing.await.expect("no panic").expect_err("its connection is gone");
    assert!(error.is_transient(), "{error}");
    assert_eq!(held.world.version(id).await, 0, "nothing of it is there");
}

/// A trigger that holds the purge step once its rows are deleted.
const AT_DELETE: &str = "
CREATE TABLE public.finding (run uuid, n bigint, told text, PRIMARY KEY (run, n));
CREATE TRIGGER hold AFTER DELETE ON public.finding
    FOR EACH STATEMENT EXECUTE FUNCTION knarr.hold()";
const FILL: &str = "INSERT INTO public.finding
    SELECT $1, n, 'what was found of it, number ' || n FROM generate_series(1, $2) n";

/// Purges a run with the saga's own table; its rows are counted.
async fn purge(store: &Store, world: &World, id: InstanceId) -> Result<CarriedOut, StoreError> {
    let ask = Ask {
        instance: Some((world.saga.clone(), id)),
        ..Ask::endpoint(&world.endpoint, world.node, world.now())
    };
    let step = Statement {
        name: "findings".to_owned(),
        text: Dialects::same("DELETE FROM public.finding WHERE run = $1::uuid"),
        parameters: vec![json!(id.0)],
    };
    let decide: Decide = Arc::new(move |scene: &Scene| {
        let run = &scene.whole.as_ref().ok_or(Refusal::Changed)?.instance;
        if run.is_over() {
            return Err(Refusal::Conflict("its run has ended already".to_owned()));
        }
        let null = serde_json::value::to_raw_value(&Value::Null).expect("null").into();
        let (state, version) = (PURGED.to_owned(), run.version + 1);
        Ok(Plan {
            empty: Some((run.saga.clone(), run.id, run.run)),
            instance: Some(Instance { state, version, data: null, ..run.clone() }),
            steps: vec![step.clone()],
            ..Plan::default()
        })
    });
    let done = store.under_fence(ask, decide, Run::ForReal).await?;
    Ok(done.expect("the run is there"))
}

/// `KNARR_TEST_PURGED` says how many rows the run has; 1 000 000 in a long run.
fn wanted(name: &str, otherwise: i64) -> i64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_092_a_purge_of_many_rows_is_all_or_nothing_and_holds_up_nobody_else() {
    let rows = wanted("KNARR_TEST_PURGED", 20_000);
    let mut held = Held::new(AT_DELETE).await;
    let (id, neighbour) = (held.world.born().await, held.world.born().await);
    for (run, rows) in [(id, rows), (neighbour, 1_000)] {
        let fill = sqlx::query(FILL).bind(run.0).bind(rows);
        fill.execute(&mut held.beside).await.expect("filled");
    }
    held.run("VACUUM ANALYZE public.finding").await;

    // Held once its rows are deleted: few locks, however many rows, and others go on.
    let (store, world) = (held.store.clone(), Arc::new(held.world));
    let purging = {
        let (store, world) = (store.clone(), world.clone());
        tokio::spawn(async move { purge(&store, &world, id).await })
    };
    let mut held = Held { world: other(&held.store).await, store, ..held };
    held.until_waiting(1).await;
    let backend = held.held().await;
    let locks =
        held.count("SELECT max(n) FROM (SELECT count(*) n FROM pg_locks GROUP BY pid) p").await;
    // One for each table and index that a purge touches.
    assert!(locks < 250, "{locks} locks for {rows} rows");
    let busy = held.world.born().await;
    assert_eq!(held.world.version(busy).await, 1, "another endpoint commits meanwhile");

    // Broken off: nothing of it happened, and it can be begun again.
    held.kill(backend).await;
    let error = purging.await.expect("no panic").expect_err("its connection is gone");
    assert!(error.is_transient(), "{error}");
    assert_eq!(held.count("SELECT count(*) FROM public.finding").await, rows + 1_000);
    assert_eq!(world.version(id).await, 1, "the run is as it was");
    held.run(LET_GO).await;
    let clock = world.stores.clock.clone();
    let began = clock.monotonic();
    let done = purge(&held.store, &world, id).await.expect("carried out");
    println!("a run of {rows} rows was purged in {:?}", clock.monotonic() - began);
    assert_eq!(done.steps[0].rows, u64::try_from(rows).expect("not negative"));
    assert_eq!(held.count("SELECT count(*) FROM public.finding").await, 1_000);
    let stone = world.read(id).await.expect("the tombstone is there");
    assert_eq!((stone.state.as_str(), stone.version), (PURGED, 2));
    assert_eq!(world.version(neighbour).await, 1);
}

/// The world of another endpoint of the same store.
async fn other(store: &Store) -> World {
    let force = |_: (Name, EndpointState)| async {}.boxed();
    let one = Arc::new(store.clone());
    let stores = Stores::real(one.clone(), one.clone(), one, Arc::new(force));
    let mut world = World::new(stores).await;
    world.endpoint = "billing".into();
    store.endpoint(&world.endpoint).await.expect("its row is made");
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_092_many_runs_are_purged_one_transaction_each_and_a_broken_off_list_goes_on() {
    let runs = wanted("KNARR_TEST_PURGED_RUNS", 300);
    let held = Held::new("SELECT 1").await;
    let Held { world, store, mut beside, _database } = held;
    beside.execute(AT_DELETE).await.expect("the table is made");
    beside.execute(LET_GO).await.expect("nothing is held");
    let ids: Vec<InstanceId> = (0..runs).map(|_| InstanceId(world.id())).collect();
    for some in ids.chunks(500) {
        let born = some.iter().map(|id| world.step(*id, 1)).collect();
        world.commit(born).await;
    }
    let fill = "INSERT INTO public.finding SELECT id, 1, 'x' FROM knarr.instance";
    beside.execute(fill).await.expect("filled");
    let (half, world) = (ids.len() / 2, Arc::new(world));
    let clock = world.stores.clock.clone();
    let began = clock.monotonic();
    for id in &ids[..half] {
        purge(&store, &world, *id).await.expect("carried out");
    }
    // Whoever broke off begins again at the front: what is done is told, and left alone.
    let (mut left, mut tenths) = (0, Vec::new());
    for (n, id) in ids.iter().enumerate() {
        if n >= half && n % (ids.len() / 10).max(1) == 0 {
            tenths.push(clock.monotonic() - began);
        }
        let state = world.read(*id).await.expect("it is there").state;
        if state != PURGED {
            let done = purge(&store, &world, *id).await.expect("carried out");
            left += done.steps[0].rows;
        }
        // The fence is free between two of them.
        if left == 1 {
            world.born().await;
        }
    }
    let all = clock.monotonic() - began;
    println!("{runs} runs were purged in {all:?}; tenths from the sixth on began at {tenths:?}");
    assert_eq!(left, (ids.len() - half) as u64);
    let stones = "SELECT count(*) FROM knarr.instance WHERE state = 'Purged' AND version = 2";
    let count: i64 = sqlx::query_scalar(stones).fetch_one(&mut beside).await.expect("counted");
    assert_eq!(count, runs);
    let page = knarr_model::ports::records::PageRequest { limit: 10, cursor: None };
    let live = store.instances(&world.saga, Some("Waiting"), &page).await.expect("listed");
    assert!(!live.items.is_empty(), "runs that began meanwhile live");
    beside.close().await.expect("closed");
}
