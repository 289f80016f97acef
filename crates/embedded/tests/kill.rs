//! A process that is killed at any moment loses nothing that it had been told was safe.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use knarr_model::ids::{InstanceId, MessageId, Name, NodeId};
use knarr_model::ports::store::Load;
use knarr_model::ports::transport::{Published, Settlement};
use knarr_model::ports::{Clock as _, Publisher as _, Store as _, Transport as _};
use knarr_testkit::clock::TokioClock;
use uuid::Uuid;

use support::{ENDPOINT, births, committed, endpoint, id, open, published};

const FILE: &str = "KNARR_TEST_KILL_FILE";
const EXCHANGE: &str = "Shop:Counted";
/// Instances in one commit, messages in one publish: whole or not at all.
const TOGETHER: usize = 5;
const KILLS: u64 = 6;

/// Not a test by itself: the process that is killed. It tells each thing only once it is safe.
#[test]
fn child() {
    let Ok(path) = std::env::var(FILE) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (store, transport) = open(Path::new(&path)).await;
        store.endpoint(&Name::from(ENDPOINT)).await.expect("the endpoint is made");
        transport.declare(&endpoint("counted", &[EXCHANGE])).await.expect("declared");
        let node = NodeId(id());
        let committing = async {
            loop {
                let ids: Vec<_> = (0..TOGETHER).map(|_| InstanceId(id())).collect();
                committed(&store, births(node, &ids)).await;
                tell("c", ids.iter().map(|id| id.0));
            }
        };
        let publishing = async {
            loop {
                let messages: Vec<_> =
                    (0..TOGETHER).map(|n| published(EXCHANGE, n as u64)).collect();
                let answers = transport.publish(&messages).await;
                assert!(answers.iter().all(|answer| *answer == Published::Confirmed));
                tell("p", messages.iter().map(|message| message.id.0));
            }
        };
        tokio::join!(committing, publishing);
    });
}

fn tell(what: &str, ids: impl Iterator<Item = Uuid>) {
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {}", ids.join(" ")).and_then(|()| out.flush()).expect("the parent reads");
}

/// Runs the child until it has told something for `life`, kills it, and returns what it told.
fn killed(path: &Path, life: Duration) -> (Vec<Uuid>, Vec<Uuid>) {
    let mut child = Command::new(std::env::current_exe().expect("this test's binary"))
        .args(["child", "--exact", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let out = BufReader::new(child.stdout.take().expect("its output"));
    let reading = std::thread::spawn(move || {
        let mut told = (Vec::new(), Vec::new());
        for line in out.lines().map_while(Result::ok) {
            let list = match line.split_once(' ') {
                Some(("c", ids)) => (&mut told.0, ids),
                Some(("p", ids)) => (&mut told.1, ids),
                _ => continue,
            };
            // The last line may be cut off; whole ids on it were still told after they were safe.
            list.0.extend(list.1.split(' ').filter_map(|id| Uuid::parse_str(id).ok()));
        }
        told
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { TokioClock::real().sleep(life).await });
    child.kill().expect("the child is killed");
    let status = child.wait().expect("the child ends");
    assert!(!status.success(), "the child ended by itself: {status}");
    reading.join().expect("its output is read")
}

#[test]
fn nothing_confirmed_is_lost_and_nothing_is_half_written_when_the_process_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("knarr.db");
    let (mut instances, mut messages) = (BTreeSet::new(), BTreeSet::new());
    for n in 0..KILLS {
        let (c, p) = killed(&path, Duration::from_millis(700 + n * 137));
        assert!(!c.is_empty() && !p.is_empty(), "the child got nothing done");
        instances.extend(c);
        messages.extend(p);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(check(&path, &instances, &messages));
}

async fn check(path: &Path, instances: &BTreeSet<Uuid>, messages: &BTreeSet<Uuid>) {
    let (store, transport) = open(path).await;
    let load = Load {
        endpoint: Name::from(ENDPOINT),
        saga: Name::from("order"),
        instances: instances.iter().copied().map(InstanceId).collect(),
        keys: Vec::new(),
        messages: instances.iter().copied().map(MessageId).collect(),
    };
    let loaded = store.load(load).await.expect("it can be read");
    assert_eq!(loaded.instances.len(), instances.len(), "committed instances");
    assert_eq!(loaded.journal.len(), instances.len(), "their journal rows");

    let node = NodeId(id());
    store.join(node, Duration::from_secs(60)).await.expect("it joins");
    let chunks = store.take_chunks(node, usize::MAX).await.expect("chunks are taken");
    assert!(chunks.iter().all(|chunk| chunk.messages.len() == TOGETHER), "half a commit");
    assert!(chunks.len() * TOGETHER >= instances.len(), "a commit without its chunk");

    let mut consumer = transport.consume(&endpoint("counted", &[])).await.expect("consumes");
    let depth = transport.depth("counted").await.expect("depth").ready;
    assert_eq!(depth % TOGETHER as u64, 0, "half a publish");
    let mut seen = BTreeSet::new();
    while (seen.len() as u64) < depth {
        let taken = consumer.next(1_000).await.expect("readable");
        seen.extend(taken.iter().map(|delivery| delivery.message_id.0));
        let acks: Vec<_> = taken.iter().map(|d| (d.receipt, Settlement::Ack)).collect();
        consumer.settle(&acks).await;
    }
    let lost: Vec<_> = messages.difference(&seen).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    store.close().await;
}
