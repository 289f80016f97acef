//! The crash-watch's door to the SQLite file.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use knarr_model::ids::{MessageId, NodeId, RowId};
use knarr_model::ports::StoreError;
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};

use crate::store::Store;
use crate::{activities, crash};

#[async_trait]
impl CrashWatch for Store {
    async fn intend(&self, intent: &Intent) -> Result<Vec<Suspect>, StoreError> {
        let (intent, now) = (intent.clone(), self.now());
        self.keep(move |c| async move { crash::intend(c, &intent, now).await }.boxed()).await
    }

    async fn came_through(
        &self,
        intent: &Intent,
        messages: &[MessageId],
    ) -> Result<(), StoreError> {
        let (intent, messages) = (intent.clone(), messages.to_vec());
        self.keep(move |c| async move { crash::came_through(c, &intent, &messages).await }.boxed())
            .await
    }

    async fn look_round(
        &self,
        node: NodeId,
        record: Record,
        watch: Duration,
    ) -> Result<Vec<Record>, StoreError> {
        let now = self.now();
        self.keep(move |c| crash::look_round(c, node, record, watch, now).boxed()).await
    }

    async fn run_call(&self, node: NodeId, call: RowId, claims: i64) -> Result<bool, StoreError> {
        let now = self.now();
        self.keep(move |c| activities::run(c, node, (call, claims), now).boxed()).await
    }

    async fn put_off(
        &self,
        node: NodeId,
        calls: &[(RowId, i64)],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let calls = calls.to_vec();
        self.keep(move |c| {
            async move {
                for call in calls {
                    activities::put_off(c, node, call, until).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError> {
        let used = used.to_vec();
        self.keep(move |c| {
            async move {
                for used in used {
                    crash::give_back_attempt(c, used).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
