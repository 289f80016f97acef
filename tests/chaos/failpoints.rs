//! A process dies at every step of a message's way, alone and beside another one.

use knarr_model::failpoint::Step;

use crate::feed::Feed;
use crate::history;
use crate::lives::{SHORT, dies_at, given, short, stops_in_time};
use crate::moments::Moments;
use crate::serving::Serving;
use crate::world::{World, until};

/// A message comes by so often at most before the process dies, so that it dies in the midst of work.
const PASSES: (u64, u64) = (1, 6);

/// A world in which a server has declared what it needs.
async fn declared() -> (World, Feed) {
    let world = World::new().await;
    let feed = Feed::open(&world).await;
    let serving = Serving::ready(&world, &SHORT).await;
    stops_in_time(serving).await;
    (world, feed)
}

fn passes(moments: &mut Moments) -> u32 {
    u32::try_from(moments.within(PASSES).as_millis()).expect("a small number")
}

/// `KNARR_TEST_STEP` names the only step to try.
fn steps() -> Vec<Step> {
    let only: String = given("KNARR_TEST_STEP", String::new());
    Step::ALL.iter().copied().filter(|step| only.is_empty() || step.name() == only).collect()
}

/// Whoever is started next finds what the dead one left, whatever step it died at.
#[tokio::test(flavor = "multi_thread")]
async fn row_001_row_002_row_003_row_004_row_005_row_006_row_007_row_008_row_009_row_010_live_a_process_dies_at_every_step()
 {
    let (world, mut feed) = declared().await;
    let mut moments = Moments::new();
    for step in steps() {
        let kth = passes(&mut moments);
        dies_at(&world, &mut feed, step, kth).await;
        println!("{} {kth}: dead, {} scans so far", step.name(), feed.scans.len());
    }
    let serving = Serving::ready(&world, &SHORT).await;
    history::check(&world, &feed).await;
    stops_in_time(serving).await;
}

/// The other one takes over what the dead one left, without being told.
#[tokio::test(flavor = "multi_thread")]
async fn row_001_row_002_row_003_row_004_row_005_row_006_row_007_row_008_row_009_row_010_live_one_of_two_dies_at_every_step()
 {
    let (world, mut feed) = declared().await;
    let mut moments = Moments::new();
    let lives = Serving::ready(&world, &SHORT).await;
    for step in steps() {
        let kth = passes(&mut moments);
        let known = lives.counters().await["duplicates"];
        dies_at(&world, &mut feed, step, kth).await;
        println!("{} {kth}: dead, {} scans so far", step.name(), feed.scans.len());
        if step == Step::BeforeAck {
            // What was committed and not acked comes to the other one, who knows it.
            until("row 9: the copy is recognised", async || {
                let counters = lives.counters().await;
                if counters["duplicates"] > known { Ok(()) } else { Err(format!("{counters:?}")) }
            })
            .await;
        }
    }
    history::check(&world, &feed).await;
    stops_in_time(lives).await;
}

/// Dead twice in a row, at steps that a seed names. `KNARR_TEST_ABORTS` says how many such pairs,
/// `KNARR_TEST_SEED` which.
#[tokio::test(flavor = "multi_thread")]
async fn row_011_live_processes_die_twice_in_a_row_at_random_steps() {
    let pairs: u32 = given("KNARR_TEST_ABORTS", 6);
    let (world, mut feed) = declared().await;
    let mut moments = Moments::new();
    let all = u64::try_from(Step::ALL.len()).expect("a small number");
    for pair in 1..=pairs {
        for _ in 0..2 {
            let which = usize::try_from(moments.within((0, all)).as_millis()).expect("small");
            let (step, kth) = (Step::ALL[which], passes(&mut moments));
            dies_at(&world, &mut feed, step, kth).await;
            println!("pair {pair}, {} {kth}: dead", step.name());
        }
        if pair % 25 == 0 {
            // Not all of it may wait for the end of a long run.
            let serving = Serving::ready(&world, &short(&[])).await;
            until("the backlog is done", async || match feed.wire.ready("url-scan").await {
                0 => Ok(()),
                left => Err(format!("{left} wait")),
            })
            .await;
            stops_in_time(serving).await;
        }
    }
    let serving = Serving::ready(&world, &SHORT).await;
    history::check(&world, &feed).await;
    stops_in_time(serving).await;
}
