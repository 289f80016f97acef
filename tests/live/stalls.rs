//! Postgres is slow, locked by others, or out of disk: the broker keeps what waits, and a halt gets through.

use std::time::Duration;

use knarr_testkit::services::Disk;
use knarr_testkit::services::postgres::Private;
use tokio::time::{Instant, sleep};

use crate::scans::Scans;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, until, wanted};

const HALT: &str = "/api/v1/endpoints/url-scan/halt";
const RESUME: &str = "/api/v1/endpoints/url-scan/resume";
const INSTANCES: &str = "SELECT count(*) FROM knarr.instance";
const STEPS: &str = "SELECT count(*) FROM knarr.journal";

/// What a process may hold of the broker's messages here.
const PREFETCH: i64 = 20;
/// Kibibytes by which a process may grow while messages wait.
const GROWTH: u64 = 64 * 1024;

/// As with a disk that takes half a second for every commit.
const SLOW: [&str; 2] = [
    "CREATE FUNCTION knarr.slow() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$",
    "CREATE TRIGGER slow AFTER INSERT ON knarr.journal
     FOR EACH STATEMENT EXECUTE FUNCTION knarr.slow()",
];

#[tokio::test(flavor = "multi_thread")]
async fn row_042_live_a_slow_database_leaves_the_backlog_in_the_broker_and_lets_a_halt_through() {
    let world = World::new().await;
    // Few at a time, so that there is a backlog for as long as this looks.
    let few = [("KNARR_LANES", "2"), ("KNARR_MAX_BATCH", "2"), ("KNARR_PREFETCH", "20")];
    let serving = Serving::ready(&world, &few).await;
    let mut scans = Scans::tapped(&world).await;
    let mut stored = Stored::open(&world).await;
    for statement in SLOW {
        stored.execute(statement).await;
    }
    let before = serving.memory();
    scans.submit(wanted("KNARR_TEST_BACKLOG", 150) as usize).await;
    until("intake goes on", async || match stored.count(INSTANCES).await {
        begun if begun >= 4 => Ok(()),
        begun => Err(format!("{begun} begun")),
    })
    .await;
    for _ in 0..10 {
        let untaken = scans.untaken().await;
        let begun = stored.count(INSTANCES).await;
        let held = scans.many() - untaken - begun;
        assert!(held <= PREFETCH, "{held} in hand: {untaken} untaken, {begun} begun");
        sleep(Duration::from_millis(200)).await;
    }
    let grown = serving.memory().saturating_sub(before);
    assert!(grown < GROWTH, "it grew by {grown} KiB");
    let began = Instant::now();
    serving.order(HALT).await;
    let (steps, untaken) = (stored.count(STEPS).await, scans.untaken().await);
    println!("halted in {:?}, {untaken} messages wait, {grown} KiB more", began.elapsed());
    assert!(untaken > 0, "it was not answered before all was done");
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(stored.count(STEPS).await, steps, "nothing is decided after a halt");
    stored.execute("DROP TRIGGER slow ON knarr.journal").await;
    serving.order(RESUME).await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}

/// `KNARR_TEST_LOCKED` says for how many seconds; 60 in a long run.
#[tokio::test(flavor = "multi_thread")]
async fn row_046_live_tables_that_somebody_else_locks_are_waited_for() {
    let world = World::new().await;
    let mut serving = Serving::ready(&world, &[("VIRUSTOTAL_POLL_INTERVAL", "1s")]).await;
    let mut scans = Scans::tapped(&world).await;
    scans.submit(20).await;
    let mut stored = Stored::open(&world).await;
    until("work is under way", async || match stored.in_flight().await {
        0 => Err("nothing yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    stored.execute("BEGIN").await;
    stored
        .execute(
            "LOCK TABLE knarr.instance, knarr.journal, knarr.outbox, knarr.timer, \
             knarr.activity, knarr.parked, knarr.node, knarr.endpoint IN ACCESS EXCLUSIVE MODE",
        )
        .await;
    let steps = stored.count(STEPS).await;
    scans.submit(20).await;
    sleep(Duration::from_secs(wanted("KNARR_TEST_LOCKED", 8))).await;
    assert_eq!(stored.count(STEPS).await, steps, "nothing was decided");
    assert!(serving.log().contains("waiting for the store"), "it says that it waits");
    let (status, _) = serving.ask("/health/live").await.expect("it answers");
    assert_eq!(status, 200, "waiting is living");
    stored.execute("ROLLBACK").await;
    serving.wait_until_ready().await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}

/// First the disk of the tables is full, which the server survives, then that of its log, which it
/// does not. What was not committed was not acknowledged, so it is all there when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn row_048_live_a_full_disk_acknowledges_nothing_and_everything_goes_on_when_there_is_room() {
    let (mut server, disks, url) = Private::launch_on_small_disks().await;
    let world = World::on_store(url).await;
    let mut serving = Serving::ready(&world, &[("VIRUSTOTAL_POLL_INTERVAL", "1s")]).await;
    let mut scans = Scans::tapped(&world).await;
    scans.submit(20).await;
    disks.fill(Disk::Data);
    // More than fits into what the tables have left.
    scans.submit(400).await;
    let told =
        |code: &str| serving.log().lines().any(|it| it.contains("store") && it.contains(code));
    until("the full disk is told", async || match told("53100") {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    })
    .await;
    disks.free(Disk::Data);
    let mut stored = Stored::open(&world).await;
    until("it goes on", async || match stored.count(INSTANCES).await {
        begun if begun == scans.many() => Ok(()),
        begun => Err(format!("{begun} of {}", scans.many())),
    })
    .await;
    drop(stored);
    disks.fill(Disk::Log);
    scans.submit(400).await;
    // It ends itself, and cannot recover as long as there is no room.
    until("the server gives up", async || match server.is_up() {
        false => Ok(()),
        true => Err("it is still up".to_owned()),
    })
    .await;
    disks.free(Disk::Log);
    server.stop_at_once().await;
    server.start().await;
    serving.wait_until_ready().await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}
