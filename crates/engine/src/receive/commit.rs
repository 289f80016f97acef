//! The commit of a decided batch, and what follows it: acks, chunks handed on, hints given.

use std::sync::atomic::Ordering;

use knarr_model::commit::Key;
use knarr_model::failpoint::{self, Step};
use knarr_model::ports::store::{EndpointRow, EndpointState, StoreError};
use knarr_model::work::{CHUNK_BYTES, CHUNK_MESSAGES, Chunk};
use knarr_model::{Commit, CommitOutcome, InstanceId, MessageId, RowId, Slice};

use super::batch::{Batches, Next, Round};
use super::deliveries::settle_done;
use super::fate::Fate;
use super::fold::Forced;
use super::step::Whole;
use super::transitions::Spans;
use crate::delivery::Incoming;
use crate::shared::{Handed, Shared};

impl Batches {
    /// Commits what was decided, or says how the batch goes on.
    pub(super) async fn commit(
        &self,
        batch: Vec<Incoming>,
        decided: Whole,
        row: &EndpointRow,
        round: &mut Round,
    ) -> Next {
        let node = self.shared.node.id();
        let hints = Hints::of(&decided.slices);
        round.spans = Spans::of(&self.shared.traces, &self.serving, &batch, &decided, round.began);
        let (chunk_ids, finished_chunks) = (self.chunk_ids(&decided.slices), self.finished.take());
        let commit = Commit {
            endpoint: self.serving.endpoint.name.clone(),
            saga: self.serving.saga.name().clone(),
            node,
            epoch: row.epoch,
            guard_version: row.guard_version,
            ordered: self.serving.endpoint.ordered || row.state == EndpointState::Probing,
            slices: decided.slices,
            chunk_ids: chunk_ids.clone(),
            finished_chunks: finished_chunks.clone(),
            now: self.shared.ports.clock.now(),
        };
        let outcome = self.shared.ports.store.commit(commit).await;
        self.account_for(&outcome, chunk_ids, finished_chunks);
        match outcome {
            Ok(CommitOutcome::Committed { lost, chunks }) => {
                failpoint::pass(Step::Committed);
                self.hand_over(chunks, node).await;
                hints.give(&self.shared);
                self.note_committed(&batch, &decided.fates, &lost, round);
                let carried = self.settle(batch, &decided.fates, &lost).await;
                self.judge(&decided.fates, &lost, row.state).await;
                Next::Done(carried)
            }
            Ok(CommitOutcome::Fenced) => self.fenced(batch).await,
            Ok(CommitOutcome::Gone(rows)) => {
                self.shared.node.let_go(rows.iter().copied());
                let gone =
                    |incoming: &Incoming| incoming.row().is_some_and(|row| rows.contains(&row));
                Next::Again(batch.into_iter().filter(|incoming| !gone(incoming)).collect())
            }
            Ok(CommitOutcome::KeyTaken { by, key, by_start }) => {
                self.key_taken(batch, round, (by, key, by_start))
            }
            Ok(
                CommitOutcome::GuardChanged
                | CommitOutcome::Duplicates(_)
                | CommitOutcome::Swept(_),
            ) => Next::Again(batch),
            Err(error) if error.is_data() => Next::Refused(batch, error.to_string()),
            Err(error) => {
                // It may have been carried out: the journal decides when it is loaded again, and
                // the relay looks for chunks that nobody handed to it.
                self.shared.counters.unknown_commits.add(1);
                self.shared.doubts.fetch_add(1, Ordering::Relaxed);
                let batch = self.without_rows(batch);
                self.store_failed(batch, round, &error).await
            }
        }
    }

    /// As many ids as the messages that leave can want chunks, held against the relay.
    fn chunk_ids(&self, slices: &[Slice]) -> Vec<RowId> {
        let leaving = || slices.iter().flat_map(|slice| &slice.outgoing);
        let bytes: usize = leaving().map(|message| message.body.len()).sum();
        let chunks = leaving().count().div_ceil(CHUNK_MESSAGES) + 2 * bytes / CHUNK_BYTES + 1;
        let clock = &self.shared.ports.clock;
        let ids: Vec<_> = (0..chunks).map(|_| RowId(clock.new_id())).collect();
        self.shared.hold_chunks(ids.iter().copied());
        ids
    }

