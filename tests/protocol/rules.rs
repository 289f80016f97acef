//! What is checked: how much of everything there is, and which rules are kept.

use crate::words::Id;

/// A rule of the protocol that can be broken, to see that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A commit holds the endpoint's shared fence, a verb its exclusive one.
    Fence,
    /// The epoch is read by a statement after the one that takes the lock.
    EpochAfterLock,
    /// A commit compares the guard's version with the one it was decided at.
    GuardCompared,
    /// A commit compares the instance's version with the one it was decided at.
    VersionCompared,
    /// A delivery from the broker is acked after the commit.
    AckAfterCommit,
    /// A tombstone is an update of the row, never a delete and an insert.
    TombstoneInPlace,
    /// A release goes under a new id.
    ReleaseUnderNewId,
    /// What failed comes back from the snapshot under an id that the journal does not have: a new
    /// one, or the failure itself is journaled under another.
    RetryUnderNewId,
    /// A round that is not the first one after the commit asks for withdrawn runs.
    RelayAsks,
    /// A release starts whatever is blocked: a person has decided.
    ReleasePassesBlocks,
    /// A message that a tombstone is to hold is parked only while that tombstone stands.
    HoldCompared,
    /// Messages held by a tombstone go when the instance begins anew.
    HeldGoWithNewRun,
    /// A purge takes the run's timers away.
    PurgeTakesTimers,
    /// A timer names its run, and another run's does nothing.
    TimerNamesRun,
    /// A verb looks at the scene when the fence is closed, not before.
    SceneUnderFence,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Starts a run.
    Start,
    /// The same content as the start message, under another id.
    Copy,
    /// Goes to the run that is there.
    Next,
    /// A timer.
    Timer,
}

/// What a failed run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The endpoint is halted.
    Endpoint,
    /// The instance's later messages wait.
    Instance,
    /// The queue flows.
    Nothing,
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Stops the endpoint.
    Halt,
    /// Stops its intake.
    Pause,
    /// Opens it.
    Resume,
    /// Ends the run.
    Purge,
    /// Lets a set-aside message go.
    Release(Id),
    /// Lets copies of it start again.
    Unblock(Id),
    /// Gives a set-aside message up.
    Drop(Id),
    /// Brings the run of an incident back.
    Retry(u8),
    /// Accepts its loss.
    Resolve(u8),
    /// Accepts its loss and deletes what was kept.
    Discard(u8),
}

impl Verb {
    /// Its place in [`Bounds::verbs`].
    pub(crate) fn index(self) -> usize {
        match self {
            Verb::Halt => 0,
            Verb::Pause => 1,
            Verb::Resume => 2,
            Verb::Purge => 3,
            Verb::Release(_) => 4,
            Verb::Unblock(_) => 5,
            Verb::Drop(_) => 6,
            Verb::Retry(_) => 7,
            Verb::Resolve(_) => 8,
            Verb::Discard(_) => 9,
        }
    }
}

/// How many verbs there are.
pub(crate) const VERBS: usize = 10;

/// How much of everything there is. One instance, two nodes and two messages there are always.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The two messages in the queue; the first is a start.
    pub messages: [Kind; 2],
    /// What may fail.
    pub failing: &'static [Kind],
    /// How often.
    pub faults: u8,
    /// What a failed run does.
    pub reaction: Reaction,
    /// How often each verb may be asked for, in the order of [`Verb`].
    pub verbs: [u8; VERBS],
    /// Verbs in all.
    pub orders: u8,
    /// Nodes that die, or stall until their lease is past.
    pub crashes: u8,
    /// First rounds that find the broker away.
    pub away: u8,
    /// Whether the statements of a commit are steps of their own; else a commit is one step.
    pub fine: bool,
    /// Whether verbs come from two places, and the history of all of it is kept and judged.
    pub desks: bool,
}

impl Bounds {
    /// A start and a message at which the run may fail; every verb once, two in all; one crash.
    pub fn small() -> Bounds {
        Bounds {
            messages: [Kind::Start, Kind::Next],
            failing: &[Kind::Next],
            faults: 1,
            reaction: Reaction::Endpoint,
            verbs: [1; VERBS],
            orders: 2,
            crashes: 1,
            away: 0,
            fine: false,
            desks: false,
        }
    }
}

/// The protocol within bounds, with some rules broken.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How much of everything.
    pub bounds: Bounds,
    /// The rules that are not kept.
    pub broken: Vec<Rule>,
}

impl Protocol {
    /// With every rule kept.
    pub fn sound(bounds: Bounds) -> Protocol {
        Protocol { bounds, broken: Vec::new() }
    }

    /// With these rules broken.
    pub fn without(bounds: Bounds, broken: &[Rule]) -> Protocol {
        Protocol { bounds, broken: broken.to_vec() }
    }

    /// Whether a rule is kept.
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        !self.broken.contains(&rule)
    }

    /// What a delivery says.
    pub(crate) fn kind(&self, id: Id) -> Kind {
        if crate::words::is_timer(id) {
            return Kind::Timer;
        }
        self.bounds.messages[usize::from(id % 2)]
    }
}
