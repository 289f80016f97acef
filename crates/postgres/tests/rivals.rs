//! Two nodes in each other's way: opposite orders, late commits, hints that nobody hears.

#[path = "support/pause.rs"]
mod pause;
mod support;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::{Commit, CommitOutcome, Key, KeyWrite, Slice};
use knarr_model::ids::{InstanceId, MessageId};
use knarr_model::ports::Store as _;
use knarr_model::statement::{Dialects, Statement};
use knarr_model::work::ParkedReason;
use knarr_postgres::Store;
use knarr_testkit::conformance::store::World;
use knarr_testkit::services::postgres;
use serde_json::json;
use sqlx::{Executor, PgConnection};

use pause::pause;
use support::{connect, settings};
use world::{count, until, world};

/// Numbers that look random and come again: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % most as u64).expect("it is below a usize")
    }

    fn shuffle<T>(&mut self, rows: &mut [T]) {
        for at in (1..rows.len()).rev() {
            rows.swap(at, self.below(at + 1));
        }
    }
}

/// `KNARR_TEST_DEADLOCKS` says how many rounds; 20 000 take some ten minutes.
fn rounds() -> usize {
    std::env::var("KNARR_TEST_DEADLOCKS").ok().and_then(|text| text.parse().ok()).unwrap_or(150)
}

/// Four lanes over two nodes commit batches of the same instances, each in an order of its own, with
/// everything that a commit writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_045_batches_in_any_order_never_deadlock() {
    const INSTANCES: usize = 12;
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    let world = Arc::new(world);
    let mut ids = Vec::new();
    for _ in 0..INSTANCES {
        ids.push(world.born().await);
    }
    let rounds = rounds();
    let lanes: Vec<_> = (0..4)
        .map(|lane| {
            let (world, ids) = (world.clone(), ids.clone());
            tokio::spawn(async move {
                let mut numbers = Numbers(45 + lane);
                let mut won = 0;
                for _ in 0..rounds {
                    let mut slices = slices(&world, &ids).await;
                    numbers.shuffle(&mut slices);
                    let handle = if lane % 2 == 0 { world.store() } else { world.second() };
                    let outcome = world.commit_as(handle, world.node, slices).await;
                    let CommitOutcome::Committed { lost, .. } = outcome else {
                        panic!("{outcome:?}")
                    };
                    won += INSTANCES - lost.len();
                }
                won
            })
        })
        .collect();
    let mut won = 0;
    for lane in lanes {
        won += lane.await.expect("no lane is refused");
    }
    let versions: i64 = {
        let loaded = world.load(&ids, &[], &[]).await;
        loaded.instances.values().map(|instance| instance.version - 1).sum()
    };
    assert_eq!(versions, won as i64, "each step that was kept is there, once");
    println!("{won} steps were kept of {}", 4 * rounds * INSTANCES);
    // Sessions tell what they counted when they end.
    store.close().await;
    drop(Arc::into_inner(world).expect("the lanes have ended"));
    drop(store);
    let mut beside = connect(&database.url()).await;
    const OURS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'knarr'
        AND datname = current_database() AND query NOT LIKE 'LISTEN%'";
    until(&mut beside, OURS, 0).await;
    assert_eq!(deadlocks(&mut beside).await, 0);
}

