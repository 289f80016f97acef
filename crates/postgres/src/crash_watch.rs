//! The crash-watch's door to the store, handed to the file of its tables.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use knarr_model::ids::{MessageId, NodeId, RowId};
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};
use knarr_model::ports::store::StoreError;
use knarr_model::work::RowKind;
use uuid::Uuid;

use crate::store::Store;
use crate::{activities, crash};

#[async_trait]
impl CrashWatch for Store {
    async fn intend(&self, intent: &Intent) -> Result<Vec<Suspect>, StoreError> {
        let intent = intent.clone();
        self.pools()
            .engine
            .run(move |connection| async move { crash::intend(connection, &intent).await }.boxed())
            .await
    }

    async fn came_through(
        &self,
        intent: &Intent,
        messages: &[MessageId],
    ) -> Result<(), StoreError> {
        let (intent, messages) = (intent.clone(), messages.to_vec());
        self.pools()
            .engine
            .run(move |connection| {
                async move { crash::came_through(connection, &intent, &messages).await }.boxed()
            })
            .await
    }

    async fn look_round(
        &self,
        node: NodeId,
        record: Record,
        watch: Duration,
    ) -> Result<Vec<Record>, StoreError> {
        let seen = self
            .pools()
            .lease
            .run(move |connection| crash::look(connection, node.0, record).boxed())
            .await?;
        if seen.trouble {
            self.pools()
                .control
                .transact(move |connection| crash::bury(connection, node.0, watch).boxed())
                .await?;
        }
        Ok(seen.peers)
    }

    async fn run_call(&self, node: NodeId, call: RowId, claims: i64) -> Result<bool, StoreError> {
        self.pools()
            .engine
            .run(move |connection| activities::run(connection, node.0, call, claims).boxed())
            .await
    }

    async fn put_off(
        &self,
        node: NodeId,
        calls: &[(RowId, i64)],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let calls = calls.to_vec();
        self.pools()
            .engine
            .run(move |connection| {
                async move { activities::put_off(connection, node.0, &calls, until).await }.boxed()
            })
            .await
    }

    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError> {
        let mut of: [Vec<Uuid>; 4] = Default::default();
        for used in used {
            match used {
                Used::Call(row) => of[0].push(row.0),
                Used::Row(RowKind::Call, row) => of[1].push(row.0),
                Used::Row(RowKind::Timer, row) => of[2].push(row.0),
                Used::Row(RowKind::Parked, row) => of[3].push(row.0),
            }
        }
        self.pools()
            .engine
            .transact(move |connection| {
                let of = of.clone();
                async move { crash::give_back_attempts(connection, &of).await }.boxed()
            })
            .await
    }
}
