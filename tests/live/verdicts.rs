//! A thousand URLs from a Python script, in every format, each with its verdict, once.

use crate::script::Submission;
use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, Wire};
use crate::world::World;

const URLS: i64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn s0_02_s0_07_s0_08_live_a_python_script_gets_a_thousand_verdicts() {
    let world = World::new().await;
    let serving = Serving::ready(&world, &[]).await;
    let submission = Submission::start(&world, &["--count", "1000", "--no-copies", "--seed", "1"]);
    let summary = submission.content(1_000).await;
    for form in ["envelope", "raw", "raw-headers", "cloud-event"] {
        assert_eq!(summary["formats"][form], 250, "{summary:#}");
    }
    for verdict in ["clean", "malicious", "suspicious"] {
        assert!(summary["verdicts"][verdict].as_u64() > Some(100), "{summary:#}");
    }
    let mut stored = Stored::open(&world).await;
    stored.all_ended_once(URLS).await;
    let counters = serving.counters().await;
    let count = |name: &str| counters.get(name).copied();
    assert_eq!(count("received"), Some(1_000), "{counters:?}");
    assert_eq!(count("published"), Some(1_000), "{counters:?}");
    for name in ["quarantined", "republished", "unroutable", "lost_leases", "parked"] {
        assert_eq!(count(name), Some(0), "{name}: {counters:?}");
    }
    // Both services were really asked: every scan costs at least one request to each.
    assert!(count("attempts") >= Some(2_000), "{counters:?}");
    for (service, path) in [("VirusTotal", "/api/v3/"), ("Safe Browsing", "/v5/")] {
        let asked = world.sandbox.requests();
        assert!(asked.iter().any(|request| request.path.starts_with(path)), "{service}");
    }
    let wire = Wire::open(&world).await;
    assert_eq!(wire.ready(ENDPOINT).await, 0, "nothing is left in the queue");
    wire.close().await;
    let shown = serving.list("/api/v1/sagas/url-scan/instances").await;
    assert_eq!(shown.len(), 1_000, "the admin API shows every instance");
    assert!(shown.iter().all(|row| row["state"] == "Final"));
    assert!(serving.stop().await.success());
}
