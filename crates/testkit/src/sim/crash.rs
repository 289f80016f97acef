//! The engine's door to the crash-watch of the simulated store.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use knarr_model::ports::crash::{CrashWatch, Intent, Record, Suspect, Used};
use knarr_model::ports::{Store as _, StoreError};
use knarr_model::work::{AttemptOutcome, AttemptRecord, CallEnd, ParkedReason, RowKind};
use knarr_model::{MessageId, NodeId, RowId};

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

    async fn run_call(&self, node: NodeId, call: RowId, claims: i64) -> Result<bool, StoreError> {
        through!(self, "run_call", |s| s.inner.run_call(node, call, claims))
    }

    async fn put_off(
        &self,
        node: NodeId,
        calls: &[(RowId, i64)],
        until: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let calls = calls.to_vec();
        through!(self, "put_off", |s| s.inner.put_off(node, &calls, until))
    }

    async fn give_back_attempts(&self, used: &[Used]) -> Result<(), StoreError> {
        let used = used.to_vec();
        through!(self, "give_back_attempts", |s| s.give_back_watched(used))
    }
}

impl SimStore {
    /// A call is ended for killing processes only if it does.
    pub(super) async fn record_watched(
        self,
        node: NodeId,
        records: Vec<AttemptRecord>,
    ) -> Result<Vec<bool>, StoreError> {
        let convicts = |record: &AttemptRecord| match &record.outcome {
            AttemptOutcome::Ended(CallEnd::Failed(failure)) => failure.class == "poison",
            _ => false,
        };
        let taken = self.inner.record(node, &records).await?;
        for (record, taken) in records.iter().zip(&taken) {
            if !taken || !convicts(record) {
                continue;
            }
            self.world.ledger(|ledger| ledger.did("convicted call"));
            let call = self.inner.with_rows(|rows| rows.activity.get(&record.task).cloned());
            if call.is_none_or(|call| !call.task.payload.get().contains("\"lethal\":true")) {
                let call = record.task;
                self.world.violation(format!("call {call} was convicted and kills nobody"));
            }
        }
        Ok(taken)
    }

    /// An attempt that is given back was none: its number comes once more.
    async fn give_back_watched(self, used: Vec<Used>) -> Result<(), StoreError> {
        let counted: Vec<MessageId> = self.inner.with_rows(|rows| {
            let parked = used.iter().filter_map(|used| match used {
                Used::Row(RowKind::Parked, id) => rows.parked.get(id),
                _ => None,
            });
            let counted = parked.filter(|held| held.row.reason != ParkedReason::Missing);
            counted.map(|held| held.row.message_id).collect()
        });
        self.inner.give_back_attempts(&used).await?;
        self.world.ledger(|ledger| counted.iter().for_each(|id| ledger.given_back(*id)));
        Ok(())
    }
}
