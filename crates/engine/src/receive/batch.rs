//! One batch: load, step each, commit, settle; halved when the store refuses its data.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use knarr_guard::{Admission, Blocks};
use knarr_model::commit::{Key, Origin};
use knarr_model::ports::crash::Intent;
use knarr_model::ports::spawn::LaneThread;
use knarr_model::ports::store::{EndpointRow, EndpointState, Load, Loaded, StoreError};
use knarr_model::ports::transport::Settlement;
use knarr_model::work::{CHUNK_MESSAGES, Chunk};
use knarr_model::{Commit, CommitOutcome, InstanceId, MessageId, RowId, Slice};
use knarr_saga::definition::Target;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::effects::Sender;
use super::fate::Fate;
use super::fold::{Forced, Situation};
use super::returned::return_all;
use super::router;
use super::step::{Decided, Whole, decide_batch};
use crate::delivery::{Body, Incoming, Source};
use crate::shared::{Finished, Handed, Serving, Shared};

/// Runs the batches of one lane.
pub(super) struct Batches {
    pub(super) shared: Arc<Shared>,
    pub(super) serving: Arc<Serving>,
    name: String,
    thread: Box<dyn LaneThread>,
    outbox: mpsc::Sender<Handed>,
    finished: Arc<Finished>,
    most: usize,
    /// The lane's number.
    pub(super) lane: u32,
    /// The batch is one suspect, and this process decides nothing else.
    pub(super) alone: bool,
}

/// What is learnt about a batch while it goes round.
#[derive(Default)]
pub(super) struct Round {
    pub(super) forced: BTreeMap<MessageId, Forced>,
    origins: BTreeMap<(InstanceId, u32), Option<Origin>>,
    /// Keys that behaviours took, looked up once they turned out to be there.
    keys: BTreeSet<Key>,
    failures: u32,
    /// What was written down in crash-watch.
    pub(super) written: Written,
}

/// What was written down before a batch was decided.
#[derive(Default)]
pub(super) struct Written {
    pub(super) intent: Option<Intent>,
    /// The suspect was decided, and the process lives.
    pub(super) through: bool,
}

/// What to do after one try.
pub(super) enum Next {
    /// Done; these go round again with the next batch.
    Done(Vec<Incoming>),
    /// Once more with this batch.
    Again(Vec<Incoming>),
    /// The store refuses what the batch writes.
    Refused(Vec<Incoming>, String),
    /// These cannot all be in one commit.
    Apart(Vec<Incoming>),
    /// The first ones go on their own, then the others.
    Split(Vec<Incoming>, Vec<Incoming>),
}

impl Batches {
    pub(super) fn new(
        shared: Arc<Shared>,
        serving: Arc<Serving>,
        (name, lane): (String, u32),
        outbox: mpsc::Sender<Handed>,
        finished: Arc<Finished>,
    ) -> Self {
        let thread = shared.ports.spawn.lane_thread(&name);
        let most = shared.settings.max_batch;
        let alone = false;
        Batches { shared, serving, name, thread, outbox, finished, most, lane, alone }
    }