async fn deadlocks(connection: &mut PgConnection) -> i64 {
    count(connection, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        .await
}

/// The next step of each instance, with a key, a timer, a call and a parked message.
async fn slices(world: &World, ids: &[InstanceId]) -> Vec<Slice> {
    let loaded = world.load(ids, &[], &[]).await;
    let slice = |id: &InstanceId| {
        let version = loaded.instances[id].version + 1;
        let by = MessageId(world.id());
        // Everybody's own, so that only the order of locks is in question.
        let own = Key { name: "number".to_owned(), value: world.id().to_string() };
        Slice {
            keys: vec![KeyWrite { key: own, generation: 1, free: false, by, by_start: false }],
            timers: vec![world.timer(*id, 3_600_000)],
            tasks: vec![world.call(*id, "Look", 3_600_000)],
            parked: vec![world.parked(Some(*id), version, ParkedReason::Deferred, None)],
            outgoing: vec![world.outgoing(*id, version)],
            ..world.step(*id, version)
        }
    };
    ids.iter().map(slice).collect()
}

fn statement(text: &str, parameters: Vec<serde_json::Value>) -> Statement {
    Statement { name: "write".to_owned(), text: Dialects::same(text), parameters }
}

/// Sagas write to tables of their own in whatever order they like: then a deadlock is real, and one
/// of the two is carried out again, which nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_045_a_deadlock_of_sagas_statements_is_tried_again_unseen() {
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    let mut beside = connect(&database.url()).await;
    beside
        .execute(
            "CREATE TABLE knarr.stock (id int PRIMARY KEY, n int); \
                  INSERT INTO knarr.stock VALUES (1, 0), (2, 0)",
        )
        .await
        .expect("the table is made");
    let take = "UPDATE stock SET n = n + 1 WHERE id = $1";
    let met = "SELECT pg_sleep(0.4)";
    let commit = async |order: [i32; 2]| -> Commit {
        let statements = vec![
            statement(take, vec![json!(order[0])]),
            statement(met, Vec::new()),
            statement(take, vec![json!(order[1])]),
        ];
        let step = world.step(InstanceId(world.id()), 1);
        world.commit_of(vec![Slice { statements, ..step }]).await
    };
    let (one, two) = (commit([1, 2]).await, commit([2, 1]).await);
    let (left, right) = (store.clone(), world.second().clone());
    let (one, two) = tokio::join!(
        tokio::spawn(async move { left.commit(one).await }),
        tokio::spawn(async move { right.commit(two).await })
    );
    for outcome in [one, two] {
        let outcome = outcome.expect("no panic").expect("carried out");
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
    assert_eq!(count(&mut beside, "SELECT sum(n) FROM knarr.stock").await, 4, "each took both");
    store.close().await;
    drop((world, store));
    for _ in 0..1_000 {
        if deadlocks(&mut beside).await > 0 {
            return;
        }
        pause(Duration::from_millis(20)).await;
    }
    panic!("there was no deadlock, so nothing is proved");
}

/// The same for a serialization failure, which a saga's trigger or a foreign server may bring.
#[tokio::test]
async fn row_045_a_serialization_failure_is_tried_again_unseen() {
    const FLAKY: &str = "
        CREATE SEQUENCE knarr.tries;
        CREATE FUNCTION knarr.flaky() RETURNS bigint LANGUAGE plpgsql AS $$
        DECLARE n bigint := nextval('knarr.tries');
        BEGIN
          IF n < 3 THEN RAISE EXCEPTION 'meanwhile' USING ERRCODE = '40001'; END IF;
          RETURN n;
        END $$";
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    let mut beside = connect(&database.url()).await;
    beside.execute(FLAKY).await.expect("made");
    let id = InstanceId(world.id());
    let statements = vec![statement("SELECT flaky()", Vec::new())];
    let commit = world.commit_of(vec![Slice { statements, ..world.step(id, 1) }]).await;
    let outcome = store.commit(commit).await.expect("carried out in the end");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    assert_eq!(count(&mut beside, "SELECT last_value FROM knarr.tries").await, 3);
    assert_eq!(world.version(id).await, 1);
}

/// Whoever writes a step of this event waits for the test within its COMMIT: everything is written,
/// numbers are drawn, nothing is visible.
const HOLD: &str = "
CREATE FUNCTION knarr.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared(4242); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON knarr.journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.event = 'held')
    EXECUTE FUNCTION knarr.hold();
SELECT pg_advisory_lock(4242)";

