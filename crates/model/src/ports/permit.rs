//! Shared rate limits: permits are the store's, so that all replicas draw from one purse.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ports::trouble::StoreError;

/// At most `limit` permits in each aligned window of `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Permits per window.
    pub limit: u32,
    /// The window; windows are aligned to 1970-01-01T00:00Z, so a day turns at midnight UTC.
    pub window: Duration,
}

/// A purse of permits shared by all nodes on one store.
#[async_trait]
pub trait Permits: Send + Sync {
    /// Takes one permit from each of `quotas` under `name`, or none and says how long to wait.
    async fn take(&self, name: &str, quotas: &[Quota]) -> Result<Result<(), Duration>, StoreError>;
}
