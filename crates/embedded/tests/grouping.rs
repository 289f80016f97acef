//! Writes that share a transaction stay apart: each is kept or undone alone, and halts go first.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use knarr_model::Context;
use knarr_model::commit::{Commit, CommitOutcome};
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::ports::store::Load;
use knarr_model::ports::transport::Published;
use knarr_model::ports::{Publisher as _, Records as _, Store as _, Transport as _};
use knarr_model::work::Timer;
use knarr_testkit::Steering as _;

use support::{ENDPOINT, births, endpoint, id, now, open, published};

/// One row twice breaks the primary key: the store refuses the data.
fn spoil(mut commit: Commit) -> Commit {
    let slice = &mut commit.slices[0];
    let timer = Timer {
        id: RowId(id()),
        endpoint: Name::from(ENDPOINT),
        saga: Name::from("order"),
        instance: slice.key.expect("it has one"),
        run: 1,
        name: "twice".to_owned(),
        due_at: now(),
        attempt: 0,
        claims: 0,
        context: Context::default(),
    };
    slice.timers = vec![timer.clone(), timer];
    commit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_commit_takes_no_neighbour_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, transport) = open(&folder.path().join("knarr.db")).await;
    store.endpoint(&Name::from(ENDPOINT)).await.expect("the endpoint is made");
    transport.declare(&endpoint("shop", &["A:B"])).await.expect("declared");
    let node = NodeId(id());
    let ids: Vec<_> = (0..60).map(|_| InstanceId(id())).collect();
    let bad = |n: usize| n % 4 == 3;
    let commits = ids.iter().enumerate().map(|(n, instance)| {
        let commit = births(node, &[*instance]);
        store.commit(if bad(n) { spoil(commit) } else { commit })
    });
    let publishes = (0..60).map(|n| {
        let (transport, message) = (transport.clone(), published("A:B", n));
        async move { transport.publish(&[message]).await }
    });
    let (answers, sent) = tokio::join!(join_all(commits), join_all(publishes));
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(CommitOutcome::Committed { .. }) => assert!(!bad(n), "{n} was refused"),
            Err(error) => assert!(bad(n) && error.is_data(), "{n}: {error}"),
            Ok(other) => panic!("{n}: {other:?}"),
        }
    }
    assert!(sent.concat().iter().all(|answer| *answer == Published::Confirmed));
    assert_eq!(transport.depth("shop").await.expect("a depth").ready, 60);
    let load = Load {
        endpoint: Name::from(ENDPOINT),
        saga: Name::from("order"),
        instances: ids.clone(),
        keys: Vec::new(),
        messages: Vec::new(),
    };
    let loaded = store.load(load).await.expect("it is read");
    let kept: BTreeSet<_> =
        ids.iter().enumerate().filter(|(n, _)| !bad(*n)).map(|(_, id)| *id).collect();
    assert_eq!(loaded.instances.into_keys().collect::<BTreeSet<_>>(), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_halt_among_waiting_commits_nothing_more_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _transport) = open(&folder.path().join("knarr.db")).await;
    let name = Name::from(ENDPOINT);
    store.endpoint(&name).await.expect("the endpoint is made");
    let node = NodeId(id());
    let mut commits = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (store, commit) = (store.clone(), births(node, &[InstanceId(id())]));
        commits.spawn(async move { store.commit(commit).await.expect("it is answered") });
    }
    // One is through; most of the others wait in line.
    let first = commits.join_next().await.expect("one ends").expect("it does not panic");
    assert!(matches!(first, CommitOutcome::Committed { .. }));
    let halting = tokio::time::timeout(Duration::from_secs(10), store.halt(&name)).await;
    let row = halting.expect("in time").expect("halted");
    assert_eq!(row.epoch, 2);
    let then = store.counts().await.expect("counted")[0].count;
    let mut committed = 1;
    while let Some(end) = commits.join_next().await {
        match end.expect("it does not panic") {
            CommitOutcome::Committed { .. } => committed += 1,
            CommitOutcome::Fenced => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.counts().await.expect("counted")[0].count, then);
    assert_eq!(committed, then, "what was answered is what is there");
    assert!(then < 200, "the halt went before commits that waited");
}
