//! The orchestrator is killed five times under load; every workflow ends once all the same.

use std::time::Duration;

use crate::script::Submission;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, Wire};
use crate::world::{World, until};

const WORKFLOWS: i64 = 500;
const KILLS: u32 = 5;
/// Long enough that workflows are under way when the killing begins, and at every kill.
const POLL: (&str, &str) = ("VIRUSTOTAL_POLL_INTERVAL", "3s");

/// Moments that look random and come again with their seed: SplitMix64.
struct Moments(u64);

impl Moments {
    /// `KNARR_TEST_SEED` names another row of moments.
    fn new() -> Moments {
        let given = std::env::var("KNARR_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or(7);
        println!("the kills' seed is {seed}");
        Moments(seed)
    }

    fn below(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let millis = u64::try_from(most.as_millis()).expect("a short time");
        Duration::from_millis(mixed % millis)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_04_s0_15_s0_17_live_five_sigkills_and_every_workflow_ends_once() {
    let world = World::with_latency(Duration::from_millis(20)).await;
    let mut moments = Moments::new();
    let mut serving = Serving::ready(&world, &[POLL]).await;
    let mut stored = Stored::open(&world).await;
    let mix = "slow=6,unknown=3,clean=1,malicious=1,suspicious=1,boom=1";
    let submission = Submission::start(
        &world,
        &["--count", "500", "--mix", mix, "--seed", "2", "--timeout", "150", "--settle", "12"],
    );
    until("the workflows are under way", async || match stored.in_flight().await {
        enough if enough >= WORKFLOWS / 3 => Ok(()),
        few => Err(format!("{few} in flight")),
    })
    .await;
    for kill in 1..=KILLS {
        tokio::time::sleep(moments.below(Duration::from_secs(3))).await;
        let in_flight = stored.in_flight().await;
        println!("kill {kill}: {in_flight} workflows in flight");
        assert!(in_flight > 0, "kill {kill} comes too late to interrupt anything");
        serving.kill9().await;
        serving = Serving::start(&world, &[POLL]);
        if kill % 2 == 0 {
            // Every other one dies without having been ready for long, or at all.
            continue;
        }
        serving.wait_until_ready().await;
    }
    serving.wait_until_ready().await;
    let summary = submission.content(WORKFLOWS as u64).await;
    println!("{} copies were on the wire, under the same ids", summary["copies"]);
    stored.all_ended_once(WORKFLOWS).await;
    assert_eq!(stored.count("SELECT count(*) FROM knarr.quarantine").await, 0);
    let wire = Wire::open(&world).await;
    for queue in [ENDPOINT, "url-scan_dead"] {
        until("the queue is empty", async || match wire.ready(queue).await {
            0 => Ok(()),
            some => Err(format!("{some} in {queue}")),
        })
        .await;
    }
    wire.close().await;
    assert!(serving.stop().await.success());
}
