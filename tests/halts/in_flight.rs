//! Halts with 200 messages in hand of two nodes: what was drained and what went back sums up, and
//! nothing of the old epoch commits once the halt has.

use std::sync::atomic::Ordering;
use std::time::Duration;

use knarr_guard::Order;

use crate::gate;
use crate::nodes::{ENDPOINT, House, PREFETCH, until};
use crate::trigger::Seen;

/// Messages in hand at each halt.
const IN_HAND: usize = 2 * PREFETCH as usize;
/// Trials where `KNARR_TEST_HALTS` does not say how many.
const TRIALS: u64 = 50;

/// A number that looks random and comes again with its seed: SplitMix64.
fn scattered(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What the trials saw, all together.
#[derive(Debug, Default)]
struct Sums {
    drained: u64,
    returned: u64,
    /// Trials in which both happened.
    both: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn row_085_a_halt_with_200_in_hand_sums_up_and_nothing_of_the_old_epoch_commits_after_it() {
    let given = std::env::var("KNARR_TEST_HALTS").ok().and_then(|text| text.parse().ok());
    let trials: u64 = given.unwrap_or(TRIALS);
    let house = House::start().await;
    until("both nodes consume", async || {
        house.nodes.iter().all(|node| node.health().unready.is_empty())
    })
    .await;
    let mut seen = Seen::install(&house.url).await;
    let mut sums = Sums::default();
    for trial in 1..=trials {
        one(&house, &mut seen, trial, &mut sums).await;
    }
    println!("{trials} halts: {sums:?}");
    assert_eq!(sums.drained + sums.returned, trials * IN_HAND as u64);
    assert!(sums.both > 0, "the halts raced nothing: {sums:?}");
    let odd = "SELECT count(*) FROM (SELECT instance FROM knarr.journal
        WHERE outcome = 'applied' GROUP BY instance HAVING count(*) > 1) twice";
    assert_eq!(seen.count(odd).await, 0, "each was applied once");
    house.stop().await;
}

async fn one(house: &House, seen: &mut Seen, trial: u64, sums: &mut Sums) {
    let before = seen.lines().await;
    gate::set_open(false);
    let received = house.received();
    house.fill(IN_HAND).await;
    until("all are in hand", async || house.received() >= received + IN_HAND as u64).await;
    assert_eq!(house.received(), received + IN_HAND as u64, "trial {trial} is not quiet");

    house.clock.keeps.store(scattered(trial) % 30_000, Ordering::SeqCst);
    house.clock.asked.store(false, Ordering::SeqCst);
    let desk = house.desk.clone();
    let halting = tokio::spawn(async move {
        desk.halt(&Order::by("anna"), &ENDPOINT.into()).await.expect("it is halted")
    });
    until("the halt is asked for", async || house.clock.asked.load(Ordering::SeqCst)).await;
    gate::set_open(true);
    let answer = halting.await.expect("no panic");

    let nodes = answer.nodes.expect("a halt tells of the nodes");
    let reports: Vec<_> = nodes.iter().filter_map(|node| node.report).collect();
    assert_eq!((nodes.len(), reports.len()), (2, 2), "trial {trial}: {nodes:?}");
    let drained: u64 = reports.iter().map(|report| report.drained).sum();
    let returned: u64 = reports.iter().map(|report| report.returned).sum();
    let in_hand: u64 = reports.iter().map(knarr_model::ports::store::HaltReport::in_hand).sum();
    assert_eq!(in_hand, IN_HAND as u64, "trial {trial}: {reports:?}");
    assert_eq!(drained + returned, in_hand, "no call was under way");
    let at_halt = seen.at_halt(reports[0].epoch).await - before;
    assert_eq!(drained as i64, at_halt, "trial {trial}: what was drained is what was committed");
    // Nothing is held any more and no consumer is left, so nothing is under way either.
    assert_eq!(seen.lines().await - before, at_halt, "trial {trial}: committed after the halt");
    assert_eq!(house.depth().await.1, 0, "a consumer is left");
    sums.drained += drained;
    sums.returned += returned;
    sums.both += u64::from(drained > 0 && returned > 0);

    house.desk.resume(&Order::by("anna"), &ENDPOINT.into(), false).await.expect("it is open");
    let all = before + IN_HAND as i64;
    until("all are applied", async || seen.lines().await == all && house.depth().await.0 == 0)
        .await;
    quiet(house).await;
}

/// Copies of what was committed and could not be acked any more have come and gone.
async fn quiet(house: &House) {
    let mut last = (0, 0);
    let mut same = 0;
    while same < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = (house.received(), house.depth().await.0);
        same = if now == last && now.1 == 0 { same + 1 } else { 0 };
        last = now;
    }
}
