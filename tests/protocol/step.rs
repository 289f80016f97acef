//! The steps that somebody can take.

use crate::rules::Verb;
use crate::words::From;

/// One step of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(private_interfaces, reason = "steps are shown, not made, outside")]
pub enum Step {
    /// A lane takes a delivery, loads and decides; it may fail.
    Take(u8, From, bool),
    /// It loads and decides again.
    Look(u8, bool),
    /// The whole commit.
    Commit(u8),
    /// The commit's lock.
    Fence(u8),
    /// Its check of the endpoint's row.
    Check(u8),
    /// Its writing, and the commit itself.
    Write(u8),
    /// A failed run is contained.
    Contain(u8),
    /// A delivery is acked.
    Ack(u8),
    /// A run's chunk is published.
    Publish(u8, u8),
    /// Its row is deleted.
    Confirm(u8, u8),
    /// The broker is away in its first round.
    Away(u8, u8),
    /// A later round begins.
    Round(u8, u8),
    /// A chunk that nobody publishes is taken over.
    Adopt(u8, u8),
    /// A verb.
    Order(Verb),
    /// A verb is asked for at a desk.
    Ask(u8, Verb),
    /// It is carried out.
    Do(u8),
    /// A tombstone that was deleted is inserted.
    Bury,
    /// A node dies.
    Crash(u8),
    /// A node stands still until its lease is past.
    Stall(u8),
    /// A dead node's lease is past.
    Expire(u8),
}
