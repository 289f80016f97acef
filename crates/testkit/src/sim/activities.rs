//! Simulated activities: slow, failing, hanging, panicking, and always noted down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_model::ports::Attempt;
use knarr_saga::prelude::*;
use parking_lot::Mutex;
use uuid::Uuid;

use super::toy::{Answers, Fetch, Look};
use super::world::World;

/// The outside world that calls go to.
pub(super) struct Outside {
    world: Arc<World>,
    /// Which key the call of each run was made with.
    keys: Mutex<BTreeMap<(Uuid, u32, &'static str), Uuid>>,
}

impl Outside {
    pub(super) fn new(world: Arc<World>) -> Arc<Self> {
        Arc::new(Outside { world, keys: Mutex::default() })
    }
}

impl Answers for Arc<Outside> {
    async fn answer(&self, call: &'static str, n: u32, attempt: &Attempt) -> Result<u32, Failure> {
        let world = &self.world;
        world.log(|| format!("attempt {} at {call} of {}", attempt.number, attempt.instance));
        let key = attempt.idempotency_key;
        let before = self.keys.lock().insert((attempt.instance.0, attempt.run, call), key);
        if before.is_some_and(|before| before != key) {
            world.violation(format!("{call} of {} got a second key", attempt.instance));
        }
        world.latency(60).await;
        match world.dice.below(20) {
            0 => Err(Failure::permanent("no", "will never work")),
            1..=3 => Err(Failure::transient("busy", "may work later")),
            4..=5 => Err(Failure::again(Duration::from_millis(40), serde_json::json!({ "n": n }))),
            6 => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(n)
            }
            // As a panic, but without a word on standard error for each of thousands.
            7 if call == "Look" => std::panic::resume_unwind(Box::new("simulated")),
            _ => Ok(n),
        }
    }
}

/// Answers [`Fetch`].
pub(super) struct Fetcher(pub(super) Arc<Outside>);

/// Answers [`Look`].
pub(super) struct Looker(pub(super) Arc<Outside>, pub(super) Arc<dyn Mortal>);

/// A process that a call can kill.
pub(super) trait Mortal: Send + Sync {
    fn die_of_a_call(&self);
}

impl Activity<Fetch> for Fetcher {
    async fn run(&self, call: &Fetch, attempt: &Attempt) -> Result<u32, Failure> {
        self.0.answer("Fetch", call.n, attempt).await
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::doubling(4, Duration::from_millis(100), Duration::from_secs(1))
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }
}

impl Activity<Look> for Looker {
    async fn run(&self, call: &Look, attempt: &Attempt) -> Result<u32, Failure> {
        if call.lethal {
            self.1.die_of_a_call();
            // Nobody asks any more.
            std::future::pending::<()>().await;
        }
        self.0.answer("Look", call.n, attempt).await
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::fixed(3, Duration::from_millis(100))
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(2)
    }
}