    /// Runs a batch to its end; one that is `alone` is a single suspect. Returns what lost a race,
    /// or was found to be suspected, and goes first in the next batch.
    pub(super) async fn run(&mut self, batch: Vec<Incoming>, alone: bool) -> Vec<Incoming> {
        self.alone = alone;
        let mut round = Round::default();
        let mut lost = Vec::new();
        // Parts of the batch still to run, the first of them last.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.attempt(part, &mut round).await {
                Next::Done(carried) if carried.is_empty() => {}
                Next::Done(mut carried) => {
                    // What came behind them stays behind them.
                    lost.append(&mut carried);
                    lost.extend(std::mem::take(&mut parts).into_iter().rev().flatten());
                }
                Next::Again(part) => parts.push(part),
                Next::Refused(part, reason) if part.len() == 1 => {
                    round.forced.insert(part[0].id, Forced::Constraint(reason));
                    parts.push(part);
                }
                Next::Refused(part, _) | Next::Apart(part) => halve(part, &mut parts),
                Next::Split(first, rest) => parts.extend([rest, first]),
            }
        }
        self.came_through(&mut round).await;
        lost
    }

    async fn attempt(&mut self, mut batch: Vec<Incoming>, round: &mut Round) -> Next {
        if self.shared.is_stopping() {
            return_all(&self.shared, batch).await;
            return Next::Done(Vec::new());
        }
        self.drop_foreign(&mut batch);
        let loaded = match self.load(&batch, round).await {
            Ok(loaded) => loaded,
            Err(error) => return self.store_failed(batch, round, &error).await,
        };
        if self.is_fenced(&loaded, &batch) {
            return self.fenced(batch).await;
        }
        let blocks = match self.blocks(loaded.endpoint.guard_version).await {
            Ok(Some(blocks)) => blocks,
            // The block set has changed since: what was loaded is out of date.
            Ok(None) => return Next::Again(batch),
            Err(error) => return self.store_failed(batch, round, &error).await,
        };
        if batch.len() > 1 && !self.fits(&loaded) {
            return Next::Apart(batch);
        }
        let batch = match self.intend(batch, &loaded, round).await {
            Ok(batch) => batch,
            Err(next) => return next,
        };
        let row = loaded.endpoint.clone();
        if self.shared.settings.mutations().ack_before_commit {
            settle_done(&batch, &vec![true; batch.len()]).await;
        }
        let (mut batch, decided) = match self.decide(batch, loaded, blocks, round).await {
            Ok(decided) => decided,
            Err(next) => return next,
        };
        let decided = match decided {
            Decided::Whole(decided) => decided,
            Decided::Needs(runs) => return self.fetch_origins(batch, runs, round).await,
            Decided::Before(n) => {
                let rest = batch.split_off(n);
                return Next::Split(batch, rest);
            }
            Decided::Failed(failure) => return self.contain(batch, *failure, round).await,
            Decided::Outdated(message, by) => {
                return self.let_through(batch, message, by, round).await;
            }
        };
        self.remember_keys(&decided);
        for warning in &decided.warnings {
            let endpoint = &self.serving.endpoint.name;
            tracing::warn!(%endpoint, "a row asked for what its own end cancels: {warning}");
        }
        self.commit(batch, decided, &row, round).await
    }

    /// Rows claimed under an id that this node has lost are somebody else's now.
    fn drop_foreign(&self, batch: &mut Vec<Incoming>) {
        let node = self.shared.node.id();
        batch.retain(|incoming| incoming.claimed_by().is_none_or(|by| by == node));
    }

    async fn load(&self, batch: &[Incoming], round: &Round) -> Result<Loaded, StoreError> {
        let mut instances = BTreeSet::new();
        let mut keys = round.keys.clone();
        for incoming in batch {
            instances.extend(incoming.instance());
            if let Body::Message { correlated, .. } = &incoming.body
                && let Target::Key(key) = &correlated.target
            {
                keys.insert(key.clone());
                instances.insert(router::lane(&self.serving, incoming));
            }
        }
        let load = Load {
            endpoint: self.serving.endpoint.name.clone(),
            saga: self.serving.saga.name().clone(),
            instances: instances.into_iter().collect(),
            keys: keys.into_iter().collect(),
            messages: batch.iter().map(|incoming| incoming.id).collect(),
        };
        let asked = load.instances.clone();
        let loaded = self.shared.ports.store.load(load).await?;
        let (cap, now) = (self.shared.settings.parked_cap, self.shared.ports.clock.now());
        self.serving.waits.note(&asked, &loaded, cap, self.serving.saga.version(), now);
        Ok(loaded)
    }

    /// Whether what was loaded fits into memory beside what else is decided. Batches become as large
    /// as they may by what was met last.
    fn fits(&mut self, loaded: &Loaded) -> bool {
        let bytes: usize =
            loaded.instances.values().map(|instance| instance.data.get().len()).sum();
        let most = self.shared.settings.batch_bytes;
        let each = bytes / loaded.instances.len().max(1);
        let max = self.shared.settings.max_batch.max(1);
        // Two leave room for one of each source.
        self.most = (most / each.max(1)).clamp(2.min(max), max);
        bytes <= most
    }

    /// How many messages the next batch may have.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether this batch may not be decided now. A pause stops the broker's messages only.
    fn is_fenced(&self, loaded: &Loaded, batch: &[Incoming]) -> bool {
        match self.shared.admit(&self.serving, &loaded.endpoint) {
            Admission::Go => false,
            Admission::Return | Admission::Wait => true,
            Admission::Internal => batch.iter().any(|incoming| incoming.row().is_none()),
        }
    }

    /// The endpoint is halted, or another node's: everything goes back, nothing is held.
    pub(super) async fn fenced(&self, batch: Vec<Incoming>) -> Next {
        self.shared.counters.fenced.add(1);
        self.serving.changed.notify_one();
        return_all(&self.shared, batch).await;
        // What has just been returned would come straight back: let the endpoint close first.
        self.shared.back_off(1).await;
        Next::Done(Vec::new())
    }

    pub(super) async fn store_failed(
        &self,
        batch: Vec<Incoming>,
        round: &mut Round,
        error: &StoreError,
    ) -> Next {
        round.failures += 1;
        let endpoint = &self.serving.endpoint.name;
        if error.is_transient() {
            tracing::warn!(%endpoint, failures = round.failures, "waiting for the store: {error}");
        } else {
            let failures = round.failures;
            tracing::error!(%endpoint, failures, "the store refuses a batch, tried again: {error}");
        }
        self.shared.back_off(round.failures).await;
        Next::Again(batch)
    }

    /// Decides on the lane's thread, with nothing held and a deadline a message.
    async fn decide(
        &mut self,
        batch: Vec<Incoming>,
        loaded: Loaded,
        blocks: Arc<Blocks>,
        round: &mut Round,
    ) -> Result<(Vec<Incoming>, Decided), Next> {
        let situation = Situation {
            endpoint: self.serving.endpoint.name.clone(),
            saga: self.serving.saga.clone(),
            loaded,
            origins: round.origins.clone(),
            forced: round.forced.clone(),
            now: self.shared.ports.clock.now(),
            sender: Sender {
                address: self.shared.ports.transport.address(&self.serving.endpoint.name),
                host: self.shared.host.clone(),
            },
            max_data: self.shared.settings.max_data,
            parked_cap: self.shared.settings.parked_cap,
            mutations: self.shared.settings.mutations(),
            publish_faults: self.shared.settings.publish_faults,
            mirror_errors: self.shared.settings.mirror_errors,
            blocks,
        };
        let batch = Arc::new(batch);
        let answer = Arc::new(Mutex::new(None));
        let progress = Arc::new(AtomicUsize::new(0));
        let work = {
            let (batch, answer, progress) = (batch.clone(), answer.clone(), progress.clone());
            Box::new(move || {
                let step = |n| progress.store(n, Ordering::Relaxed);
                let work = AssertUnwindSafe(|| decide_batch(&situation, &batch, step));
                *answer.lock() = Some(catch_unwind(work));
            })
        };
        let finished = self.watch(work, &progress).await;
        let decided = answer.lock().take();
        match (finished, decided) {
            (true, Some(Ok(Ok(decided)))) => Ok((unwrap(batch), decided)),
            (true, Some(Ok(Err((message, reason))))) => {
                round.forced.insert(message, Forced::Constraint(reason));
                Err(Next::Again(unwrap(batch)))
            }
            (true, Some(Err(_))) if batch.len() > 1 => Err(Next::Apart(unwrap(batch))),
            (true, Some(Err(panic))) => {
                let reason = format!("deciding it panicked: {}", said(&*panic));
                round.forced.insert(batch[0].id, Forced::Panicked(reason));
                Err(Next::Again(unwrap(batch)))
            }
            _ => {
                let n = progress.load(Ordering::Relaxed).min(batch.len().saturating_sub(1));
                let stuck = &batch[n];
                let reason = format!(
                    "deciding it took longer than {:?}",
                    self.shared.settings.decide_deadline
                );
                round.forced.insert(stuck.id, Forced::Stuck(reason));
                Err(Next::Again(unwrap(batch)))
            }
        }
    }

    /// Waits for the thread; `false` when it made no progress within the deadline and was given up.
    async fn watch(&mut self, work: Box<dyn FnOnce() + Send>, progress: &AtomicUsize) -> bool {
        let clock = self.shared.ports.clock.clone();
        let deadline = self.shared.settings.decide_deadline;
        let mut running = self.thread.run(work);
        let mut last = usize::MAX;
        loop {
            tokio::select! {
                biased;
                () = &mut running => return true,
                () = clock.sleep(deadline) => {}
            }
            let now = progress.load(Ordering::Relaxed);
            if now == last {
                break;
            }
            last = now;
        }
        drop(running);
        self.thread = self.shared.ports.spawn.lane_thread(&self.name);
        self.shared.counters.abandoned_threads.add(1);
        let given_up = self.shared.counters.abandoned_threads.get();
        tracing::error!(lane = %self.name, given_up, "a behaviour did not come back");
        if given_up > self.shared.settings.max_abandoned_threads as u64 {
            self.shared.exhausted.store(true, Ordering::Relaxed);
        }
        false
    }

    async fn fetch_origins(
        &self,
        batch: Vec<Incoming>,
        needs: Vec<(InstanceId, u32)>,
        round: &mut Round,
    ) -> Next {
        let saga = self.serving.saga.name();
        for (instance, run) in needs {
            match self.shared.ports.store.origin(saga, instance, run).await {
                Ok(origin) => {
                    round.origins.insert((instance, run), origin);
                }
                Err(error) => return self.store_failed(batch, round, &error).await,
            }
        }
        Next::Again(batch)
    }

    fn remember_keys(&self, decided: &Whole) {
        const KNOWN_KEYS: usize = 10_000;
        if decided.resolved.is_empty() {
            return;
        }
        let mut known = self.serving.known_keys.lock();
        if known.len() > KNOWN_KEYS {
            known.clear();
        }
        known.extend(decided.resolved.iter().cloned());
    }

    async fn commit(
        &self,
        batch: Vec<Incoming>,
        decided: Whole,
        row: &EndpointRow,
        round: &mut Round,
    ) -> Next {
        let node = self.shared.node.id();
        let finished_chunks = self.finished.take();
        let outgoing: usize = decided.slices.iter().map(|slice| slice.outgoing.len()).sum();
        let bytes: usize =
            decided.slices.iter().flat_map(|s| &s.outgoing).map(|m| m.body.len()).sum();
        let chunks =
            outgoing.div_ceil(CHUNK_MESSAGES) + 2 * bytes / knarr_model::work::CHUNK_BYTES + 1;
        let clock = &self.shared.ports.clock;
        let hints = Hints::of(&decided.slices);
        let chunk_ids: Vec<_> = (0..chunks).map(|_| RowId(clock.new_id())).collect();
        self.shared.hold_chunks(chunk_ids.iter().copied());
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
            now: clock.now(),
        };
        let outcome = self.shared.ports.store.commit(commit).await;
        let unused = match &outcome {
            Ok(CommitOutcome::Committed { chunks, .. }) => {
                self.shared.let_go_chunks(&finished_chunks);
                let made = |id: &RowId| chunks.iter().any(|chunk| chunk.id == *id);
                chunk_ids.into_iter().filter(|id| !made(id)).collect()
            }
            _ => {
                self.finished.put_back(finished_chunks);
                chunk_ids
            }
        };
        self.shared.let_go_chunks(&unused);
        match outcome {
            Ok(CommitOutcome::Committed { lost, chunks }) => {
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
                let gone = |incoming: &Incoming| {
                    incoming.row().is_some_and(|(_, row)| rows.contains(&row))
                };
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
            let ids = rows.iter().filter_map(|incoming| incoming.row().map(|(_, row)| row));
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
                rows.extend(incoming.row().map(|(_, row)| row));
            } else {
                incoming.lost = incoming.lost.saturating_add(1);
                carried.push(incoming);
            }
        }
        self.shared.node.let_go(rows);
        carried
    }
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("something")
}

