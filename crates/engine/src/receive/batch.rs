//! One batch: load, step each, commit, settle; halved when the store refuses its data.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use knarr_guard::{Admission, Blocks};
use knarr_model::commit::{Key, Origin};
use knarr_model::durations::later;
use knarr_model::failpoint::{self, Step};
use knarr_model::ports::crash::Intent;
use knarr_model::ports::spawn::LaneThread;
use knarr_model::ports::store::{Load, Loaded, StoreError};
use knarr_model::{InstanceId, MessageId};
use knarr_saga::definition::Target;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::deliveries::{return_all, settle_done};
use super::effects::Sender;
use super::fold::{Forced, Situation};
use super::router;
use super::step::{Decided, Whole, decide_batch};
use super::transitions::{self, Spans};
use crate::delivery::{Body, Incoming};
use crate::shared::{Finished, Handed, Serving, Shared};

/// Runs the batches of one lane.
pub(super) struct Batches {
    pub(super) shared: Arc<Shared>,
    pub(super) serving: Arc<Serving>,
    name: String,
    thread: Box<dyn LaneThread>,
    pub(super) outbox: mpsc::Sender<Handed>,
    pub(super) finished: Arc<Finished>,
    most: usize,
    /// The lane's number.
    pub(super) lane: u32,
    /// Of its last intent.
    pub(super) intents: u64,
    /// The batch is one suspect, and this process decides nothing else.
    pub(super) alone: bool,
}

/// What is learnt about a batch while it goes round.
#[derive(Default)]
pub(super) struct Round {
    pub(super) forced: BTreeMap<MessageId, Forced>,
    origins: BTreeMap<(InstanceId, u32), Option<Origin>>,
    /// Keys that behaviours took, looked up once they turned out to be there.
    pub(super) keys: BTreeSet<Key>,
    failures: u32,
    /// What was written down in crash-watch.
    pub(super) written: Written,
    /// Held while a suspect is decided: no suspected call runs meanwhile.
    pub(super) trial: Option<OwnedSemaphorePermit>,
    /// When it began, where spans are told.
    pub(super) began: DateTime<Utc>,
    /// What is told of it once it is committed.
    pub(super) spans: Spans,
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
        let (intents, alone) = (0, false);
        Batches { shared, serving, name, thread, outbox, finished, most, lane, intents, alone }
    }

    /// Runs a batch to its end; one that is `alone` is a single suspect. Returns what lost a race,
    /// or was found to be suspected, and goes first in the next batch.
    pub(super) async fn run(&mut self, mut batch: Vec<Incoming>, alone: bool) -> Vec<Incoming> {
        self.alone = alone;
        let mut round = Round { began: self.shared.ports.clock.now(), ..Round::default() };
        transitions::begin(&self.shared.traces, &mut batch);
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
        failpoint::pass(Step::Loaded);
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
        failpoint::pass(Step::Decided);
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
        let serving = &self.serving;
        serving.waits.note(&asked, &loaded, cap, |stored| serving.reads(stored), now);
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
        let now = self.shared.ports.clock.now();
        let flagged = self.shared.settings.retention.journal;
        let situation = Situation {
            restored_at: loaded.endpoint.restored_at.filter(|at| later(*at, flagged) > now),
            endpoint: self.serving.endpoint.name.clone(),
            saga: self.serving.saga.clone(),
            loaded,
            origins: round.origins.clone(),
            forced: round.forced.clone(),
            now,
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
                let step = |n| {
                    progress.store(n, Ordering::Relaxed);
                    failpoint::pass(Step::Deciding);
                };
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

/// The batch back from the thread. A thread that was given up keeps its share, so it is taken over
/// by a copy of the references only when nobody else holds it.
fn unwrap(batch: Arc<Vec<Incoming>>) -> Vec<Incoming> {
    Arc::try_unwrap(batch).unwrap_or_else(|shared| shared.iter().map(Incoming::clone).collect())
}
