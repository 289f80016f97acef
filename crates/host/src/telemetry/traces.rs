//! Sends spans: gathered for a while, in batches, tried again where that may help.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_model::ports::Clock;
use knarr_model::trace::Span;
use knarr_model::{CancellationToken, RetryPolicy};
use tokio::sync::mpsc;

use super::exported::Exported;
use super::target::{Target, Trouble};
use super::teller::Teller;
use super::wire::{self, Origin};

/// How often one batch is sent at most, and how far apart.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often it is told that spans are dropped.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Everything that sending spans needs.
pub(super) struct Traces {
    pub(super) target: Target,
    pub(super) origin: Arc<Origin>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) exported: Arc<Exported>,
    /// Spans in one request at most.
    pub(super) batch: usize,
    /// How long spans are gathered.
    pub(super) delay: Duration,
    pub(super) stop: CancellationToken,
    pub(super) teller: Teller,
}

impl Traces {
    /// Sends until it is stopped, and then what is left.
    pub(super) async fn run(mut self, mut from: mpsc::Receiver<Span>) {
        let (mut told, mut next_word) = (0, Duration::ZERO);
        let mut spans = Vec::new();
        while !self.stop.is_cancelled() {
            self.gather(&mut from, &mut spans).await;
            self.send(&mut spans).await;
            let (dropped, now) = (self.exported.all_dropped(), self.clock.monotonic());
            if dropped > told && now >= next_word {
                let lost = dropped - told;
                tracing::warn!(lost, "spans were dropped: the collector does not take so many");
                (told, next_word) = (dropped, now + TELL_EVERY);
            }
        }
        from.close();
        while from.recv_many(&mut spans, self.batch).await > 0 {
            self.send(&mut spans).await;
        }
    }

    /// Waits for a first span, and then until there is a batch of them or time is up.
    async fn gather(&self, from: &mut mpsc::Receiver<Span>, spans: &mut Vec<Span>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            came = from.recv_many(spans, self.batch) => {
                if came == 0 {
                    // Nobody is left who could tell anything.
                    return self.stop.cancelled().await;
                }
            }
        }
        let late = self.clock.sleep(self.delay);
        tokio::pin!(late);
        while spans.len() < self.batch {
            let room = self.batch - spans.len();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = &mut late => return,
                _ = from.recv_many(spans, room) => {}
            }
        }
    }

    async fn send(&mut self, spans: &mut Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let body = wire::traces(&self.origin, std::mem::take(spans));
        match self.try_to_send(body).await {
            Ok(answer) => {
                let refused = wire::refused(&answer).min(count);
                self.exported.sent(count - refused);
                self.exported.dropped(refused);
                self.teller.worked("traces", &self.target.told());
            }
            Err(trouble) => {
                self.exported.dropped(count);
                self.teller.failed("traces", &self.target.told(), &trouble.why);
            }
        }
    }

    async fn try_to_send(&mut self, body: Bytes) -> Result<Bytes, Trouble> {
        let pauses = RetryPolicy::doubling(u32::MAX, FIRST_PAUSE, LONGEST_PAUSE);
        let mut tries = 0;
        loop {
            tries += 1;
            let trouble = match self.target.send(body.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            if !trouble.passes || tries >= TRIES || self.stop.is_cancelled() {
                return Err(trouble);
            }
            self.teller.failed("traces", &self.target.told(), &trouble.why);
            let pause = pauses.backoff(tries, self.clock.random(1000));
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                () = self.clock.sleep(pause) => {}
            }
        }
    }
}