/// Puts both halves of a batch in front of what is left to do, the first of them first.
fn halve(mut part: Vec<Incoming>, parts: &mut Vec<Vec<Incoming>>) {
    let second = part.split_off(part.len() / 2);
    parts.push(second);
    parts.push(part);
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

/// Acks the kept ones of a batch, grouped by the consumer they came from.
pub(super) async fn settle_done(batch: &[Incoming], kept: &[bool]) {
    let mut done = Vec::with_capacity(batch.len());
    let mut by = None;
    for (incoming, kept) in batch.iter().zip(kept) {
        let (true, Source::Broker { receipt, settler, .. }) = (*kept, &incoming.source) else {
            continue;
        };
        let other = by.as_ref().is_some_and(|by| !Arc::ptr_eq(by, settler));
        if other && let Some(by) = by.take() {
            by.settle(&std::mem::take(&mut done)).await;
        }
        by = Some(settler.clone());
        done.push((*receipt, Settlement::Ack));
    }
    if let Some(by) = by {
        by.settle(&done).await;
    }
}

/// The batch back from the thread. A thread that was given up keeps its share, so it is taken over
/// by a copy of the references only when nobody else holds it.
fn unwrap(batch: Arc<Vec<Incoming>>) -> Vec<Incoming> {
    Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.iter().map(Incoming::clone).collect())
}
