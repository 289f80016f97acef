//! Postgres restarts, dies, loses its sessions and breaks off their statements, under load.

use std::time::Duration;

use knarr_testkit::services::postgres::Private;
use tokio::time::sleep;

use crate::moments::Moments;
use crate::scans::Scans;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, wanted};

const POLL: (&str, &str) = ("VIRUSTOTAL_POLL_INTERVAL", "1s");

/// A server of ours with a world around it, and one that serves there.
async fn serving() -> (World, Private, Serving, Scans) {
    let server = Private::launch().await;
    let world = World::on_store(server.url()).await;
    let serving = Serving::ready(&world, &[POLL]).await;
    let scans = Scans::tapped(&world).await;
    (world, server, serving, scans)
}

/// `KNARR_TEST_RESTARTS` says how often; 20 in a long run.
#[tokio::test(flavor = "multi_thread")]
async fn row_038_live_the_database_restarts_under_load_in_every_way_and_nothing_is_lost() {
    let (world, mut server, mut serving, mut scans) = serving().await;
    let mut moments = Moments::new();
    for round in 0..wanted("KNARR_TEST_RESTARTS", 4) {
        scans.submit(25).await;
        sleep(moments.within((0, 1_500))).await;
        if round % 2 == 0 {
            server.stop().await;
        } else {
            server.stop_at_once().await;
        }
        sleep(moments.within((0, 800))).await;
        server.start().await;
        serving.wait_until_ready().await;
    }
    scans.submit(25).await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}

/// `KNARR_TEST_KILLS_OF_SESSIONS` says how many sessions die, one every 100 ms.
#[tokio::test(flavor = "multi_thread")]
async fn row_039_live_sessions_die_all_the_time_and_the_whole_server_in_the_end() {
    const KILL: &str = "SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity WHERE application_name = 'knarr'
        ORDER BY random() LIMIT 1) one";
    let (world, mut server, mut serving, mut scans) = serving().await;
    let mut stored = Stored::open(&world).await;
    let mut killed = 0;
    for round in 0..wanted("KNARR_TEST_KILLS_OF_SESSIONS", 80) {
        if round % 8 == 0 {
            scans.submit(8).await;
        }
        killed += stored.count(KILL).await;
        sleep(Duration::from_millis(100)).await;
    }
    println!("{killed} sessions were killed");
    assert!(killed > 40, "{killed}");
    scans.submit(20).await;
    server.kill9().await;
    server.start().await;
    serving.wait_until_ready().await;
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}

/// A statement that is broken off (57014, as by `statement_timeout`) is the server's affair: tried
/// again, and counted against no message.
#[tokio::test(flavor = "multi_thread")]
async fn row_049_live_statements_are_broken_off_and_no_message_pays_for_it() {
    const CANCEL: &str = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'knarr' AND state = 'active' AND random() < 0.4";
    // Long enough to be met.
    const SLOW: &str = "CREATE FUNCTION knarr.slow() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$";
    const SLOWLY: &str = "CREATE TRIGGER slow AFTER INSERT ON knarr.journal
        FOR EACH STATEMENT EXECUTE FUNCTION knarr.slow()";
    let (world, _server, serving, mut scans) = serving().await;
    let mut stored = Stored::open(&world).await;
    stored.execute(SLOW).await;
    stored.execute(SLOWLY).await;
    let mut cancelled = 0;
    for round in 0..wanted("KNARR_TEST_CANCELS", 200) {
        if round % 20 == 0 {
            scans.submit(8).await;
        }
        cancelled += stored.count(CANCEL).await;
        sleep(Duration::from_millis(30)).await;
    }
    println!("{cancelled} statements were broken off");
    assert!(cancelled > 20, "{cancelled}");
    scans.all_ended_well(&world, &serving).await;
    assert!(serving.stop().await.success());
}
