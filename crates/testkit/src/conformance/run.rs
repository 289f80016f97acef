//! Runs one case on a runtime of its own, with a deadline, so that a store that hangs fails.

use std::future::Future;
use std::time::Duration;

use super::guard::{GuardUnderTest, Guards};
use super::store::{StoreUnderTest, Stores};

/// A case that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(120);

/// Runs `case` on a fresh store of `factory`, on several threads.
///
/// # Panics
/// When the store does not do what the case says, or the case takes longer than two minutes.
pub fn run_store_case<F, C, R>(factory: F, case: C)
where
    F: StoreUnderTest,
    C: FnOnce(Stores) -> R,
    R: Future<Output = ()>,
{
    run(async move { within(case(factory.fresh().await)).await });
}

/// The same for a case of the guard's suite.
///
/// # Panics
/// As `run_store_case`.
pub fn run_guard_case<F, C, R>(factory: F, case: C)
where
    F: GuardUnderTest,
    C: FnOnce(Guards) -> R,
    R: Future<Output = ()>,
{
    run(async move { within(case(factory.fresh().await)).await });
}

fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(case);
    // A thread that hangs in a driver must not keep the test from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
}

async fn within(case: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(LONGEST, case).await;
    assert!(ended.is_ok(), "the case did not end within {LONGEST:?}");
}
