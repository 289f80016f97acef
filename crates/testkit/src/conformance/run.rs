//! Runs one case on a runtime of its own, with a deadline, so that a store that hangs fails.

use std::future::Future;
use std::time::Duration;

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let stores = factory.fresh().await;
        let ended = tokio::time::timeout(LONGEST, case(stores)).await;
        assert!(ended.is_ok(), "the case did not end within {LONGEST:?}");
    });
    // A thread that hangs in a driver must not keep the test from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
}
