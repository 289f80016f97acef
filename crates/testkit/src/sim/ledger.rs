//! What is owed and what was seen: written while it happens, read when the world is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use knarr_model::work::{Chunk, Outgoing, Sequence};
use knarr_model::{Digest, Envelope, InstanceId, MessageId};
use uuid::Uuid;

/// How long a publishing round takes at most, with the look at what is withdrawn before it.
const ROUND: Duration = Duration::from_millis(150);
/// A first round begins so long after its commit at most, without a look at what is withdrawn.
const FRESH: Duration = Duration::from_secs(1);

/// What one world owes, and what was seen of it.
#[derive(Default)]
pub(super) struct Ledger {
    /// Messages that must come to an outcome, and whether they are poison.
    pub(super) owed: BTreeMap<MessageId, bool>,
    /// Messages whose kept bytes a person gave up.
    pub(super) given_up: BTreeSet<MessageId>,
    /// Messages let go, and how much had been written by then.
    pub(super) released: BTreeMap<MessageId, u64>,
    /// The highest version seen of each instance.
    pub(super) versions: BTreeMap<InstanceId, i64>,
    /// The highest epoch and guard version seen.
    pub(super) rank: (i64, i64),
    /// Runs whose messages no longer leave, and since when.
    pub(super) withdrawn: BTreeMap<(InstanceId, u32), Duration>,
    /// Messages committed to leave: their places, and when it was last done.
    pub(super) committed: BTreeMap<MessageId, (Option<Sequence>, Duration)>,
    /// Content of what left, by message id.
    pub(super) left: BTreeMap<MessageId, Digest>,
    /// Ids under which each place left.
    places: BTreeMap<Sequence, MessageId>,
    /// Failed attempts committed so far, by message.
    attempts: BTreeMap<MessageId, u32>,
    /// Messages that have a new budget.
    renewed: BTreeSet<MessageId>,
    /// Verbs that were answered with `Ok`: the audit's line, its key, the verb.
    pub(super) answered: Vec<(Uuid, Option<String>, String)>,
    /// How often each verb and each reaction happened.
    did: BTreeMap<String, u64>,
}

impl Ledger {
    /// Counts a verb or a reaction.
    pub(super) fn did(&mut self, what: impl Into<String>) {
        *self.did.entry(what.into()).or_default() += 1;
    }

    /// All verbs and reactions.
    pub(super) fn all(&self) -> &BTreeMap<String, u64> {
        &self.did
    }

    /// A message that must come to an outcome.
    pub(super) fn owe(&mut self, envelope: &Envelope) {
        self.owed.insert(envelope.message_id, is_poison(envelope));
    }

    /// An endpoint's epoch and guard version never fall.
    pub(super) fn ranked(&mut self, epoch: i64, guard_version: i64, wrong: &mut Vec<String>) {
        if epoch < self.rank.0 || guard_version < self.rank.1 {
            let text = format!("went from {:?} to ({epoch}, {guard_version})", self.rank);
            wrong.push(format!("the endpoint {text}"));
        }
        self.rank = (self.rank.0.max(epoch), self.rank.1.max(guard_version));
    }

    /// An instance is seen at this version, 0 when it is not there.
    pub(super) fn versioned(&mut self, id: InstanceId, version: i64, wrong: &mut Vec<String>) {
        let known = self.versions.entry(id).or_default();
        if version < *known {
            wrong.push(format!("I4 {id} was at version {known} and is at {version}"));
        }
        *known = version.max(*known);
    }

    /// Chunks were committed.
    pub(super) fn committed(&mut self, chunks: &[Chunk], now: Duration) {
        for message in chunks.iter().flat_map(|chunk| &chunk.messages) {
            self.committed.insert(message.id, (message.sequence, now));
        }
    }

    /// A message left: committed before, always the same, and not of a run that is withdrawn.
    pub(super) fn published(
        &mut self,
        message: &Outgoing,
        first: bool,
        now: Duration,
        wrong: &mut Vec<String>,
    ) {
        let (id, sequence) = (message.id, message.sequence);
        if sequence.is_some_and(|sequence| *self.places.entry(sequence).or_insert(id) != id) {
            wrong.push(format!("I3 {sequence:?} was published under several ids"));
        }
        let digest = Digest::of_bytes(&message.body);
        if self.left.insert(id, digest).is_some_and(|before| before != digest) {
            wrong.push(format!("I3 {id} was published with two contents"));
        }
        let Some((_, committed_at)) = self.committed.get(&id) else {
            wrong.push(format!("I3 {id} ({sequence:?}) left but was never committed"));
            return;
        };
        let since = sequence.and_then(|of| self.withdrawn.get(&(of.instance, of.run)));
        let Some(since) = since else { return };
        // What a publisher had in hand may leave; what waited may not.
        let in_hand = now <= *since + ROUND || (first && now <= *committed_at + FRESH + ROUND);
        if !in_hand {
            wrong.push(format!(
                "{id} ({sequence:?}), committed at {committed_at:?}, left at {now:?}: its run is \
                 withdrawn since {since:?}"
            ));
        }
    }

    /// A failed attempt was committed: each number once, in order.
    pub(super) fn attempted(&mut self, message: MessageId, attempt: u32, wrong: &mut Vec<String>) {
        let before = self.attempts.insert(message, attempt).unwrap_or(0);
        // A delivery that was on its way when its run was purged and came back counts on.
        let counts_on = before == 0 && self.renewed.contains(&message);
        if attempt != before + 1 && !counts_on {
            wrong.push(format!("attempt {attempt} of {message} came after attempt {before}"));
        }
    }

    /// The last attempt of a message is counted no more.
    pub(super) fn given_back(&mut self, message: MessageId) {
        if let Some(attempts) = self.attempts.get_mut(&message) {
            *attempts = attempts.saturating_sub(1);
        }
    }

    /// A message has a new budget.
    pub(super) fn anew(&mut self, message: MessageId) {
        self.attempts.remove(&message);
        self.renewed.insert(message);
    }
}

/// Whether a message breaks whoever decides it, or kills the process.
pub(super) fn is_poison(envelope: &Envelope) -> bool {
    let says: Option<serde_json::Value> = serde_json::from_str(envelope.message.get()).ok();
    says.is_some_and(|says| says["poison"] == true || says["kills"] == true)
}

/// Whether a process dies of deciding a message.
pub(super) fn kills(envelope: &Envelope) -> bool {
    // Asked at every decision: most say nothing of the kind.
    envelope.message.get().contains("\"kills\":true")
}
