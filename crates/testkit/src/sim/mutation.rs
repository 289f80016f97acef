//! Rules that can be broken on purpose.

/// A rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Deliveries are acked before their commit.
    AckBeforeCommit,
    /// Commits write no journal rows.
    NoJournal,
    /// Commits write instances whatever version is stored.
    NoVersionCheck,
    /// Outbox rows are deleted before their messages are confirmed.
    ChunkDeletedEarly,
    /// A cancelled or replaced timer fires all the same.
    TimerTokenIgnored,
    /// A copy of a parked message is taken for a new one.
    ParkedNotChecked,
    /// Commits do not look at the endpoint's epoch.
    NoFence,
    /// Commits read the endpoint's epoch in the statement that waits for the fence.
    EpochReadWithLock,
    /// A tombstone is the instance's row deleted and another inserted.
    TombstoneInserted,
    /// A set-aside message is let go under its old id.
    ReleaseUnderOldId,
    /// Messages of purged runs are sent all the same.
    WithdrawnIgnored,
    /// Every message of a batch is blamed for a death, as if it had been alone.
    IntentForTheWholeBatch,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Mutation; 12] = [
        Mutation::AckBeforeCommit,
        Mutation::NoJournal,
        Mutation::NoVersionCheck,
        Mutation::ChunkDeletedEarly,
        Mutation::TimerTokenIgnored,
        Mutation::ParkedNotChecked,
        Mutation::NoFence,
        Mutation::EpochReadWithLock,
        Mutation::TombstoneInserted,
        Mutation::ReleaseUnderOldId,
        Mutation::WithdrawnIgnored,
        Mutation::IntentForTheWholeBatch,
    ];
}
