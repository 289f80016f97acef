//! What is cancelled or stopped lets go of everything: as the broker, the database and the service see it.

use std::collections::BTreeMap;
use std::time::Duration;

use knarr_testkit::services::rabbitmq::Private;
use sqlx::{Connection as _, PgConnection};

use crate::feed::Feed;
use crate::lives::{short, stops_in_time};
use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::ENDPOINT;
use crate::world::{World, until};

/// Both services are asked at once.
const CALLS: usize = 2;
const SCANS: usize = 4;
/// Deliveries that cannot be decided, because somebody has locked the table.
const HELD: usize = 20;

/// What the broker has of a queue: ready, unacked, and whether somebody consumes. How many is up to
/// the transport: while its prefetch changes the old consumer lives beside the new one.
async fn seen(broker: &Private, queue: &str) -> Result<(usize, usize, bool), String> {
    let columns = ["name", "messages_ready", "messages_unacknowledged", "consumers"];
    let said =
        broker.ctl(&[&["-q", "--no-table-headers", "list_queues"], &columns[..]].concat()).await?;
    let queues: BTreeMap<&str, Vec<usize>> = said
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, rest)| (name, rest.split('\t').filter_map(|it| it.parse().ok()).collect()))
        .collect();
    let numbers = queues.get(queue).ok_or_else(|| said.clone())?;
    match numbers[..] {
        [ready, unacked, consumers] => Ok((ready, unacked, consumers > 0)),
        _ => Err(said),
    }
}

async fn until_seen(broker: &Private, what: &str, wanted: (usize, usize, bool)) {
    until(what, async || match seen(broker, ENDPOINT).await? {
        now if now == wanted => Ok(()),
        now => Err(format!("ready, unacked, consumed: {now:?}, not {wanted:?}")),
    })
    .await;
}

/// So many requests are being answered, and at least so many were given up: a call that has no answer
/// by its deadline is given up and made again.
async fn until_open(world: &World, what: &str, open: usize, gone: usize) {
    until(what, async || match (world.sandbox.open(), world.sandbox.gone()) {
        now if now.0 == open && now.1 >= gone => Ok(()),
        now => Err(format!("open and given up: {now:?}")),
    })
    .await;
    println!("{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_16_live_who_is_cancelled_or_stopped_holds_no_socket_no_prefetch_and_no_connection() {
    let broker = Private::launch().await;
    // The services never answer.
    let world = World::beside_with_latency(&broker, Duration::from_secs(600)).await;
    let serving = Serving::ready(&world, &short(&[("VIRUSTOTAL_QUOTA", "1000/min")])).await;
    let mut feed = Feed::of(&world, &["clean"]).await;
    feed.submit(SCANS).await;
    until_open(&world, "every call is being answered", CALLS * SCANS, 0).await;
    until_seen(&broker, "what is decided is acked, whatever its calls do", (0, 0, true)).await;

    let scan = feed.scans.first().expect("there are some").clone();
    serving.order(&format!("/api/v1/sagas/url-scan/instances/{scan}/cancel")).await;
    until_open(&world, "one scan's calls are given up", CALLS * (SCANS - 1), CALLS).await;
    let mut stored = Stored::open(&world).await;
    let calls = "SELECT count(*) FROM knarr.activity";
    assert_eq!(stored.count(calls).await, (CALLS * (SCANS - 1)) as i64, "its calls are withdrawn");

    serving.order("/api/v1/endpoints/url-scan/halt").await;
    until_seen(&broker, "a halted endpoint has no consumer", (0, 0, false)).await;
    until_open(&world, "all are given up", 0, CALLS * SCANS).await;
    serving.order("/api/v1/endpoints/url-scan/resume").await;
    until_open(&world, "they are asked again", CALLS * (SCANS - 1), CALLS * SCANS).await;

    // Nothing can be decided: it stays in hand, unacked.
    let mut lock = PgConnection::connect(&world.store).await.expect("the database is there");
    let statement = "BEGIN; LOCK TABLE knarr.instance IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(statement).execute(&mut lock).await.expect("locked");
    feed.submit(HELD).await;
    until_seen(&broker, "they are in hand", (0, HELD, true)).await;
    stops_in_time(serving).await;
    until_seen(&broker, "they lie in the queue again", (HELD, 0, false)).await;
    until_open(&world, "no call outlives its process", 0, CALLS * (2 * SCANS - 1)).await;
    until("the broker has no connection but ours", async || {
        let said = broker.ctl(&["-q", "--no-table-headers", "list_connections", "pid"]).await?;
        match said.lines().count() {
            1 => Ok(()),
            some => Err(format!("{some}")),
        }
    })
    .await;
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.expect("unlocked");
    lock.close().await.expect("closed");
    until("the database has no connection but ours", async || {
        let others = "SELECT count(*) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        match stored.count(others).await {
            0 => Ok(()),
            some => Err(format!("{some}")),
        }
    })
    .await;
    let held = "SELECT count(*) FROM knarr.activity WHERE node IS NOT NULL";
    assert_eq!(stored.count(held).await, 0, "no call is claimed by the process that left");
}
