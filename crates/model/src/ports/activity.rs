//! What runs a call: an object with its client and key, registered at start.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::fault::Failure;
use crate::ids::{InstanceId, Name};
use crate::ports::permit::{Permits, Quota};
use crate::retry::RetryPolicy;

/// One attempt at a call: everything an activity may know besides the call itself.
#[derive(Clone)]
pub struct Attempt {
    /// The saga that asked.
    pub saga: Name,
    /// Its instance.
    pub instance: InstanceId,
    /// The instance's run.
    pub run: u32,
    /// From 1. Answering [`Failure::again`] uses none.
    pub number: u32,
    /// The same for every attempt at this call: give it to services that accept one.
    pub idempotency_key: Uuid,
    /// When the attempt began, by the clock port.
    pub started_at: DateTime<Utc>,
    /// How long it may take; it is cancelled afterwards.
    pub deadline: Duration,
    /// Cancelled at the deadline, at a halt, when the run ends and at shutdown.
    pub token: CancellationToken,
    /// What the last attempt left with [`Failure::again`].
    pub memo: Option<Value>,
    /// Rate limits shared by all replicas.
    pub permits: Arc<dyn Permits>,
}

impl Attempt {
    /// Takes a permit, or ends this attempt with [`Failure::again`] until one is to be had.
    ///
    /// # Errors
    /// `Again` with the memo of this attempt when the quota is used up; transient when the store
    /// is away.
    pub async fn permit(&self, name: &str, quotas: &[Quota]) -> Result<(), Failure> {
        match self.permits.take(name, quotas).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(wait)) => Err(Failure::again(wait, self.memo.clone().unwrap_or(Value::Null))),
            Err(error) => Err(Failure::transient("store", error)),
        }
    }
}

/// An activity with its call's type erased. Authors implement the typed trait of the saga crate.
#[async_trait]
pub trait Activity: Send + Sync {
    /// The name of the call type that it answers.
    fn call(&self) -> &str;

    /// Attempts and delays where a call says nothing.
    fn retry(&self) -> RetryPolicy;

    /// How long one attempt may take where a call says nothing.
    fn deadline(&self) -> Duration;

    /// Runs one attempt. Dropped at its deadline or when its token is cancelled.
    async fn run(&self, call: &RawValue, attempt: &Attempt) -> Result<Arc<RawValue>, Failure>;
}
