//! Waiting for what cannot be awaited.

/// Waits for a real server to do something that cannot be awaited.
pub(crate) async fn pause(time: std::time::Duration) {
    let _late = tokio::time::timeout(time, std::future::pending::<()>()).await;
}
