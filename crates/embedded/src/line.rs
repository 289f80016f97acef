//! One queue's messages in hand: which consumer of this process has which, and what came back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::Error;
use crate::file::File;
use crate::queue::{self, Stored};
use crate::writer::Ended;

/// One queue's messages in hand. The file has the messages; who holds one is known in memory only,
/// for it is of no use after this process.
pub(crate) struct Line {
    queue: String,
    state: Mutex<State>,
    /// One consumer at a time looks for messages, or two would take the same.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Everything up to here has been handed out, but for what came `back`.
    upto: i64,
    back: BTreeSet<i64>,
    /// How often this process handed out what came back at least once.
    times: BTreeMap<i64, u32>,
    /// In hand, by tag. A delivery that comes again has another tag.
    leased: BTreeMap<u64, Lease>,
    last_tag: u64,
    /// Acknowledged, but not yet deleted.
    gone: BTreeSet<i64>,
    /// Acknowledged, and deleting failed: deleted along with the next ones.
    undeleted: BTreeSet<i64>,
    /// The file may have messages after `upto`.
    more: bool,
    /// What the file says has been handed out.
    handed: i64,
    consumers: u32,
    prefetch: usize,
}

/// One message in hand.
#[derive(Clone, Copy, Debug)]
struct Lease {
    n: i64,
    generation: u64,
}

/// A message that was handed out.
pub(crate) struct Handed {
    pub(crate) tag: u64,
    pub(crate) message: Stored,
}

impl State {
    /// A message goes back to its place.
    fn put_back(&mut self, n: i64) {
        self.back.insert(n);
        *self.times.entry(n).or_insert(0) += 1;
    }
}

impl Line {
    pub(crate) fn new(queue: &str) -> Line {
        let state = State { more: true, ..State::default() };
        Line {
            queue: queue.to_owned(),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
        }
    }

    /// A consumer begins.
    pub(crate) fn enter(&self, prefetch: usize) {
        let mut state = self.state.lock();
        state.consumers += 1;
        state.prefetch += prefetch;
    }

