//! Publishes committed chunks in order, waits for their confirms, and forgets them only then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use knarr_model::failpoint::{self, Step};
use knarr_model::ports::transport::Published;
use knarr_model::quarantine::{Quarantined, Status};
use knarr_model::work::{Chunk, Outgoing};
use knarr_model::{Class, Digest, InstanceId, MessageId, Name, NodeId, RowId, ids};
use tokio::sync::mpsc;

use super::backlog::{Backlog, Waiting};
use super::{lease, sent};
use crate::shared::{DOUBT, Finished, Handed, Shared};

/// Where a relay gets its chunks and leaves the ids of finished ones.
pub(crate) struct RelaySeat {
    pub(crate) chunks: mpsc::Receiver<Handed>,
    pub(crate) finished: Arc<Finished>,
}

/// A round that begins so soon after its commit needs no look at what was withdrawn since.
const FRESH: Duration = Duration::from_secs(1);
/// Chunks taken to the wire in one go at most.
const CHUNKS_AT_ONCE: usize = 8;

/// One lane's way out.
struct Relay {
    shared: Arc<Shared>,
    finished: Arc<Finished>,
    /// Chunks that are not finished.
    open: BTreeMap<RowId, Open>,
    backlog: Backlog,
    node: NodeId,
}

/// A chunk of which messages are still to go.
struct Open {
    endpoint: Name,
    /// Bytes of their bodies.
    left: BTreeMap<MessageId, usize>,
}

/// Publishes what its lane commits until the lane is gone and everything has been tried.
pub(crate) async fn run(shared: Arc<Shared>, mut seat: RelaySeat) {
    let node = shared.node.id();
    let mut relay = Relay {
        finished: seat.finished.clone(),
        open: BTreeMap::new(),
        backlog: Backlog::default(),
        node,
        shared,
    };
    let mut handed = Vec::new();
    loop {
        let more = relay.wait(&mut seat, &mut handed).await;
        if !more && handed.is_empty() {
            break;
        }
        if !lease::valid(&relay.shared).await {
            break;
        }
        relay.publish(std::mem::take(&mut handed)).await;
    }
    relay.flush().await;
}

impl Relay {
    /// Waits for chunks, a destination that is due, or the time to delete finished rows. `false`
    /// when the lane is gone.
    async fn wait(&mut self, seat: &mut RelaySeat, handed: &mut Vec<Handed>) -> bool {
        let clock = self.shared.ports.clock.clone();
        let flush_after = self.shared.settings.finish_chunks_after;
        loop {
            let now = clock.monotonic();
            let next = self.backlog.next().map(|due| due.saturating_sub(now));
            let retry = next.unwrap_or(Duration::from_secs(3600));
            tokio::select! {
                biased;
                count = seat.chunks.recv_many(handed, CHUNKS_AT_ONCE) => return count > 0,
                () = clock.sleep(retry), if next.is_some() => return true,
                () = clock.sleep(flush_after), if !self.finished.is_empty() => self.flush().await,
                () = self.finished.came_back() => {}
            }
        }
    }