    /// Lets go of the chunks that were not made, and of those that went with the commit.
    fn account_for(
        &self,
        outcome: &Result<CommitOutcome, StoreError>,
        ids: Vec<RowId>,
        finished: Vec<RowId>,
    ) {
        let unused = match outcome {
            Ok(CommitOutcome::Committed { chunks, .. }) => {
                self.shared.let_go_chunks(&finished);
                let made = |id: &RowId| chunks.iter().any(|chunk| chunk.id == *id);
                ids.into_iter().filter(|id| !made(id)).collect()
            }
            _ => {
                self.finished.put_back(finished);
                ids
            }
        };
        self.shared.let_go_chunks(&unused);
    }

    /// A key that this batch wants is an instance's, or is wanted twice.
    fn key_taken(
        &self,
        batch: Vec<Incoming>,
        round: &mut Round,
        (by, key, by_start): (MessageId, Key, bool),
    ) -> Next {
        self.serving.known_keys.lock().remove(&key);
        if round.keys.insert(key.clone()) {
            // A starter was faster, or a behaviour wants a key that was not looked up.
            return Next::Again(batch);
        }
        if batch.len() > 1 {
            // Two of this batch want it, or one frees it for another: one after the other.
            return Next::Apart(batch);
        }
        if !by_start {
            let reason = format!("key {} = {} is another instance's", key.name, key.value);
            round.forced.insert(by, Forced::KeyConflict(reason));
        }
        Next::Again(batch)
    }

    /// Rows whose commit is in doubt are let go of: they come again as they then stand.
    fn without_rows(&self, batch: Vec<Incoming>) -> Vec<Incoming> {
        let (rows, messages): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|incoming| incoming.row().is_some());
        if !rows.is_empty() {
            let ids = rows.iter().filter_map(Incoming::row);
            self.shared.node.let_go(ids);
            self.shared.reclaim();
        }
        messages
    }

    /// Committed chunks go straight on; confirms overlap the next batch.
    pub(super) async fn hand_over(&self, chunks: Vec<Chunk>, node: knarr_model::NodeId) {
        let committed_at = Some(self.shared.ports.clock.monotonic());
        for chunk in chunks {
            self.shared.unsent.add(&chunk.messages);
            // The relay outlives the lanes; were it gone, the row would still be taken over.
            let _ = self.outbox.send(Handed { chunk, node, committed_at }).await;
        }
    }

    /// Acks what is durable, and returns what lost a race.
    async fn settle(
        &self,
        batch: Vec<Incoming>,
        fates: &[Fate],
        lost: &[InstanceId],
    ) -> Vec<Incoming> {
        let kept: Vec<bool> =
            fates.iter().map(|fate| fate.key.is_none_or(|key| !lost.contains(&key))).collect();
        self.count(fates, &kept, lost.len());
        if !self.shared.settings.mutations().ack_before_commit {
            settle_done(&batch, &kept).await;
        }
        let mut carried = Vec::new();
        let mut rows = Vec::new();
        for (mut incoming, kept) in batch.into_iter().zip(kept) {
            if kept {
                incoming.committed();
                rows.extend(incoming.row());
            } else {
                incoming.lost = incoming.lost.saturating_add(1);
                carried.push(incoming);
            }
        }
        self.shared.node.let_go(rows);
        carried
    }
}

/// What a commit leaves for others on this node to look at.
struct Hints {
    due: bool,
    calls: bool,
    withdrawn: Vec<RowId>,
}

impl Hints {
    fn of(slices: &[Slice]) -> Hints {
        Hints {
            due: slices.iter().any(|slice| {
                slice.wakes_deferred
                    || slice.wakes_held
                    || !slice.timers.is_empty()
                    || !slice.parked.is_empty()
                    || !slice.again.is_empty()
            }),
            calls: slices.iter().any(|slice| !slice.tasks.is_empty()),
            withdrawn: slices.iter().flat_map(|slice| slice.cancelled_tasks.clone()).collect(),
        }
    }

    fn give(&self, shared: &Shared) {
        if self.due {
            shared.due.notify_one();
        }
        if self.calls {
            shared.calls.notify_one();
        }
        for row in &self.withdrawn {
            shared.tokens.cancel_call(*row);
        }
    }
}
