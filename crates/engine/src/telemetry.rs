//! What the engine counts; read by health checks, the bench and metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a counter's value moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// So many since the process began: it only rises.
    Total,
    /// So many when last looked: it rises and falls.
    Level,
}

/// One counter as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Reported {
    /// As in [`Counters`].
    pub name: &'static str,
    /// What is counted, in a sentence.
    pub help: &'static str,
    /// Whether it may fall.
    pub reading: Reading,
    /// The value now.
    pub value: u64,
}

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident: $reading:ident,)*) => {
        /// Counters since this process began.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[doc = $help])+ pub $name: Count,)* }

        impl Counters {
            /// Every counter with its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                self.reported().into_iter().map(|counter| (counter.name, counter.value)).collect()
            }

            /// Every counter with what it says; what is said is its documentation below.
            pub fn reported(&self) -> Vec<Reported> {
                vec![$(Reported {
                    name: stringify!($name),
                    help: concat!($($help),+).trim_ascii(),
                    reading: Reading::$reading,
                    value: self.$name.get(),
                },)*]
            }
        }
    };
}

counters! {
    /// Messages taken from the broker.
    received: Total,
    /// Messages and internal deliveries that a row was run for.
    applied: Total,
    /// Copies of what was known already.
    duplicates: Total,
    /// Outcomes that change nothing: ignored, absorbed, discarded.
    passed_over: Total,
    /// Messages parked, new or again.
    parked: Total,
    /// Messages set aside.
    quarantined: Total,
    /// Copies of set-aside start messages that started nothing.
    blocked: Total,
    /// Runs that failed and were dealt with by the guard.
    contained: Total,
    /// Messages that carried no id.
    without_id: Total,
    /// Copies of quarantined messages that a person moved back to the queue.
    returned_mirrors: Total,
    /// Batches committed.
    batches: Total,
    /// Slices that lost a race and went round again.
    lost_races: Total,
    /// Commits whose outcome was not known.
    unknown_commits: Total,
    /// Batches given back at a fence.
    fenced: Total,
    /// Messages confirmed by the broker.
    published: Total,
    /// Messages published again because the first time was not known to have worked.
    republished: Total,
    /// Messages that no queue took.
    unroutable: Total,
    /// Attempts at calls begun.
    attempts: Total,
    /// Attempts whose record came too late.
    late_attempts: Total,
    /// Deciding threads given up.
    abandoned_threads: Total,
    /// Leases lost.
    lost_leases: Total,
    /// Sweeps of what is over that did not work.
    failed_sweeps: Total,
    /// Rows that had been due for long and that no process had claimed, when last looked.
    unclaimed: Level,
    /// Instances that have waited long for a newer definition, when last looked.
    newer_definition: Level,
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
