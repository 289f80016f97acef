//! The crash-watch's door to the SQLite file.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ids::{MessageId, NodeId};
use knarr_model::ports::StoreError;
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};

use crate::crash;
use crate::store::Store;

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
