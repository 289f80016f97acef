//! Messages that are far too large, among many that are small.

use serde_json::json;
use uuid::Uuid;

use crate::serving::Serving;
use crate::stored::Stored;
use crate::wire::{ENDPOINT, Raw, SUBMIT, Wire};
use crate::world::{World, until};

const SMALL: usize = 10_000;
const LARGE: usize = 30;
/// Of a body that is too large: more than twice what an endpoint takes.
const BYTES: usize = 20_000_000;
/// What one process may have had in memory at most.
const MOST: u64 = 600_000_000;

/// A scan of an address that policy refuses: it ends at once, with nobody asked.
fn small() -> Raw {
    let scan = json!({ "scanId": Uuid::now_v7(), "url": "ftp://clean.test/" });
    let (content_type, body) = ("application/json", scan.to_string().into_bytes());
    Raw { exchange: SUBMIT, content_type, body, ..Raw::default() }
}

/// The same with very much beside it.
fn large() -> Raw {
    let pad = "x".repeat(BYTES);
    let scan = json!({ "scanId": Uuid::now_v7(), "url": "ftp://clean.test/", "pad": pad });
    Raw { body: scan.to_string().into_bytes(), ..small() }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_069_live_twenty_megabytes_among_ten_thousand_small_ones_take_little_memory() {
    let world = World::new().await;
    // The queue is there, and full before anybody takes from it.
    let serving = Serving::ready(&world, &[]).await;
    assert!(serving.stop().await.success());
    let wire = Wire::open(&world).await;
    let mut batch = Vec::new();
    for n in 0..SMALL {
        if n % (SMALL / LARGE) == 0 && n / (SMALL / LARGE) < LARGE {
            batch.push(large());
        }
        batch.push(small());
        if batch.len() >= 350 || n + 1 == SMALL {
            wire.publish_all(&std::mem::take(&mut batch)).await;
        }
    }
    assert_eq!(wire.ready(ENDPOINT).await as usize, SMALL + LARGE, "all lie in the queue");
    let serving = Serving::ready(&world, &[]).await;
    let mut stored = Stored::open(&world).await;
    until("each has come to its end", async || {
        let ended = stored.states().await.get("Final").copied().unwrap_or_default();
        let aside = serving.list("/api/v1/quarantine").await.len();
        match (ended as usize, aside) {
            (SMALL, LARGE) => Ok(()),
            (ended, aside) => Err(format!("{ended} ended, {aside} are set aside")),
        }
    })
    .await;
    let most = serving.peak_memory();
    println!("{LARGE} x {BYTES} bytes among {SMALL}: {} MB at most", most / 1_000_000);
    assert!(most < MOST, "{most} bytes");
    stored.all_ended_once(SMALL as i64).await;
    for row in serving.list("/api/v1/quarantine").await {
        assert_eq!(row["class"], "too-large", "{row}");
        let reason = row["reason"].as_str().expect("a reason");
        assert!(reason.contains("bytes, and the endpoint takes 8388608 at most"), "{reason}");
        let id = row["id"].as_str().expect("an id");
        let whole = serving.get(&format!("/api/v1/quarantine/{id}")).await;
        let kept = whole["body"].as_str().expect("its beginning");
        assert_eq!(kept.len(), 64 << 10, "the beginning is kept");
        assert!(
            whole["size"].as_u64().is_some_and(|size| size > BYTES as u64),
            "{}",
            whole["size"]
        );
    }
    assert_eq!(wire.ready(ENDPOINT).await, 0, "the queue is empty");
    wire.close().await;
    assert!(serving.stop().await.success());
}
