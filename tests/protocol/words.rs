//! The words of the model: ids, rows, and where each thing can be.

/// A delivery's id: which message or timer, and under which of its ids.
///
/// 0 and 1 are the broker's messages, 2 to 5 releases (`id + 2`), 6 to 11 what failed and came back
/// with its run (`id + 6`), 12 to 14 the timers of the runs, 15 to 17 the same come back.
pub(crate) type Id = u8;

/// How many ids there are.
pub(crate) const IDS: usize = 19;
/// How many runs there may be.
pub(crate) const RUNS: usize = 4;
/// Nodes.
pub(crate) const NODES: usize = 2;
/// What came back once and failed again: it is kept, and no bound lets it come back a second time.
pub(crate) const BEYOND: Id = 18;

/// The id under which a set-aside message is released.
pub(crate) fn release_of(id: Id) -> Id {
    id + 2
}

/// The id under which what failed comes back with its run.
pub(crate) fn again_of(id: Id) -> Id {
    match id {
        0..=5 => id + 6,
        12..=14 => id + 3,
        _ => BEYOND,
    }
}

/// The id of a run's timer.
pub(crate) fn timer_of(run: u8) -> Id {
    11 + run
}

/// Whether a delivery is a timer.
pub(crate) fn is_timer(id: Id) -> bool {
    (12..BEYOND).contains(&id)
}

/// The run of a timer.
pub(crate) fn run_of_timer(id: Id) -> u8 {
    if id < 15 { id - 11 } else { id - 14 }
}

/// Whether it comes from the broker.
pub(crate) fn is_broker(id: Id) -> bool {
    id < 2
}

/// Whether it is a release.
pub(crate) fn is_release(id: Id) -> bool {
    (2..6).contains(&id)
}

/// The ids of a set, from the lowest.
pub(crate) fn ids(set: u32) -> impl Iterator<Item = Id> {
    (0..IDS as Id).filter(move |id| set & (1 << id) != 0)
}

/// A message in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    Queued,
    With(u8),
    Acked,
}

/// A row that is an internal delivery: a timer, or a parked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wait {
    Absent,
    Ready,
    /// By the guard, until its incident ends.
    Held,
    Claimed(u8),
}

/// The outcome in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    None,
    Applied,
    Ignored,
    Absorbed,
    Blocked,
    /// Set aside, or the delivery at which a run failed.
    Aside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Gate {
    Open,
    Paused,
    Halted,
}

/// The endpoint's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) gate: Gate,
    pub(crate) epoch: u8,
    pub(crate) guard: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    Live,
    Done,
    Purged,
}

/// The instance's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) run: u8,
    pub(crate) life: Life,
    pub(crate) version: u8,
    /// Messages applied in this run.
    pub(crate) applied: u8,
    /// The message that began it.
    pub(crate) origin: Id,
    /// A tombstone that holds later messages.
    pub(crate) holds: bool,
}

/// What a run's first commit sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Chunk {
    Never,
    Ready,
    Of(u8),
    /// In an incident's snapshot.
    Kept,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    Never,
    Held,
    Released,
    /// Its run came back.
    Lifted,
    Dropped,
}

/// A set-aside message, and whether it blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Aside {
    pub(crate) status: Status,
    pub(crate) blocks: bool,
}

impl Aside {
    /// None.
    pub(crate) const NEVER: Aside = Aside { status: Status::Never, blocks: false };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Open,
    Retried,
    Resolved,
    Discarded,
}

/// An incident with its snapshot of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incident {
    pub(crate) end: End,
    pub(crate) row: Row,
    /// Rows around the run, as a set of ids.
    pub(crate) kept: u32,
    /// Whether what the run sends had not been confirmed.
    pub(crate) unsent: bool,
    /// Whether its start message was set aside.
    pub(crate) aside: bool,
}

/// A delivery, and whether the broker brought it: else it is a row of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct From {
    pub(crate) id: Id,
    pub(crate) broker: bool,
}

/// What a node decided, and at what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Decided {
    pub(crate) from: From,
    pub(crate) epoch: u8,
    pub(crate) guard: u8,
    /// The instance's version; 0 when there was none.
    pub(crate) version: u8,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum What {
    /// The journal has it.
    Seen,
    Begin(u8),
    Apply,
    Finish,
    Ignore,
    Absorb,
    Blocked,
    /// No instance is there: set aside.
    Missing,
    /// It waits for the incident's end.
    Hold,
    /// The run failed; 0 when there was none.
    Fail(u8),
}

/// Where a node's lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    Idle,
    /// To be looked at again.
    Has(From),
    Decided(Decided),
    /// It has read the epoch and waits for the lock: only where that rule is broken.
    Asking(Decided, bool),
    Fenced(Decided),
    Checked(Decided),
    /// Committed; the broker waits for its ack.
    Written(From),
}

/// A chunk in a node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Hand {
    Empty,
    /// In the round right after its commit.
    First,
    /// To be sent in a later round.
    Later,
    /// In a later round; whether its run was withdrawn when the round began.
    Round(bool),
    /// Published, its row not yet deleted.
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Node {
    pub(crate) phase: Phase,
    pub(crate) hands: [Hand; RUNS],
    /// Dead, its lease not yet past.
    pub(crate) down: bool,
}

/// All that one verb writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Plan {
    pub(crate) endpoint: Endpoint,
    pub(crate) deed: Deed,
}

/// What it writes beyond the endpoint's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    Nothing,
    Purge(Row),
    Release(Id),
    Unblock(Id),
    Drop(Id),
    Retry(u8),
    End(u8, End),
}
