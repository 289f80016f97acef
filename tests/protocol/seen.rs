//! What an onlooker of everything would have noticed: faults, and what really happened.

use crate::words::{Id, RUNS, is_timer};

/// Something that must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// A commit at an old epoch, or at a halted endpoint.
    OldEpoch,
    /// A message applied twice in one run.
    Twice,
    /// A purged run began anew without a release, or under its old number.
    Recreated,
    /// A blocked message began a run.
    Blocked,
    /// A released message was let go a second time.
    ReleasedTwice,
    /// A round that began after the purge published.
    WithdrawnSent,
    /// A first round published what the purge did not list as perhaps sent.
    Unlisted,
    /// A version that did not rise by one.
    Version,
    /// A timer of another run, or of a run that has ended, did something.
    OldTimer,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    faults: u16,
    /// Messages (bits 0 and 1) and timer (bit 2) applied, by run.
    applied: [u8; RUNS],
    /// Commits that applied something, by run.
    pub(crate) commits: [u8; RUNS],
    /// Runs whose chunk was published, as a set.
    pub(crate) published: u8,
}

impl Seen {
    pub(crate) fn note(&mut self, fault: Fault) {
        self.faults |= 1 << fault as u8;
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults & (1 << fault as u8) != 0
    }

    /// A message was applied in a run.
    pub(crate) fn apply(&mut self, run: u8, id: Id) {
        let bit = if is_timer(id) { 4 } else { 1 << (id % 2) };
        let run = usize::from(run);
        if self.applied[run] & bit != 0 {
            self.note(Fault::Twice);
        }
        self.applied[run] |= bit;
        self.commits[run] += 1;
    }
}
