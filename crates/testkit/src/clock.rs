//! Clocks for tests: one moved by hand, one that follows tokio's (pausable) time; both seeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::ports::Clock;
use tokio::sync::watch;
use uuid::Uuid;

/// The wall-clock time at which seeded clocks begin: 2026-01-01T00:00:00Z.
pub const EPOCH_SECONDS: i64 = 1_767_225_600;

/// Where seeded clocks begin.
pub fn beginning() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(EPOCH_SECONDS)
}

/// Random numbers and ids that depend on nothing but the seed and how many were drawn before.
#[derive(Debug)]
struct Seeded {
    state: AtomicU64,
    drawn: AtomicU64,
}

impl Seeded {
    fn new(seed: u64) -> Self {
        Seeded { state: AtomicU64::new(splitmix(seed)), drawn: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        // splitmix64: a Weyl sequence through a mixer, so that one atomic addition is a draw.
        splitmix(self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed))
    }

    fn random(&self, below: u32) -> u32 {
        if below == 0 {
            return 0;
        }
        // The bias of the remainder is below 2^-32 for every `below`.
        u32::try_from(self.next() % u64::from(below)).unwrap_or(0)
    }

    /// A UUIDv7 whose bits after the time are a counter, so that ids of one millisecond keep the
    /// order in which they were drawn.
    fn id(&self, now: DateTime<Utc>) -> Uuid {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        let mut rest = [0u8; 10];
        // The version takes the upper half of byte 0 and the variant two bits of byte 2.
        rest[0] = (n >> 38) as u8 & 0x0f;
        rest[1] = (n >> 30) as u8;
        rest[2] = (n >> 24) as u8 & 0x3f;
        rest[3..6].copy_from_slice(&[(n >> 16) as u8, (n >> 8) as u8, n as u8]);
        rest[6..].copy_from_slice(&self.next().to_be_bytes()[..4]);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
    }
}

fn splitmix(from: u64) -> u64 {
    let mut z = from.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A clock that stands still until it is advanced. Clones share their time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    base: DateTime<Utc>,
    elapsed: Arc<watch::Sender<Duration>>,
    seeded: Arc<Seeded>,
}

impl ManualClock {
    /// A clock at [`beginning`] whose ids and random numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::starting_at(beginning(), seed)
    }

    /// A clock at `base`.
    pub fn starting_at(base: DateTime<Utc>, seed: u64) -> Self {
        ManualClock {
            base,
            elapsed: Arc::new(watch::Sender::new(Duration::ZERO)),
            seeded: Arc::new(Seeded::new(seed)),
        }
    }

    /// Lets `by` pass and wakes every sleep that is over.
    pub fn advance(&self, by: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        self.base + *self.elapsed.borrow()
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut elapsed = self.elapsed.subscribe();
        let until = *elapsed.borrow() + duration;
        // The sender lives as long as any clone of the clock; without one, time never comes.
        async move {
            if elapsed.wait_for(|now| *now >= until).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }

    fn new_id(&self) -> Uuid {
        self.seeded.id(self.now())
    }

    fn random(&self, below: u32) -> u32 {
        self.seeded.random(below)
    }
}

/// A clock that follows tokio's time, which a test may pause. Clones share their ids.
#[derive(Clone, Debug)]
pub struct TokioClock {
    base: DateTime<Utc>,
    start: tokio::time::Instant,
    seeded: Arc<Seeded>,
}

impl TokioClock {
    /// A clock that shows [`beginning`] now. Make it inside the runtime whose time it follows.
    pub fn new(seed: u64) -> Self {
        Self::starting_at(beginning(), seed)
    }

    /// A clock that shows `base` now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock port")]
    pub fn starting_at(base: DateTime<Utc>, seed: u64) -> Self {
        TokioClock { base, start: tokio::time::Instant::now(), seeded: Arc::new(Seeded::new(seed)) }
    }

    /// A clock that shows the machine's time: for tests against stores that have their own clock.
    /// Its ids differ from run to run, for such stores may outlive a run.
    #[expect(clippy::disallowed_methods, reason = "real stores have the machine's time")]
    pub fn real() -> Self {
        Self::starting_at(Utc::now(), Uuid::new_v4().as_u64_pair().0)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> DateTime<Utc> {
        self.base + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock port")]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }

    fn new_id(&self) -> Uuid {
        self.seeded.id(self.now())
    }

    fn random(&self, below: u32) -> u32 {
        self.seeded.random(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_and_numbers_each_time_and_ids_keep_their_order() {
        let draw = |seed| {
            let clock = ManualClock::new(seed);
            let ids: Vec<Uuid> = (0..2000).map(|_| clock.new_id()).collect();
            let numbers: Vec<u32> = (0..50).map(|_| clock.random(7)).collect();
            (ids, numbers)
        };
        let (ids, numbers) = draw(3);
        assert_eq!((ids.clone(), numbers.clone()), draw(3));
        assert_ne!(draw(4).0[0], ids[0]);
        assert!(ids.is_sorted() && ids.iter().all(|id| id.get_version_num() == 7));
        assert!(numbers.iter().all(|n| *n < 7) && numbers.iter().any(|n| *n != numbers[0]));
        assert_eq!(ManualClock::new(1).random(0), 0);
    }

    #[tokio::test]
    async fn a_manual_sleep_ends_when_its_time_was_let_pass_and_not_before() {
        let clock = ManualClock::new(1);
        let mut sleep = clock.sleep(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.monotonic(), Duration::from_secs(10));
        assert_eq!(clock.now(), beginning() + TimeDelta::seconds(10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_follows_paused_time() {
        let clock = TokioClock::new(1);
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now(), beginning() + TimeDelta::hours(1));
        assert_eq!(clock.monotonic(), Duration::from_secs(3600));
    }
}
