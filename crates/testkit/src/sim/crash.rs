//! The engine's door to the crash-watch of the simulated store.

use std::time::Duration;

use async_trait::async_trait;
use knarr_model::ports::StoreError;
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};
use knarr_model::{MessageId, NodeId};

use super::store::{SimStore, through};

#[async_trait]
impl CrashWatch for SimStore {
    async fn intend(&self, intent: &Intent) -> Result<Vec<Suspect>, StoreError> {
        let intent = intent.clone();
        through!(self, "intend", |s| s.inner.intend(&intent))
    }

    async fn came_through(
        &self,
        intent: &Intent,
        messages: &[MessageId],
    ) -> Result<(), StoreError> {
        let (intent, messages) = (intent.clone(), messages.to_vec());
        through!(self, "came_through", |s| s.inner.came_through(&intent, &messages))
    }

    async fn look_round(
        &self,
        node: NodeId,
        record: Record,
        watch: Duration,
    ) -> Result<Vec<Record>, StoreError> {
        through!(self, "look_round", |s| s.inner.look_round(node, record, watch))
    }

    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError> {
        let used = used.to_vec();
        through!(self, "give_back_attempts", |s| s.inner.give_back_attempts(&used))
    }
}
