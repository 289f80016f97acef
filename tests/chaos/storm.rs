//! Two servers, the broker and the database are killed at random, with all scans in flight.

use std::time::Duration;

use knarr_testkit::services::{postgres, rabbitmq};
use tokio::time::Instant;

use crate::feed::Feed;
use crate::history;
use crate::lives::{given, short, stops_in_time};
use crate::moments::Moments;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::World;

/// Who dies; each of them before any of them twice.
const VICTIMS: [&str; 4] = ["a server", "the other server", "the broker", "the database"];
/// Between two kills, in milliseconds.
const PAUSE: (u64, u64) = (500, 3_500);

/// `KNARR_TEST_CHAOS` says how many scans, of which as many kills follow, `KNARR_TEST_SEED` which.
#[tokio::test(flavor = "multi_thread")]
async fn s0_04_s0_15_live_everything_is_killed_at_random_and_each_scan_ends_once() {
    let scans: usize = given("KNARR_TEST_CHAOS", 60);
    let kills = (scans / 20).clamp(6, 40);
    // Half of the scans ask once more and end in the midst of the kills, the others three times and
    // end with them.
    let poll = format!("{}s", kills * 3 / 2);
    let set = short(&[("VIRUSTOTAL_POLL_INTERVAL", &poll)]);
    let (world, broker, server) = World::mortal(Duration::from_millis(200)).await;
    let mut servers = [Serving::ready(&world, &set).await, Serving::ready(&world, &set).await];
    let mut feed = Feed::of(&world, &["slow", "unknown"]).await;
    broker.remember_queues().await;
    let began = Instant::now();
    feed.submit(scans).await;
    let mut doors = Doors { broker, server };
    let mut moments = Moments::new();
    let mut order: Vec<usize> = Vec::new();
    for kill in 1..=kills {
        tokio::time::sleep(moments.within(PAUSE)).await;
        if order.is_empty() {
            order = shuffled(&mut moments);
        }
        let victim = order.pop().expect("it was just filled");
        let in_flight = Stored::open(&world).await.in_flight().await;
        println!(
            "{:>6.1?} kill {kill}: {}, {in_flight} in flight",
            began.elapsed(),
            VICTIMS[victim]
        );
        match victim {
            0 | 1 => {
                let next = Serving::start(&world, &set);
                std::mem::replace(&mut servers[victim], next).kill9().await;
            }
            2 => doors.kill_broker().await,
            _ => doors.kill_database().await,
        }
    }
    for server in &mut servers {
        server.wait_until_ready().await;
    }
    feed.reopen(&world).await;
    let summary = history::check(&world, &feed).await;
    println!("{kills} kills in {:.1?}: {summary}", began.elapsed());
    for server in servers {
        stops_in_time(server).await;
    }
}

/// Broker and database.
struct Doors {
    broker: rabbitmq::Private,
    server: postgres::Private,
}

impl Doors {
    async fn kill_broker(&mut self) {
        self.broker.kill9().await;
        self.broker.start().await;
    }

    async fn kill_database(&mut self) {
        self.server.kill9().await;
        self.server.start().await;
    }
}

fn shuffled(moments: &mut Moments) -> Vec<usize> {
    let mut left: Vec<usize> = (0..VICTIMS.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let most = u64::try_from(left.len()).expect("a small number");
        let which = usize::try_from(moments.within((0, most)).as_millis()).expect("small");
        order.push(left.remove(which));
    }
    order
}
