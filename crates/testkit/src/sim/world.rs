//! What all simulated parts share: chance, the log of what happened, and what must not have.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use knarr_model::MessageId;
use knarr_model::work::Outgoing;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::broker::Broker;
use super::dice::{Dice, Faults};
use super::ledger::Ledger;

/// The world of one seed.
pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) broker: Broker,
    began: Instant,
    history: Mutex<History>,
    ledger: Mutex<Ledger>,
    /// What has just been decided kills its process.
    doomed: AtomicBool,
}

#[derive(Default)]
struct History {
    hash: u64,
    events: u64,
    verbose: bool,
    violations: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults, verbose: bool) -> Arc<Self> {
        Arc::new(World {
            dice: Dice::new(seed, faults),
            broker: Broker::default(),
            began: Instant::now(),
            history: Mutex::new(History { verbose, ..History::default() }),
            ledger: Mutex::default(),
            doomed: AtomicBool::new(false),
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

    /// How long the world has been there.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The process that decides now dies of it.
    pub(super) fn doom(&self) {
        self.doomed.store(true, Ordering::Relaxed);
    }

    /// Whether the process that has just decided dies of it.
    pub(super) fn take_doom(&self) -> bool {
        self.doomed.swap(false, Ordering::Relaxed)
    }

    /// Looks into the ledger, or writes in it.
    pub(super) fn ledger<R>(&self, look: impl FnOnce(&mut Ledger) -> R) -> R {
        look(&mut self.ledger.lock())
    }

    /// Writes in the ledger what may turn out to be wrong.
    pub(super) fn judge(&self, look: impl FnOnce(&mut Ledger, &mut Vec<String>)) {
        let mut wrong = Vec::new();
        self.ledger(|ledger| look(ledger, &mut wrong));
        for text in wrong {
            self.violation(text);
        }
    }

    /// Notes a message that reached the outside; `first` when its node had not tried it before.
    pub(super) fn published(&self, message: &Outgoing, first: bool) {
        let now = self.now();
        self.judge(|ledger, wrong| ledger.published(message, first, now, wrong));
    }

    /// Notes a failed attempt that was committed: each number once, in order.
    pub(super) fn attempted(&self, message: MessageId, attempt: u32) {
        self.judge(|ledger, wrong| ledger.attempted(message, attempt, wrong));
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
