//! Activities with their types erased, as the engine runs them.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use knarr_model::ports::activity::Activity as Port;
use knarr_model::ports::permit::Permits;
use knarr_model::ports::store::StoreError;
use knarr_model::{InstanceId, Name};
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::kit::{ID, raw, start};

#[derive(Serialize, Deserialize, Call)]
#[call(output = Half)]
struct Halve {
    n: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Half {
    n: u32,
}

struct Halver;

impl Activity<Halve> for Halver {
    async fn run(&self, call: &Halve, attempt: &Attempt) -> Result<Half, Failure> {
        attempt.permit("halver", &[]).await?;
        match call.n % 2 {
            0 => Ok(Half { n: call.n / 2 }),
            _ => Err(Failure::permanent("odd", format!("{} is odd", call.n))),
        }
    }

    fn deadline(&self) -> Duration {
        seconds(3)
    }
}

struct Plenty;

#[async_trait]
impl Permits for Plenty {
    async fn take(&self, _: &str, _: &[Quota]) -> Result<Result<(), Duration>, StoreError> {
        Ok(Ok(()))
    }
}

fn run(call: &RawValue) -> Result<String, Failure> {
    let attempt = Attempt {
        saga: Name::from("test"),
        instance: InstanceId(ID),
        run: 1,
        number: 1,
        idempotency_key: ID,
        started_at: start(),
        deadline: seconds(3),
        token: CancellationToken::new(),
        memo: None,
        permits: Arc::new(Plenty),
    };
    let activity = knarr_saga::erase(Halver);
    let mut running = pin!(activity.run(call, &attempt));
    match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.map(|json| json.get().to_owned()),
        Poll::Pending => panic!("it waits for nothing"),
    }
}

#[test]
fn an_activity_reads_its_call_and_writes_its_answer() {
    assert_eq!(run(&raw(&Halve { n: 8 })), Ok(r#"{"n":4}"#.to_owned()));
    let failure = run(&raw(&Halve { n: 7 })).expect_err("odd");
    assert_eq!((failure.kind, failure.reason.as_str()), (FailureKind::Permanent, "7 is odd"));
}

#[test]
fn a_call_that_cannot_be_read_is_a_permanent_failure_that_names_the_member() {
    let failure = run(&raw(&serde_json::json!({ "n": -1 }))).expect_err("negative");
    assert_eq!((failure.kind, failure.class.as_str()), (FailureKind::Permanent, "bad-call"));
    assert!(failure.reason.contains("the call Halve cannot be read: member `n`"), "{failure}");
}

#[test]
fn an_activity_tells_its_call_its_policy_and_its_deadline() {
    let activity: Arc<dyn Port> = knarr_saga::erase(Halver);
    assert_eq!((activity.call(), activity.deadline()), ("Halve", seconds(3)));
    assert_eq!(activity.retry(), RetryPolicy::doubling(5, seconds(1), minutes(1)));
}
