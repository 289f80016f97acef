//! The crash-watch's way through a node's door to the shelf.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::ports::StoreError;
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};
use knarr_model::{MessageId, NodeId, RowId};

use super::shelf::{Op, Reach};

#[async_trait]
impl CrashWatch for Reach {
    async fn intend(&self, intent: &Intent) -> Result<Vec<Suspect>, StoreError> {
        self.through(Op::Intent, self.shelf.rows.intend(intent)).await
    }

    async fn came_through(
        &self,
        intent: &Intent,
        messages: &[MessageId],
    ) -> Result<(), StoreError> {
        self.through(Op::Intent, self.shelf.rows.came_through(intent, messages)).await
    }

    async fn look_round(
        &self,
        node: NodeId,
        record: Record,
        watch: Duration,
    ) -> Result<Vec<Record>, StoreError> {
        self.through(Op::Lease, self.shelf.rows.look_round(node, record, watch)).await
    }

    async fn run_call(&self, node: NodeId, call: RowId, claims: i64) -> Result<bool, StoreError> {
        self.through(Op::Other, self.shelf.rows.run_call(node, call, claims)).await
    }

    async fn put_off(
        &self,
        node: NodeId,
        calls: &[(RowId, i64)],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.through(Op::Other, self.shelf.rows.put_off(node, calls, until)).await
    }

    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError> {
        self.through(Op::Other, self.shelf.rows.give_back_attempts(used)).await
    }
}
