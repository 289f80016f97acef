//! A transaction that somebody leaves open: it is told, work goes on, and the tables recover.

#[path = "support/pause.rs"]
mod pause;
mod support;
#[path = "support/world.rs"]
mod world;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use knarr_model::commit::Slice;
use knarr_model::ids::InstanceId;
use knarr_model::work::RowKind;
use knarr_testkit::conformance::store::World;
use knarr_testkit::services::postgres;
use sqlx::{Connection as _, Executor, PgConnection};
use tracing_subscriber::fmt::MakeWriter;

use pause::pause;
use support::{connect, settings};
use world::{count, until, world};

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panicked")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

async fn until_told(log: &Log, what: &str) {
    for _ in 0..1_000 {
        if log.text().contains(what) {
            return;
        }
        pause(Duration::from_millis(10)).await;
    }
    panic!("`{what}` was never told:\n{}", log.text());
}

/// Timers that come, are claimed and go, in batches; how long each claim took.
async fn churn(world: &World, id: InstanceId, batches: usize) -> Vec<Duration> {
    let clock = world.stores.clock.clone();
    let mut took = Vec::new();
    for _ in 0..batches {
        let timers = (0..200).map(|_| world.timer(id, -1_000)).collect();
        world.commit(vec![Slice { timers, ..world.aside(id) }]).await;
        let began = clock.monotonic();
        let rows = world.claim_timers(world.store(), world.node).await;
        took.push(clock.monotonic() - began);
        assert_eq!(rows.len(), 200, "each is claimed once");
        let taken: Vec<_> = rows.into_iter().map(|row| (RowKind::Timer, row)).collect();
        world.commit(vec![world.taking(id, &taken)]).await;
    }
    took.sort();
    took
}

const DEAD: &str = "SELECT n_dead_tup FROM pg_stat_user_tables
    WHERE schemaname = 'knarr' AND relname = 'timer'";
const FLUSH: &str = "VACUUM knarr.timer";

/// `KNARR_TEST_CHURN` says how many batches of 200 timers; 4 500 are as many rows as half an hour of
/// 500 messages a second.
#[tokio::test]
async fn row_047_a_transaction_left_open_is_told_work_goes_on_and_the_tables_recover() {
    let given = std::env::var("KNARR_TEST_CHURN").ok().and_then(|text| text.parse().ok());
    let batches: usize = given.unwrap_or(25);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let database = postgres::database().await;
    let mut settings = settings(&database.url());
    settings.horizon_watch = Duration::from_millis(200);
    settings.old_transaction = Duration::from_secs(1);
    settings.dead_rows = 2_000;
    let (world, store) = world(settings).await;
    let mut beside = connect(&database.url()).await;
    beside.execute("ALTER TABLE knarr.timer SET (autovacuum_enabled = off)").await.expect("set");
    let id = world.born().await;
    let before = churn(&world, id, batches).await;
    beside.execute(FLUSH).await.expect("vacuumed");
    assert!(!log.text().contains("left open"), "{}", log.text());

    let mut reading: PgConnection = connect(&database.url()).await;
    let open = "SET application_name = 'a report'; BEGIN ISOLATION LEVEL REPEATABLE READ; \
                SELECT count(*) FROM knarr.timer";
    reading.execute(open).await.expect("somebody reads, and goes to lunch");
    until_told(&log, "a transaction is left open by process").await;
    assert!(log.text().contains("(a report, idle in transaction)"), "{}", log.text());
    let during = churn(&world, id, batches).await;
    beside.execute(FLUSH).await.expect("vacuumed");
    let dead = batches as i64 * 200;
    until(&mut beside, DEAD, dead).await;
    until_told(&log, "dead rows pile up in table timer").await;
    assert_eq!(count(&mut beside, "SELECT count(*) FROM knarr.timer").await, 0, "all went once");

    reading.close().await.expect("closed");
    // What sessions counted before may still come in after the first one.
    while count(&mut beside, DEAD).await > 0 {
        beside.execute(FLUSH).await.expect("vacuumed");
        pause(Duration::from_millis(200)).await;
    }
    let after = churn(&world, id, batches).await;
    let p99 = |took: &[Duration]| took[took.len() * 99 / 100];
    println!(
        "p99 of a claim: {:?} before, {:?} beside a transaction left open, {:?} afterwards",
        p99(&before),
        p99(&during),
        p99(&after)
    );
    store.close().await;
}
