//! The script is no yes-man: wrong verdicts, second answers and silence are told, with exit code 1.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::script::Submission;
use crate::serving::Serving;
use crate::wire::{MASS_TRANSIT, Raw, SCANNED, Wire};
use crate::world::{World, until};

const TAP: &str = "tap";

/// Runs the script, which must find fault, and gives what it says.
async fn problems(submission: Submission) -> Vec<String> {
    let (status, summary) = submission.ended().await;
    assert_eq!(status.code(), Some(1), "{summary:#}");
    assert_eq!(summary["ok"], false, "{summary:#}");
    let problems = summary["problems"].as_array().expect("problems");
    problems.iter().map(|problem| problem.as_str().expect("text").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn live_the_script_notices_what_is_wrong() {
    let world = World::with_latency(Duration::from_millis(50)).await;
    let told = problems(Submission::start(&world, &["--count", "1"])).await;
    assert!(told.len() == 1 && told[0].contains("nobody takes"), "{told:?}");

    // One service that refuses makes clean URLs unknown; malicious ones stay malicious.
    let serving = Serving::ready(&world, &[("SAFE_BROWSING_API_KEY", "bad-key")]).await;
    let mix = ["--count", "8", "--mix", "clean,malicious", "--settle", "0"];
    let told = problems(Submission::start(&world, &mix)).await;
    assert_eq!(told.len(), 8, "the sources of all differ: {told:?}");
    assert!(told.iter().all(|problem| problem.contains("the sources say")), "{told:?}");
    assert!(serving.stop().await.success());

    let serving = Serving::ready(&world, &[]).await;
    let wire = Wire::open(&world).await;
    wire.tap(TAP, SCANNED).await;
    for (other_id, expected) in [(false, "a second copy"), (true, "told twice, as ")] {
        let arguments = ["--count", "1", "--mix", "clean", "--no-copies", "--settle", "4"];
        let submission = Submission::start(&world, &arguments);
        let answer = until("an answer", async || {
            wire.take_all(TAP).await.pop().ok_or_else(|| "none yet".to_owned())
        })
        .await;
        wire.publish(&again(answer, other_id)).await;
        let told = problems(submission).await;
        assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
        wire.take_all(TAP).await;
    }
    let silent = ["--count", "2", "--mix", "never", "--timeout", "3"];
    let told = problems(Submission::start(&world, &silent)).await;
    assert!(told.len() == 2 && told.iter().all(|it| it.contains("no answer in 3 s")), "{told:?}");
    wire.close().await;
    assert!(serving.stop().await.success());
}

/// An answer as it was on the wire, or the same under another id.
fn again(mut body: Vec<u8>, other_id: bool) -> Raw {
    let mut answer: Value = serde_json::from_slice(&body).expect("an envelope");
    if other_id {
        answer["messageId"] = json!(Uuid::now_v7());
        body = answer.to_string().into_bytes();
    }
    Raw {
        exchange: SCANNED,
        content_type: MASS_TRANSIT,
        message_id: answer["messageId"].as_str().expect("an id").to_owned(),
        body,
        ..Raw::default()
    }
}
