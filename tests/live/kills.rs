//! The orchestrator is killed five times under load; every workflow ends once all the same.

use std::time::Duration;

use crate::moments::Moments;
use crate::script::Submission;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{DEAD, ENDPOINT, Wire};
use crate::world::{World, until};

const WORKFLOWS: i64 = 500;
/// How long each server lives once its workflows have begun, in milliseconds, at least and at most.
/// Some die at once, some when they take over what the dead before them had claimed (a lease: 10 s).
const LIVES: [(u64, u64); 5] =
    [(0, 1_500), (0, 3_000), (9_500, 12_500), (0, 3_000), (9_500, 12_500)];
/// Long enough that workflows are under way when the killing begins, and at every kill.
const POLL: (&str, &str) = ("VIRUSTOTAL_POLL_INTERVAL", "5s");

#[tokio::test(flavor = "multi_thread")]
async fn s0_04_s0_15_s0_17_live_five_sigkills_and_every_workflow_ends_once() {
    let world = World::with_latency(Duration::from_millis(700)).await;
    let mut moments = Moments::new();
    let mut serving = Serving::ready(&world, &[POLL]).await;
    let mut stored = Stored::open(&world).await;
    let mix = "slow=8,unknown=4,clean=1,malicious=1,suspicious=1,boom=1";
    let submission = Submission::start(
        &world,
        &["--count", "500", "--mix", mix, "--seed", "2", "--timeout", "150", "--settle", "12"],
    );
    for (kill, life) in (1..).zip(LIVES) {
        // The first one comes in the midst of the intake, the others when all have begun.
        let begun = if kill == 1 { WORKFLOWS / 4 } else { WORKFLOWS };
        wait_for_begun(&mut stored, begun).await;
        tokio::time::sleep(moments.within(life)).await;
        let in_flight = stored.in_flight().await;
        println!("kill {kill}: {in_flight} workflows in flight");
        assert!(in_flight > WORKFLOWS / 20, "kill {kill} comes too late to interrupt much");
        serving.kill9().await;
        serving = Serving::start(&world, &[POLL]);
        if kill % 2 == 1 {
            serving.wait_until_ready().await;
        }
        // Every other one is killed at whatever it does by then, its start included.
    }
    serving.wait_until_ready().await;
    let summary = submission.content(WORKFLOWS as u64).await;
    println!("{} copies were on the wire, under the same ids", summary["copies"]);
    stored.all_ended_once(WORKFLOWS).await;
    assert_eq!(stored.count("SELECT count(*) FROM knarr.quarantine").await, 0);
    let wire = Wire::open(&world).await;
    for queue in [ENDPOINT, DEAD] {
        until("the queue is empty", async || match wire.ready(queue).await {
            0 => Ok(()),
            some => Err(format!("{some} in {queue}")),
        })
        .await;
    }
    wire.close().await;
    assert!(serving.stop().await.success());
}

async fn wait_for_begun(stored: &mut Stored, workflows: i64) {
    until("the workflows have begun", async || {
        match stored.count("SELECT count(*) FROM knarr.instance").await {
            begun if begun >= workflows => Ok(()),
            begun => Err(format!("{begun} of {workflows}")),
        }
    })
    .await;
}
