//! The reading side of a store: what people ask about.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commit::JournalRow;
use crate::ids::{InstanceId, Name};
use crate::instance::Instance;
use crate::ports::store::{EndpointRow, StoreError};
use crate::quarantine::{Class, Quarantined, Status};
use crate::work::{ActivityTask, Parked, Timer};

/// One page of a list, newest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Give it back to get the next page; `None` at the end.
    pub next: Option<String>,
}

/// Which page.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// Rows at most.
    pub limit: usize,
    /// Where the last page ended.
    pub cursor: Option<String>,
}

/// One instance in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceSummary {
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub id: InstanceId,
    /// Its run.
    pub run: u32,
    /// Its state.
    pub state: String,
    /// Its version.
    pub version: i64,
    /// When it was last written.
    pub updated_at: DateTime<Utc>,
}

/// One instance whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceDetail {
    /// The row.
    pub instance: Instance,
    /// When it was last written.
    pub updated_at: DateTime<Utc>,
    /// Its history, oldest first (at most 1 000 rows).
    pub journal: Vec<JournalRow>,
    /// Live timers.
    pub timers: Vec<Timer>,
    /// Open calls.
    pub calls: Vec<ActivityTask>,
    /// Messages that wait.
    pub parked: Vec<Parked>,
}

/// How many instances of a saga are in a state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateCount {
    /// The saga.
    pub saga: Name,
    /// The state.
    pub state: String,
    /// How many.
    pub count: u64,
}

/// Which set-aside messages.
#[derive(Clone, Debug, Default)]
pub struct QuarantineFilter {
    /// `None` shows held ones.
    pub status: Option<Status>,
    /// Of one endpoint.
    pub endpoint: Option<Name>,
    /// Of one class.
    pub class: Option<Class>,
}

/// The reading side of a store. One bad row never hides the others.
#[async_trait]
pub trait Records: Send + Sync {
    /// Instances of a saga, newest change first.
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError>;

    /// One instance with everything around it.
    async fn instance(
        &self,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError>;

    /// How many instances are in each state.
    async fn counts(&self) -> Result<Vec<StateCount>, StoreError>;

    /// All endpoints.
    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError>;

    /// Set-aside messages, newest first.
    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        page: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError>;

    /// One set-aside message.
    async fn quarantined(&self, id: Uuid) -> Result<Option<Quarantined>, StoreError>;
}
