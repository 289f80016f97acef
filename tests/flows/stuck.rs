//! Behaviours that never come back: each costs its thread, and too many cost the process.

use std::time::Duration;

use knarr::prelude::*;
use knarr::uuid::Uuid;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Message)]
#[message(namespace = "Flows")]
struct Ponder {
    correlation_id: Uuid,
}

#[derive(Clone, Copy, States)]
enum Step {
    Pondering,
}

#[derive(Clone, Serialize, Deserialize)]
struct Thinker;

impl Machine for Thinker {
    type State = Step;

    fn define(m: &mut Table<Self>) {
        m.initially::<Ponder>().create(ponder).go_to(Step::Pondering);
        m.during_any().on::<Ponder>().finish();
    }
}

/// Longer than any deadline here; not for ever, so that the test's process can end.
fn ponder(_: &Ponder, _: &mut Effects<Thinker>) -> Thinker {
    std::thread::sleep(Duration::from_secs(20));
    Thinker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_with_too_many_lost_threads_asks_to_be_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = knarr::App::new("thinker")
        .saga::<Thinker>()
        .alone()
        .set("KNARR_DATA_DIR", folder.path().to_str().expect("text"))
        .set("KNARR_LISTEN", "127.0.0.1:0")
        .set("KNARR_DECIDE_DEADLINE", "50ms")
        .start()
        .await
        .expect("it starts");
    server.ready().await;
    for _ in 0..6 {
        let correlation_id = Uuid::new_v4();
        server.publish(&Ponder { correlation_id }).await.expect("published");
    }
    let why = tokio::time::timeout(Duration::from_secs(30), server.broken()).await;
    let why = why.expect("it notices");
    assert!(why.contains("did not come back"), "{why}");
    assert!(server.unready().iter().any(|reason| reason.contains("did not come back")));
    server.stop().await;
}
