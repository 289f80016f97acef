//! What all simulated parts share: chance, the log of what happened, and what must not have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use knarr_model::work::{Outgoing, Sequence};
use knarr_model::{Digest, MessageId};
use parking_lot::Mutex;

use super::broker::Broker;
use super::dice::{Dice, Faults};

/// The world of one seed.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) broker: Broker,
    history: Mutex<History>,
}

#[derive(Default)]
struct History {
    hash: u64,
    events: u64,
    verbose: bool,
    violations: Vec<String>,
    /// What reached the outside, by its place in its run.
    published: BTreeMap<Sequence, Vec<MessageId>>,
    /// Content by message id.
    contents: BTreeMap<MessageId, Digest>,
    /// Failed attempts committed so far, by message.
    attempts: BTreeMap<MessageId, u32>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, verbose: bool) -> Arc<Self> {
        Arc::new(World {
            dice: Dice::new(seed, faults),
            broker: Broker::default(),
            history: Mutex::new(History { verbose, ..History::default() }),
        })
    }

    /// Adds a line to the history; its hash tells two runs apart.
    pub(super) fn log(&self, line: impl FnOnce() -> String) {
        let line = line();
        let mut history = self.history.lock();
        for byte in line.bytes() {
            history.hash = (history.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        history.events += 1;
        if history.verbose {
            let text = format!("{:>6} {line}", history.events);
            drop(history);
            say(&text);
        }
    }

    /// Notes that something happened that must never happen.
    pub(super) fn violation(&self, text: String) {
        self.log(|| format!("VIOLATION {text}"));
        self.history.lock().violations.push(text);
    }

    /// Notes a message that reached the outside.
    pub(super) fn published(&self, message: &Outgoing) {
        let digest = Digest::of_bytes(&message.body);
        let mut history = self.history.lock();
        let mut wrong = Vec::new();
        if let Some(sequence) = message.sequence {
            let ids = history.published.entry(sequence).or_default();
            ids.push(message.id);
            if ids.iter().any(|id| *id != message.id) {
                wrong.push(format!("I3 {sequence:?} was published under several ids"));
            }
        }
        if history.contents.insert(message.id, digest).is_some_and(|before| before != digest) {
            wrong.push(format!("I3 {} was published with two contents", message.id));
        }
        drop(history);
        for text in wrong {
            self.violation(text);
        }
    }

    /// Notes a failed attempt that was committed: each number once, in order.
    pub(super) fn attempted(&self, message: MessageId, attempt: u32) {
        let before = self.history.lock().attempts.insert(message, attempt).unwrap_or(0);
        if attempt != before + 1 {
            self.violation(format!("attempt {attempt} of {message} came after attempt {before}"));
        }
    }

    /// What reached the outside so far.
    pub(super) fn outside(&self) -> BTreeMap<Sequence, Vec<MessageId>> {
        self.history.lock().published.clone()
    }

    /// The hash of everything that happened, and everything that must not have.
    pub(super) fn verdict(&self) -> (u64, u64, Vec<String>) {
        let history = self.history.lock();
        (history.hash, history.events, history.violations.clone())
    }

    /// A short wait, as a network or a disk takes.
    pub(super) async fn latency(&self, longest_ms: u64) {
        let ms = self.dice.below(longest_ms + 1);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
}

#[expect(clippy::print_stderr, reason = "a person asked to see one seed's history")]
fn say(text: &str) {
    eprintln!("{text}");
}
