//! Messages that may kill the process: written down before they are decided, tried alone, convicted.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use knarr_guard::suspect::{judge, verdict};
use knarr_guard::{Holder, Trial};
use knarr_model::MessageId;
use knarr_model::durations::later;
use knarr_model::ports::crash::{Intent, Suspect};
use knarr_model::ports::store::{EndpointRow, Loaded};

use super::batch::{Batches, Next, Round, Written};
use super::fold::Forced;
use crate::delivery::Incoming;

impl Batches {
    /// In crash-watch writes down what is about to be decided. A batch with suspects goes back: the
    /// lane takes them one by one. A suspect that is alone is tried, waits, or is convicted.
    pub(super) async fn intend(
        &mut self,
        mut batch: Vec<Incoming>,
        loaded: &Loaded,
        round: &mut Round,
    ) -> Result<Vec<Incoming>, Next> {
        if !self.is_watched(&loaded.endpoint, &batch) {
            return Ok(batch);
        }
        self.intents += 1;
        let mut intent = Intent {
            node: self.shared.node.id(),
            endpoint: self.serving.endpoint.name.clone(),
            saga: self.serving.saga.name().clone(),
            lane: self.lane,
            number: self.intents,
            messages: batch.iter().map(|incoming| incoming.id).collect(),
            alone: self.shared.settings.mutations().intent_for_the_whole_batch,
        };
        // Noted before: what is carried out though its answer was lost is taken back too.
        round.written = Written { intent: Some(intent.clone()), through: false };
        let found = match self.shared.ports.store.intend(&intent).await {
            Ok(found) => found,
            Err(error) => return Err(self.store_failed(batch, round, &error).await),
        };
        let suspects: BTreeMap<MessageId, Suspect> = found
            .into_iter()
            .filter(|suspect| !loaded.journal.contains_key(&suspect.message))
            .map(|suspect| (suspect.message, suspect))
            .collect();
        let alone = match &*batch {
            [only] if self.alone => only.id,
            _ => {
                for incoming in &mut batch {
                    incoming.suspect |= suspects.contains_key(&incoming.id);
                }
                if batch.iter().any(|incoming| incoming.suspect) {
                    return Err(Next::Done(batch));
                }
                return Ok(batch);
            }
        };
        if !self.may_be_tried(alone, suspects.get(&alone), round) {
            return Ok(batch);
        }
        if self.shared.lost_once.load(Ordering::SeqCst) > 0 {
            // A death now may be that call's: it counts for the call alone.
            return Ok(batch);
        }
        self.intents += 1;
        intent = Intent { alone: true, number: self.intents, ..intent };
        round.written.intent = Some(intent.clone());
        match self.shared.ports.store.intend(&intent).await {
            Ok(_) => Ok(batch),
            Err(error) => Err(self.store_failed(batch, round, &error).await),
        }
    }

    /// Whether batches are to be written down. Where nobody died, and the broker has not counted
    /// deliveries, this asks nobody.
    fn is_watched(&self, row: &EndpointRow, batch: &[Incoming]) -> bool {
        let suspicious = |incoming: &Incoming| incoming.suspect || incoming.came_often();
        row.watched_until.is_some_and(|until| until > self.shared.ports.clock.now())
            || batch.iter().any(suspicious)
    }

    /// Whether the suspect is decided now; else it is known what becomes of it.
    fn may_be_tried(
        &self,
        message: MessageId,
        suspect: Option<&Suspect>,
        round: &mut Round,
    ) -> bool {
        if let Some(Forced::Suspected(_)) = round.forced.get(&message) {
            round.forced.remove(&message);
        }
        let Some(suspect) = suspect else { return true };
        let holder = Holder {
            now: self.shared.ports.clock.now(),
            since: self.shared.since,
            committed: *self.serving.committed.lock(),
        };
        let endpoint = &self.serving.endpoint.name;
        let forced = match judge(&self.shared.settings.crash, suspect, &holder) {
            Trial::Try if self.takes_trial(round) => {
                let died = suspect.died;
                tracing::warn!(%endpoint, %message, died, "a suspect is decided alone");
                return true;
            }
            Trial::Try => {
                let until = later(holder.now, self.shared.settings.crash.pause());
                tracing::debug!(%endpoint, %message, %until, "a suspect waits for a call's trial");
                Forced::Suspected(until)
            }
            Trial::Wait(until) => {
                tracing::debug!(%endpoint, %message, %until, "a suspect waits");
                Forced::Suspected(until)
            }
            Trial::Convict => {
                let reason = verdict(suspect);
                tracing::error!(%endpoint, %message, "set aside: {reason}");
                Forced::Poison(reason)
            }
        };
        round.forced.insert(message, forced);
        false
    }

    /// Whether no suspected call runs, nor will until the batch has come to its end.
    fn takes_trial(&self, round: &mut Round) -> bool {
        if round.trial.is_none() {
            round.trial = self.shared.trial.clone().try_acquire_owned().ok();
        }
        round.trial.is_some()
    }

    /// Takes back what was written down: the batch has come to its end. A suspect that was decided is
    /// none any more.
    pub(super) async fn came_through(&mut self, round: &mut Round) {
        let Written { intent: Some(intent), through } = std::mem::take(&mut round.written) else {
            return;
        };
        let acquitted = if through && self.alone { &*intent.messages } else { &[] };
        if let Err(error) = self.shared.ports.store.came_through(&intent, acquitted).await {
            // What has an outcome is not suspected later either.
            tracing::debug!("an intent stays until the next one: {error}");
        }
    }
}
