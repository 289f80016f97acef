//! Connections and consumers that come and go leave nothing behind, here or at the broker.

use std::process::Stdio;
use std::time::Duration;

use knarr_model::ports::{Publisher as _, Transport as _};
use knarr_model::topology::QueueKind;
use knarr_rabbitmq::Settings;
use knarr_testkit::services::rabbitmq::Private;

use crate::parts::{confirmed, endpoint, healthy, open, pause, ping, taken};

const URL: &str = "KNARR_TEST_CHURN_URL";
/// How often in all; the row's own measure is 5000.
const ROUNDS: &str = "KNARR_TEST_CHURN";

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    threads: usize,
    tasks: usize,
    kilobytes: usize,
}

fn held() -> Held {
    let entries = |path: &str| std::fs::read_dir(path).expect("Linux tells").count();
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let digits: String = resident.chars().filter(char::is_ascii_digit).collect();
    Held {
        files: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        kilobytes: digits.parse().expect("a number"),
    }
}

/// One connection pair for every ten consumers.
async fn churn(url: &str, rounds: usize) {
    for _ in 0..rounds / 10 {
        let transport = open(Settings::new(url));
        for n in 0..10 {
            let endpoint = endpoint("churn", QueueKind::Classic);
            let mut consumer = transport.consume(&endpoint).await.expect("a consumer");
            if n == 0 {
                assert_eq!(transport.publish(&[ping(n)]).await, confirmed(1));
                taken(&mut *consumer, 1).await;
            }
            // Both ways out.
            if n % 2 == 0 { consumer.stop().await } else { drop(consumer) }
        }
        transport.close().await;
    }
}

/// A process of its own, since tests beside it would be counted too. By hand it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churns() {
    let Ok(url) = std::env::var(URL) else { return };
    let given = std::env::var(ROUNDS).ok().and_then(|text| text.parse().ok());
    let rounds: usize = given.unwrap_or(500);
    churn(&url, 100).await;
    let before = held();
    churn(&url, rounds).await;
    let mut after = held();
    for _ in 0..100 {
        if after.tasks <= before.tasks && after.threads <= before.threads {
            break;
        }
        // What has ended may take a moment to be gone.
        pause(Duration::from_millis(100)).await;
        after = held();
    }
    let told = format!("{before:?}, after {rounds} rounds {after:?}");
    assert!(after.files <= before.files, "files: {told}");
    assert!(after.threads <= before.threads, "threads: {told}");
    assert!(after.tasks <= before.tasks, "tasks: {told}");
    assert!(after.kilobytes <= before.kilobytes + (16 << 10), "memory: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_037_connections_and_consumers_that_come_and_go_leave_nothing_behind() {
    let broker = Private::launch().await;
    let keeps = open(Settings::new(broker.url()));
    healthy(&keeps).await;
    let count = "{length(rabbit_networking:connections()), length(rabbit_channel:list())}";
    let before = broker.eval(count).await.expect("a count");
    let mut child = tokio::process::Command::new(std::env::current_exe().expect("our own name"));
    child.args(["--exact", "live::churn::churns", "--nocapture"]);
    child.env(URL, broker.url()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = child.kill_on_drop(true).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(output.status.success() && ran, "{said}");
    let mut after = String::new();
    for _ in 0..100 {
        after = broker.eval(count).await.expect("a count");
        if after == before {
            break;
        }
        pause(Duration::from_millis(100)).await;
    }
    assert_eq!(after, before, "connections and channels at the broker");
    assert_eq!(keeps.health(), Ok(()));
}
