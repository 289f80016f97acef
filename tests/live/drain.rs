//! A stop under load: nothing is lost, nothing is done twice, and the next server goes on at once.

use std::time::Duration;

use crate::script::Submission;
use crate::serving::{STOP, Serving};
use crate::stored::Stored;
use crate::world::{World, until};

#[tokio::test(flavor = "multi_thread")]
async fn live_sigterm_drains() {
    let world = World::with_latency(Duration::from_millis(200)).await;
    let mut serving = Serving::ready(&world, &[]).await;
    let mut stored = Stored::open(&world).await;
    let submission = Submission::start(&world, &["--count", "300", "--seed", "4"]);
    for round in 1..=2 {
        until("work is under way", async || {
            let ended = "SELECT count(*) FROM knarr.instance WHERE state = 'Final'";
            let (in_flight, ended) = (stored.in_flight().await, stored.count(ended).await);
            if in_flight > 0 && ended >= 50 * round {
                Ok(())
            } else {
                Err(format!("{in_flight} in flight, {ended} ended"))
            }
        })
        .await;
        let began = tokio::time::Instant::now();
        let status = serving.stop().await;
        println!("stop {round}: {status}, {:?} (at most {STOP:?})", began.elapsed());
        assert!(status.success(), "a stop in order ends with 0, not {status}");
        let left = stored.count("SELECT count(*) FROM knarr.node").await;
        assert_eq!(left, 0, "who stops in order leaves no lease behind that others wait for");
        serving = Serving::ready(&world, &[]).await;
    }
    let summary = submission.content(300).await;
    assert_eq!(summary["copies"], 0, "a stop in order sends nothing twice: {summary:#}");
    stored.all_ended_once(300).await;
    assert!(serving.stop().await.success());
}
