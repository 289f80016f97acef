//! Two servers on one queue and one database share the work and get in nobody's way.

use crate::script::Submission;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn live_two_replicas_share_a_queue() {
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
