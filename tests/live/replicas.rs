//! Two servers on one queue and one database share the work and get in nobody's way.

use std::time::Duration;

use crate::script::Submission;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn mt_287_live_two_replicas_share_a_queue() {
    let world = World::new().await;
    let one = Serving::start(&world, &[]);
    let other = Serving::start(&world, &[]);
    let mut both = [one, other];
    for serving in &mut both {
        serving.wait_until_ready().await;
    }
    let submission = Submission::start(&world, &["--count", "300", "--no-copies", "--seed", "3"]);
    submission.content(300).await;
    Stored::open(&world).await.all_ended_once(300).await;
    let mut published = 0;
    for serving in both {
        let counters = serving.counters().await;
        println!("{counters:?}");
        for name in ["received", "applied", "attempts", "published"] {
            assert!(counters[name] > 0, "it had no part in `{name}`: {counters:?}");
        }
        for name in ["republished", "lost_leases", "quarantined"] {
            assert_eq!(counters[name], 0, "{name}: {counters:?}");
        }
        published += counters["published"];
        assert!(serving.stop().await.success());
    }
    assert_eq!(published, 300, "each verdict was sent by one of them, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_04_live_a_replica_takes_over_from_one_that_was_killed() {
    let world = World::with_latency(Duration::from_millis(200)).await;
    let set = [("VIRUSTOTAL_POLL_INTERVAL", "2s")];
    let one = Serving::start(&world, &set);
    let other = Serving::start(&world, &set);
    let mut both = [one, other];
    for serving in &mut both {
        serving.wait_until_ready().await;
    }
    let mix = "slow=6,unknown=3,clean=1,malicious=1";
    let submission = Submission::start(&world, &["--count", "200", "--mix", mix, "--seed", "5"]);
    for serving in &both {
        until("both are at work", async || {
            let counters = serving.counters().await;
            if counters["attempts"] >= 60 { Ok(()) } else { Err(format!("{counters:?}")) }
        })
        .await;
    }
    let [dies, lives] = both;
    dies.kill9().await;
    submission.content(200).await;
    Stored::open(&world).await.all_ended_once(200).await;
    let counters = lives.counters().await;
    assert_eq!(counters["lost_leases"], 0, "{counters:?}");
    assert!(lives.stop().await.success());
}