/// A step with a row of each kind that somebody claims later.
fn rows(world: &World, event: &str) -> Slice {
    let id = InstanceId(world.id());
    let mut step = world.step(id, 1);
    step.journal[0].event = event.to_owned();
    Slice {
        timers: vec![world.timer(id, -1_000)],
        tasks: vec![world.call(id, "Look", -1_000)],
        parked: vec![world.parked(Some(id), 1, ParkedReason::Retry, Some(-1_000))],
        outgoing: vec![world.outgoing(id, 1)],
        ..step
    }
}

/// Timers, calls, parked messages and chunks that a claim finds.
async fn claimed(world: &World) -> [usize; 4] {
    let (second, other) = (world.second(), world.other);
    let chunks = second.own_chunks(world.node, &[]).await.expect("read");
    [
        world.claim_timers(second, other).await.len(),
        world.claim_calls(second, other).await.len(),
        world.claim_parked(second, other).await.len(),
        chunks.iter().map(|chunk| chunk.messages.len()).sum(),
    ]
}

/// A commit that drew its numbers first and ends last: readers that go by numbers would step over
/// its rows for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_052_rows_of_a_commit_that_ends_late_are_found_like_all_others() {
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.lock_timeout = Duration::from_secs(60);
    settings.statement_timeout = Duration::from_secs(60);
    let (world, store) = world(settings).await;
    let mut beside = connect(&database.url()).await;
    beside.execute(HOLD).await.expect("held");
    let late = world.commit_of(vec![rows(&world, "held")]).await;
    let late = tokio::spawn({
        let store: Store = store.clone();
        async move { store.commit(late).await }
    });
    const HELD: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND objid = 4242 AND NOT granted";
    until(&mut beside, HELD, 1).await;
    for _ in 0..3 {
        world.commit(vec![rows(&world, "OrderPlaced")]).await;
    }
    assert_eq!(claimed(&world).await, [3, 3, 3, 3], "those that have ended");
    assert!(!late.is_finished());
    beside.execute("SELECT pg_advisory_unlock(4242)").await.expect("let go");
    let outcome = late.await.expect("no panic").expect("committed");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    assert_eq!(claimed(&world).await, [1, 1, 1, 4], "chunks are listed, not claimed");
    const ORDER: &str = "SELECT count(*) FROM knarr.outbox WHERE number < (
        SELECT min(number) FROM knarr.outbox WHERE number <> 1)";
    assert_eq!(count(&mut beside, ORDER).await, 1, "the late one has the smallest number");
}

/// Listeners are killed while rows are made that others wait for: whoever waits looks by itself
/// when its time is up, however often that happens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_050_who_waits_for_a_hint_that_is_lost_finds_the_work_at_its_next_look() {
    const KILL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";
    /// As the engine does at most.
    const LOOK: Duration = Duration::from_secs(1);
    let database = postgres::database().await;
    let (world, store) = world(settings(&database.url())).await;
    let mut beside = connect(&database.url()).await;
    let id = world.born().await;
    let mut killed = 0;
    for round in 0..6 {
        let commit = Slice { timers: vec![world.timer(id, -1_000)], ..world.aside(id) };
        let commit = world.commit_of(vec![commit]).await;
        let making = tokio::spawn({
            let store = store.clone();
            async move { store.commit(commit).await }
        });
        killed += count(&mut beside, KILL).await;
        making.await.expect("no panic").expect("committed");
        killed += count(&mut beside, KILL).await;
        // Its first look may come before the row is there; the second one does not.
        let mut found = 0;
        for _ in 0..2 {
            world.second().wait_for_work(LOOK).await;
            found += world.claim_timers(world.second(), world.other).await.len();
            if found > 0 {
                break;
            }
        }
        assert_eq!(found, 1, "round {round}");
    }
    assert!(killed >= 2, "no listener was killed");
    // They listen again, all by themselves.
    const LISTENING: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";
    until(&mut beside, LISTENING, 2).await;
}