    /// A consumer ends: what it has in hand goes back to its place.
    pub(crate) fn leave(&self, generation: u64, prefetch: usize) {
        let mut state = self.state.lock();
        let left: Vec<Lease> = state
            .leased
            .extract_if(.., |_, lease| lease.generation == generation)
            .map(|(_, lease)| lease)
            .collect();
        left.iter().for_each(|lease| state.put_back(lease.n));
        state.consumers = state.consumers.saturating_sub(1);
        state.prefetch = state.prefetch.saturating_sub(prefetch);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Messages may have come.
    pub(crate) fn wake(&self) {
        self.state.lock().more = true;
        self.changed.notify_waiters();
    }

    /// Told of every change after this call.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Whether a message added now is handed out at once: then that is noted in the same
    /// transaction, which saves one.
    pub(crate) fn is_eager(&self) -> bool {
        let state = self.state.lock();
        !state.more && state.back.is_empty() && state.leased.len() < state.prefetch
    }

    /// The file says that everything up to `n` is in hand.
    pub(crate) fn handed(&self, n: i64) {
        let mut state = self.state.lock();
        state.handed = state.handed.max(n);
    }

    /// How many messages a consumer has in hand.
    pub(crate) fn in_hand(&self, generation: u64) -> usize {
        let state = self.state.lock();
        state.leased.values().filter(|lease| lease.generation == generation).count()
    }

    /// Consumers, and messages that the file still has although nobody waits for them.
    fn spoken_for(&self) -> (u32, u64) {
        let state = self.state.lock();
        (state.consumers, (state.leased.len() + state.gone.len()) as u64)
    }

    /// Takes up to `max` messages in order for the consumer `generation`. Cancel-safe.
    pub(crate) async fn take(
        &self,
        file: &File,
        generation: u64,
        max: usize,
        look_anyway: bool,
    ) -> Result<Vec<Handed>, Error> {
        let _turn = self.turn.lock().await;
        let Some((upto, back)) = self.look(max, look_anyway) else { return Ok(Vec::new()) };
        let mut unread = Unread { line: self, more: true };
        let (queue, limit) = (self.queue.clone(), max);
        let found = file
            .ask(move |c| async move { queue::find(c, &queue, upto, back, limit).await }.boxed());
        let found = found.await?;
        let Some(highest) = found.iter().map(|message| message.n).max() else {
            unread.more = false;
            return Ok(Vec::new());
        };
        // Before anything is handed out the file must know of it, or a message that kills the
        // process each time would look new each time.
        if highest > self.state.lock().handed {
            let queue = self.queue.clone();
            let note = file.write(move |c| {
                async move { queue::hand(c, &queue, highest).await.map(Ended::Kept) }.boxed()
            });
            note.await?;
        }
        let mut state = self.state.lock();
        state.handed = state.handed.max(highest);
        state.upto = state.upto.max(highest);
        unread.more = found.len() >= max;
        let handed = found.into_iter().map(|mut message| {
            let n = message.n;
            state.back.remove(&n);
            message.delivery_count += state.times.get(&n).copied().unwrap_or(0);
            state.last_tag += 1;
            let tag = state.last_tag;
            state.leased.insert(tag, Lease { n, generation });
            Handed { tag, message }
        });
        let handed = handed.collect();
        drop(state);
        Ok(handed)
    }

    fn look(&self, max: usize, look_anyway: bool) -> Option<(i64, Vec<i64>)> {
        let mut state = self.state.lock();
        if max == 0 || !(state.more || look_anyway || !state.back.is_empty()) {
            return None;
        }
        // Before reading: whoever adds a message while we read says so again.
        state.more = false;
        Some((state.upto, state.back.iter().take(max).copied().collect()))
    }

    /// Settles what `generation` has in hand; what it has not is passed over. Returns how many were
    /// settled, and which messages may be deleted.
    pub(crate) fn settle(
        &self,
        generation: u64,
        settled: impl Iterator<Item = (u64, bool)>,
    ) -> (usize, Vec<i64>) {
        let mut state = self.state.lock();
        let (mut count, mut done) = (0, Vec::new());
        for (tag, ack) in settled {
            let lease = state.leased.get(&tag).filter(|lease| lease.generation == generation);
            let Some(Lease { n, .. }) = lease.copied() else { continue };
            state.leased.remove(&tag);
            count += 1;
            if ack {
                state.times.remove(&n);
                state.gone.insert(n);
                done.push(n);
            } else {
                state.put_back(n);
            }
        }
        if !done.is_empty() {
            done.extend(std::mem::take(&mut state.undeleted));
        }
        drop(state);
        self.changed.notify_waiters();
        (count, done)
    }

    /// Deletes acknowledged messages, together with whatever is written next. It is not waited for:
    /// a message that comes again after a crash is known to the journal.
    pub(crate) async fn delete(self: &Arc<Self>, file: &File, messages: Vec<i64>) {
        let (line, done) = (self.clone(), messages.clone());
        file.later(
            move |c| async move { queue::remove(c, &messages).await.map(Ended::Kept) }.boxed(),
            move |end| line.deleted(&done, end),
        )
        .await;
    }

    /// How many messages wait, and how many consumers there are.
    pub(crate) async fn depth(&self, file: &File) -> Result<(u64, u32), Error> {
        let queue = self.queue.clone();
        let count = file.ask(move |c| async move { queue::count(c, &queue).await }.boxed()).await?;
        let (consumers, spoken_for) = self.spoken_for();
        Ok((count.saturating_sub(spoken_for), consumers))
    }

    /// What became of deleting acknowledged messages.
    fn deleted(&self, messages: &[i64], end: Result<(), Error>) {
        let mut state = self.state.lock();
        match end {
            Ok(()) => state.gone.retain(|n| !messages.contains(n)),
            Err(error) => {
                tracing::warn!(%error, queue = self.queue, "acknowledged messages stay for now");
                state.undeleted.extend(messages);
            }
        }
    }
}

/// Says on leaving, also by cancellation, whether there may be more to read.
struct Unread<'a> {
    line: &'a Line,
    more: bool,
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if self.more {
            self.line.state.lock().more = true;
        }
    }
}
