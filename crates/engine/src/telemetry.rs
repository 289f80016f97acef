//! What the engine counts; read by health checks, the bench and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since this process began.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Count,)* }

        impl Counters {
            /// Every counter with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Messages taken from the broker.
    received,
    /// Messages and internal deliveries that a row was run for.
    applied,
    /// Copies of what was known already.
    duplicates,
    /// Outcomes that change nothing: ignored, absorbed, discarded.
    passed_over,
    /// Messages parked, new or again.
    parked,
    /// Messages set aside.
    quarantined,
    /// Copies of set-aside start messages that started nothing.
    blocked,
    /// Runs that failed and were dealt with by the guard.
    contained,
    /// Messages that carried no id.
    without_id,
    /// Copies of quarantined messages that a person moved back to the queue.
    returned_mirrors,
    /// Batches committed.
    batches,
    /// Slices that lost a race and went round again.
    lost_races,
    /// Commits whose outcome was not known.
    unknown_commits,
    /// Batches given back at a fence.
    fenced,
    /// Messages confirmed by the broker.
    published,
    /// Messages published again because the first time was not known to have worked.
    republished,
    /// Messages that no queue took.
    unroutable,
    /// Attempts at calls begun.
    attempts,
    /// Attempts whose record came too late.
    late_attempts,
    /// Deciding threads given up.
    abandoned_threads,
    /// Leases lost.
    lost_leases,
    /// Sweeps of what is over that did not work.
    failed_sweeps,
    /// Rows that had been due for long and that no process had claimed, when last looked.
    unclaimed,
    /// Instances that have waited long for a newer definition, when last looked.
    newer_definition,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// What is so many now, and may be fewer later.
    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