    async fn publish(&mut self, handed: Vec<Handed>) {
        let clock = self.shared.ports.clock.clone();
        let node = self.shared.node.id();
        if node != self.node {
            // The lease was lost: these rows are taken over by whoever is alive, perhaps by us.
            for open in self.open.values() {
                self.shared.unsent.take(open.left.len(), open.left.values().sum());
            }
            let chunks: Vec<_> = self.open.keys().copied().collect();
            self.shared.let_go_chunks(&chunks);
            self.open.clear();
            self.backlog.clear();
            self.node = node;
        }
        let now = clock.now();
        let due = self.backlog.due(clock.monotonic());
        let (stale, mut batch): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|waiting| is_stale(&waiting.message, now));
        for waiting in stale {
            self.done(&waiting);
        }
        let mut fresh = Vec::new();
        for Handed { chunk, node, committed_at } in handed {
            if node != self.node {
                let bytes = chunk.messages.iter().map(|message| message.body.len()).sum();
                self.shared.unsent.take(chunk.messages.len(), bytes);
                self.shared.let_go_chunks(&[chunk.id]);
                continue;
            }
            let first = committed_at.is_some_and(|at| clock.monotonic() - at <= FRESH);
            self.open(&chunk, if first { &mut fresh } else { &mut batch });
        }
        let mut batch = self.without_withdrawn(batch).await;
        batch.append(&mut fresh);
        if batch.is_empty() {
            self.backlog.concluded();
            return;
        }
        let messages: Vec<Outgoing> = batch.iter().map(|w| w.message.clone()).collect();
        failpoint::pass(Step::BeforePublish);
        let answers = self.shared.ports.transport.publish(&messages).await;
        failpoint::pass(Step::Confirmed);
        sent::tell(&self.shared.traces, messages.iter().zip(&answers), now, clock.now());
        self.conclude(batch, answers).await;
        self.backlog.concluded();
    }

    /// Leaves out messages of runs that have been purged since they were committed. The round right
    /// after a commit needs no such look: that commit compared the guard's version under the fence.
    async fn without_withdrawn(&mut self, batch: Vec<Waiting>) -> Vec<Waiting> {
        if self.shared.settings.mutations().ignore_withdrawn {
            return batch;
        }
        let mut runs: BTreeMap<Name, BTreeSet<(InstanceId, u32)>> = BTreeMap::new();
        for waiting in &batch {
            if let (Some(open), Some(of)) =
                (self.open.get(&waiting.chunk), waiting.message.sequence)
            {
                runs.entry(open.endpoint.clone()).or_default().insert((of.instance, of.run));
            }
        }
        let mut withdrawn = BTreeSet::new();
        for (endpoint, runs) in runs {
            let asked: Vec<_> = runs.into_iter().collect();
            match self.shared.ports.store.withdrawn(&endpoint, &asked).await {
                Ok(found) => {
                    withdrawn.extend(found.into_iter().map(|run| (endpoint.clone(), run)));
                }
                Err(error) => {
                    // What may be withdrawn is not sent on a guess.
                    tracing::warn!(%endpoint, "messages wait for the store: {error}");
                    let clock = &self.shared.ports.clock;
                    let (now, spread) = (clock.monotonic(), clock.random(1000));
                    self.backlog.failed(batch, now, spread);
                    return Vec::new();
                }
            }
        }
        let mut going = Vec::with_capacity(batch.len());
        for waiting in batch {
            let run = waiting.message.sequence.map(|of| (of.instance, of.run));
            let of = self.open.get(&waiting.chunk).map(|open| open.endpoint.clone());
            if of.zip(run).is_some_and(|of| withdrawn.contains(&of)) {
                tracing::info!(id = %waiting.message.id, "not sent: its run was purged");
                self.done(&waiting);
            } else {
                going.push(waiting);
            }
        }
        going
    }

    /// Takes a chunk on: its messages go now, or wait behind those that could not go.
    fn open(&mut self, chunk: &Chunk, batch: &mut Vec<Waiting>) {
        if self.shared.settings.mutations().finish_before_confirm {
            self.finished.add(chunk.id);
        }
        let left = chunk.messages.iter().map(|it| (it.id, it.body.len())).collect();
        self.open.insert(chunk.id, Open { endpoint: chunk.endpoint.clone(), left });
        let now = self.shared.ports.clock.now();
        for message in &chunk.messages {
            let waiting = Waiting { chunk: chunk.id, message: message.clone() };
            if is_stale(message, now) {
                self.done(&waiting);
            } else if !self.backlog.keeps(&waiting) {
                batch.push(waiting);
            }
        }
    }

    async fn conclude(&mut self, batch: Vec<Waiting>, answers: Vec<Published>) {
        debug_assert_eq!(batch.len(), answers.len());
        let mut failed = Vec::new();
        let mut aside: Vec<(Waiting, Class, String)> = Vec::new();
        let mut confirmed = 0;
        for (waiting, answer) in batch.into_iter().zip(answers) {
            match answer {
                Published::Confirmed => {
                    confirmed += 1;
                    self.done(&waiting);
                }
                Published::Returned(reason) | Published::Impossible(reason) => {
                    aside.push((waiting, Class::Unroutable, reason));
                }
                Published::Unknown(reason) => {
                    tracing::debug!(id = %waiting.message.id, "published again later: {reason}");
                    failed.push(waiting);
                }
            }
        }
        let counters = &self.shared.counters;
        counters.published.add(confirmed);
        counters.republished.add(failed.len());
        let clock = &self.shared.ports.clock;
        let (now, spread) = (clock.monotonic(), clock.random(1000));
        if failed.is_empty() {
            self.backlog.worked(now);
        } else {
            tracing::warn!(count = failed.len(), "messages wait for the broker");
            self.backlog.failed(failed, now, spread);
        }
        if !aside.is_empty() {
            self.set_aside(aside).await;
        }
    }

    /// One message of a chunk is through; the chunk may be finished with it.
    fn done(&mut self, waiting: &Waiting) {
        let Some(open) = self.open.get_mut(&waiting.chunk) else { return };
        if let Some(bytes) = open.left.remove(&waiting.message.id) {
            self.shared.unsent.take(1, bytes);
        }
        if self.open[&waiting.chunk].left.is_empty() {
            self.open.remove(&waiting.chunk);
            self.finished.add(waiting.chunk);
        }
    }

    /// Messages that no queue takes go to quarantine, and out of their chunk, in one step.
    async fn set_aside(&mut self, aside: Vec<(Waiting, Class, String)>) {
        let mut by_chunk: BTreeMap<RowId, Vec<(Waiting, Class, String)>> = BTreeMap::new();
        for entry in aside {
            by_chunk.entry(entry.0.chunk).or_default().push(entry);
        }
        for (chunk, entries) in by_chunk {
            let Some(open) = self.open.get(&chunk) else { continue };
            let endpoint = open.endpoint.clone();
            let going: BTreeSet<_> = entries.iter().map(|(w, _, _)| w.message.id).collect();
            let left: BTreeSet<_> =
                open.left.keys().filter(|id| !going.contains(id)).copied().collect();
            let rows: Vec<_> = entries
                .iter()
                .map(|(waiting, class, reason)| {
                    self.quarantined(&endpoint, &waiting.message, *class, reason)
                })
                .collect();
            let left = self.backlog.messages_of(chunk, &left);
            let stored = self.shared.ports.store.shrink_chunk(chunk, &left, &rows).await;
            match stored {
                Ok(()) => {
                    self.shared.counters.unroutable.add(rows.len());
                    for (waiting, class, reason) in &entries {
                        tracing::warn!(
                            id = %waiting.message.id, exchange = %waiting.message.exchange,
                            class = %class, "an outgoing message was set aside: {reason}"
                        );
                        self.done(waiting);
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot set outgoing messages aside yet: {error}");
                    let clock = &self.shared.ports.clock;
                    let (now, spread) = (clock.monotonic(), clock.random(1000));
                    let again = entries.into_iter().map(|(waiting, _, _)| waiting).collect();
                    self.backlog.failed(again, now, spread);
                }
            }
        }
    }

    fn quarantined(
        &self,
        endpoint: &Name,
        message: &Outgoing,
        class: Class,
        reason: &str,
    ) -> Quarantined {
        let digest = Digest::of_bytes(&message.body);
        let saga = self.shared.endpoints.get(endpoint).map(|s| s.saga.name().clone());
        let reason = format!("to exchange `{}`: {reason}", message.exchange);
        Quarantined {
            id: ids::derived_id(&[b"unroutable", endpoint.as_bytes(), message.id.as_bytes()]),
            endpoint: endpoint.clone(),
            saga: saga.unwrap_or_else(|| endpoint.clone()),
            message_id: message.id,
            digest,
            class,
            errors: vec![reason.clone()],
            reason,
            instance: message.sequence.map(|sequence| sequence.instance),
            run: message.sequence.map(|sequence| sequence.run),
            state: None,
            attempts: 1,
            message_types: Vec::new(),
            content_type: Some(message.content_type.clone()),
            headers: message.headers.clone(),
            size: message.body.len() as u64,
            body: message.body.clone(),
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            fingerprint: None,
            definition_version: 0,
            at: self.shared.ports.clock.now(),
            status: Status::Held,
            incident: None,
            copies: 0,
            released_as: None,
            edits: Vec::new(),
        }
    }

    /// Deletes finished rows that no commit has taken along.
    async fn flush(&self) {
        let chunks = self.finished.take();
        if chunks.is_empty() {
            return;
        }
        failpoint::pass(Step::BeforeFinish);
        match self.shared.ports.store.finish_chunks(&chunks).await {
            Ok(()) => {
                failpoint::pass(Step::Finished);
                self.shared.let_go_chunks(&chunks);
            }
            Err(error) => {
                tracing::debug!("finished chunks stay for now: {error}");
                self.finished.put_back(chunks);
                self.shared.back_off(1).await;
            }
        }
    }
}

