//! Whether a consumer really consumes, and the watchdog that says when nothing moves any more.

use std::sync::Arc;
use std::time::Duration;

use knarr_model::ports::Clock;
use parking_lot::Mutex;
use tracing::{info, warn};

use crate::broken::Broken;
use crate::connection::Live;
use crate::settle::InHand;
use crate::topology::Declarer;

/// Whether a consumer really consumes, and if not, why.
pub(crate) type Standing = Arc<Mutex<Result<(), String>>>;

/// Between two looks at a queue that gives nothing: what has just been published is on its way.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// How often it is looked whether what stood still moves again.
const LOOK: Duration = Duration::from_secs(1);

/// Watches one subscription.
pub(crate) struct Watchdog {
    pub(crate) queue: String,
    pub(crate) in_hand: Arc<InHand>,
    pub(crate) standing: Standing,
    pub(crate) clock: Arc<dyn Clock>,
    /// So long nothing may move.
    pub(crate) patience: Duration,
    /// How long the broker may take for one answer.
    pub(crate) deadline: Duration,
}

/// What a queue looks like from outside.
struct Seen {
    ready: u32,
    consumers: u32,
}

impl Watchdog {
    /// Ends, with the reason, when the broker gives nothing although it should: the subscription
    /// must be made again. That we settle nothing is only said: a new subscription would not help.
    pub(crate) async fn stuck(&self, live: &Live, generation: u64) -> String {
        let mut seen = self.in_hand.moved();
        let mut still = false;
        loop {
            self.clock.sleep(if still { LOOK.min(self.patience) } else { self.patience }).await;
            let held = self.in_hand.count(generation);
            if self.in_hand.moved() != seen {
                seen = self.in_hand.moved();
                self.moves_again(&mut still);
            } else if held == 0 {
                self.moves_again(&mut still);
                if let Some(why) = self.starved(live, seen).await {
                    return why;
                }
            } else if !still {
                still = true;
                let why = format!("{held} in hand, and none was settled for {:?}", self.patience);
                warn!(queue = &*self.queue, %why, "a consumer settles nothing");
                *self.standing.lock() = Err(why);
            }
        }
    }

    fn moves_again(&self, still: &mut bool) {
        if std::mem::take(still) {
            info!(queue = &*self.queue, "a consumer settles again");
            *self.standing.lock() = Ok(());
        }
    }

    /// Why the broker should give us something, if twice it looks so and nothing came meanwhile.
    async fn starved(&self, live: &Live, seen: u64) -> Option<String> {
        let first = self.look(live).await;
        if first.as_ref().is_ok_and(|it| it.consumers > 0 && it.ready == 0) {
            return None;
        }
        self.clock.sleep(SECOND_LOOK.min(self.patience)).await;
        let second = self.look(live).await;
        if self.in_hand.moved() != seen {
            return None;
        }
        match (first, second) {
            (Ok(_), Ok(Seen { consumers: 0, .. })) => {
                Some("the broker knows of no consumer".to_owned())
            }
            // Others may be served in our stead, as where only one consumer is active.
            (Ok(first), Ok(second))
                if second.ready > 0 && (second.consumers == 1 || second.ready >= first.ready) =>
            {
                let (ready, patience) = (second.ready, self.patience);
                Some(format!("{ready} messages wait, and none came for {patience:?}"))
            }
            // Not ours to look at.
            (_, Err(Broken::Refused(403 | 405, _))) => None,
            (Err(_), Err(broken)) => Some(format!("it cannot be looked at: {}", broken.text())),
            _ => None,
        }
    }

    async fn look(&self, live: &Live) -> Result<Seen, Broken> {
        let queue = Declarer::on(live, self.deadline).existing_queue(&self.queue).await?;
        Ok(Seen { ready: queue.message_count(), consumers: queue.consumer_count() })
    }
}
