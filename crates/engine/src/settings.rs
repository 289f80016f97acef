//! Every bound and wait of the engine, in one place.

use std::time::Duration;

use knarr_guard::{BreakerSettings, CrashSettings, PeerSettings};

/// How the engine works. Every channel, batch, retry and wait has its bound here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Lanes per endpoint; an instance always travels on the same one.
    pub lanes: usize,
    /// Messages decided and committed together at most.
    pub max_batch: usize,
    /// Batches on the road at once, over all lanes. Fewer than lanes: what arrives meanwhile joins
    /// the next batch, so that batches are small when idle and big when busy, without a wait.
    pub concurrent_batches: usize,
    /// How long a lane under load lets its next batch grow while it is less than half full: fewer
    /// commits leave the broker more of a shared machine. Idle lanes never wait; zero switches it
    /// off.
    pub linger: Duration,
    /// How long one message may be decided before its thread is given up.
    pub decide_deadline: Duration,
    /// Given-up threads after which the process asks to be restarted.
    pub max_abandoned_threads: usize,
    /// How long a node's lease runs.
    pub lease: Duration,
    /// How often the lease is renewed.
    pub renew_every: Duration,
    /// Without a renewal for so long this node stops publishing.
    pub lease_margin: Duration,
    /// The longest wait between two looks for due rows.
    pub poll: Duration,
    /// Rows claimed at once.
    pub claim_limit: usize,
    /// Calls running at once on this node.
    pub max_calls: usize,
    /// Confirmed chunks are deleted with the lane's next commit, or after so long.
    pub finish_chunks_after: Duration,
    /// How often the endpoint's row is read, so that a halt elsewhere is noticed.
    pub endpoint_poll: Duration,
    /// The longest pause between two tries at a store or broker that is away.
    pub longest_backoff: Duration,
    /// How long a stop waits for what is in flight; calls may end by themselves for three quarters
    /// of it, and what they led to is written in the rest.
    pub drain: Duration,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Messages in this node's outbox at which it stops consuming and claiming until they are fewer
    /// than nine tenths of it.
    pub outbox_cap: usize,
    /// Bytes of their bodies at which it does the same.
    pub outbox_bytes: usize,
    /// Bytes of instance data that one batch may hold; a batch that loads more is taken in turns.
    pub batch_bytes: usize,
    /// Messages of one instance that wait in line, at which this node takes in nothing more for its
    /// endpoint until they are fewer than nine tenths of it.
    pub parked_cap: usize,
    /// How long a due row may wait unclaimed before it is told what is missing.
    pub unclaimed_after: Duration,
    /// Bytes of JSON that the data of one instance may have; a message after which they would have
    /// more is set aside, class `constraint`.
    pub max_data: usize,
    /// Whether a `Fault` of a set-aside message is published when the message names no address for
    /// it; faults to an address are always sent.
    pub publish_faults: bool,
    /// Whether a copy of each set-aside message goes to `<endpoint>_error`, for tools that look
    /// there.
    pub mirror_errors: bool,
    /// When so many messages fail that the endpoint is paused instead.
    pub breaker: BreakerSettings,
    /// How messages are dealt with that a process had in hand when it died.
    pub crash: CrashSettings,
    /// When this process takes itself for broken, because its peers do better.
    pub peers: PeerSettings,
    /// Rules switched off, in test builds only.
    #[cfg(feature = "mutations")]
    pub mutations: Mutations,
}

/// How long what is over is kept; set-aside messages and tombstones stay until a person says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Journal rows of ended instances. Within it no message takes effect twice.
    pub journal: Duration,
    /// Finished instances and their business keys; afterwards a start begins afresh.
    pub finished: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let month = Duration::from_secs(30 * 24 * 3600);
        Retention { journal: month, finished: month }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lanes: 8,
            max_batch: 256,
            concurrent_batches: 3,
            linger: Duration::from_millis(12),
            decide_deadline: Duration::from_secs(5),
            max_abandoned_threads: 4,
            lease: Duration::from_secs(10),
            renew_every: Duration::from_secs(3),
            lease_margin: Duration::from_secs(7),
            poll: Duration::from_secs(1),
            claim_limit: 256,
            max_calls: 256,
            finish_chunks_after: Duration::from_millis(250),
            endpoint_poll: Duration::from_secs(1),
            longest_backoff: Duration::from_secs(2),
            drain: Duration::from_secs(8),
            retention: Retention::default(),
            outbox_cap: 100_000,
            outbox_bytes: 1 << 30,
            batch_bytes: 16 << 20,
            parked_cap: 1_000,
            unclaimed_after: Duration::from_secs(60),
            max_data: 4 << 20,
            publish_faults: true,
            mirror_errors: false,
            breaker: BreakerSettings::default(),
            crash: CrashSettings::default(),
            peers: PeerSettings::default(),
            #[cfg(feature = "mutations")]
            mutations: Mutations::default(),
        }
    }
}

/// Rules that can be broken on purpose. Each must be noticed by the simulator's history checker.
#[cfg(feature = "mutations")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutations {
    /// Deliveries are acked before their commit.
    pub ack_before_commit: bool,
    /// A timer that was cancelled or replaced fires all the same.
    pub ignore_timer_token: bool,
    /// A copy of a parked message is taken for a new message.
    pub ignore_parked: bool,
    /// Outbox rows are deleted before their messages are confirmed.
    pub finish_before_confirm: bool,
    /// Messages of purged runs are sent all the same.
    pub ignore_withdrawn: bool,
    /// Every message of a batch is blamed for a death, as if it had been alone.
    pub intent_for_the_whole_batch: bool,
}

#[cfg(feature = "mutations")]
impl Settings {
    pub(crate) fn mutations(&self) -> Mutations {
        self.mutations
    }
}

/// What [`Mutations`] is in a build that cannot break rules: all of them hold, at no cost.
#[cfg(not(feature = "mutations"))]
#[derive(Clone, Copy)]
pub(crate) struct Mutations {
    pub(crate) ack_before_commit: bool,
    pub(crate) ignore_timer_token: bool,
    pub(crate) ignore_parked: bool,
    pub(crate) finish_before_confirm: bool,
    pub(crate) ignore_withdrawn: bool,
    pub(crate) intent_for_the_whole_batch: bool,
}

#[cfg(not(feature = "mutations"))]
impl Settings {
    pub(crate) fn mutations(&self) -> Mutations {
        Mutations {
            ack_before_commit: false,
            ignore_timer_token: false,
            ignore_parked: false,
            finish_before_confirm: false,
            ignore_withdrawn: false,
            intent_for_the_whole_batch: false,
        }
    }
}