/// Whether a message is of no use to anybody any more.
fn is_stale(message: &Outgoing, now: DateTime<Utc>) -> bool {
    message.expires_at.is_some_and(|end| end <= now)
}

/// Takes over chunks of nodes whose lease is past, and own ones of commits whose outcome was not
/// known, and spreads them over the relays.
pub(crate) async fn take_over(shared: Arc<Shared>, relays: Vec<mpsc::WeakSender<Handed>>) {
    let mut doubts = 0;
    let mut look_until = Duration::ZERO;
    let mut next = 0;
    // "The store was away" is not "all others are dead": one full lease is waited first.
    shared.pause(shared.settings.lease).await;
    while lease::valid(&shared).await && !shared.is_stopping() {
        let node = shared.node.id();
        let now = shared.ports.clock.monotonic();
        let seen = shared.doubts.load(Ordering::Relaxed);
        if seen != doubts {
            // A commit that was given up may still be carried out: one look is not enough.
            doubts = seen;
            look_until = now + DOUBT;
        }
        match find(&shared, node, now < look_until).await {
            Ok((chunks, more)) => {
                for chunk in chunks {
                    next = (next + 1) % relays.len().max(1);
                    let Some(relay) = relays[next].upgrade() else { return };
                    shared.hold_chunks([chunk.id]);
                    shared.unsent.add(&chunk.messages);
                    let _ = relay.send(Handed { chunk, node, committed_at: None }).await;
                }
                if !more {
                    shared.pause(shared.settings.poll).await;
                }
            }
            Err(error) => {
                tracing::warn!("cannot look for orphaned outbox rows: {error}");
                // The answer may be lost and the rows taken all the same.
                shared.doubts.fetch_add(1, Ordering::Relaxed);
                shared.pause(shared.settings.lease).await;
            }
        }
    }
}

/// What is found, and whether there may be more at once. While as much waits here as may, nothing of
/// others is taken.
async fn find(
    shared: &Shared,
    node: NodeId,
    doubtful: bool,
) -> Result<(Vec<Chunk>, bool), knarr_model::ports::StoreError> {
    let store = &shared.ports.store;
    let mut chunks = match shared.is_full() {
        true => Vec::new(),
        false => store.take_chunks(node, CHUNKS_AT_ONCE).await?,
    };
    let more = chunks.len() >= CHUNKS_AT_ONCE;
    if doubtful {
        let mut known = shared.chunks_in_hand();
        known.extend(chunks.iter().map(|chunk| chunk.id));
        chunks.extend(store.own_chunks(node, &known).await?);
    }
    Ok((chunks, more))
}
