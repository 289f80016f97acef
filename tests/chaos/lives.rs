//! How servers live and die here: with short leases, at a step, or when they are asked to.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use knarr_model::failpoint::Step;
use tokio::time::Instant;

use crate::feed::Feed;
use crate::serving::Serving;
use crate::world::{PATIENCE, World};

/// Who is asked to stop is killed after so long, by Docker as by most others.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// The dead are soon known to be dead. They die of what the test does to them, and not of what they
/// have in hand: that nobody is convicted for kills is another test's concern.
pub(crate) const SHORT: [(&str, &str); 5] = [
    ("KNARR_LEASE", "3s"),
    ("KNARR_CRASH_WATCH", "5s"),
    ("KNARR_CRASH_SPACING", "100ms,200ms"),
    ("KNARR_CRASH_BUDGET", "1000"),
    ("VIRUSTOTAL_POLL_INTERVAL", "500ms"),
];

/// What an environment variable says, or `usual`.
pub(crate) fn given<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The short settings and some more.
pub(crate) fn short<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    SHORT.iter().chain(more).copied().collect()
}

/// A server that aborts when it passes `step` for the `kth` time, having been fed until it did.
pub(crate) async fn dies_at(world: &World, feed: &mut Feed, step: Step, kth: u32) {
    let at = format!("{}:{kth}", step.name());
    let mut serving = Serving::start(world, &short(&[("KNARR_TEST_FAILPOINT", &at)]));
    let deadline = Instant::now() + PATIENCE;
    loop {
        feed.submit(6).await;
        // Some steps are only passed when it is quiet for a moment.
        for _ in 0..16 {
            if let Some(status) = serving.program.ended() {
                assert_eq!(status.signal(), Some(6), "{at}: it ended with {status}, no abort");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            Instant::now() < deadline,
            "nothing came by {at} within {PATIENCE:?} (a release build has no failpoints)"
        );
    }
}

/// Asks a server to stop, as an orchestrator of containers does; it must not have to be killed.
pub(crate) async fn stops_in_time(mut serving: Serving) -> ExitStatus {
    serving.program.signal("TERM").await;
    let status = serving.program.end_within(GRACE).await;
    assert!(status.success(), "a stop in order ends with 0, not {status}");
    status
}
