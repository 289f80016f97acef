//! What a batch asks of the guard: a failed run contained, a block let one through, a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use knarr_guard::notice::announce;
use knarr_guard::{Blocks, Failure, Moment, contain, halt, release};
use knarr_model::incident::{Incident, Scope};
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::{Ask, CarriedOut, Decide, Plan, Refusal, Run, Scene};
use knarr_model::ports::store::EndpointState;
use knarr_model::{Class, InstanceId, MessageId};
use uuid::Uuid;

use super::batch::{Batches, Next, Round};
use super::deliveries::settle_done;
use super::fate::{Fate, FateKind};
use super::transitions;
use crate::delivery::Incoming;
use crate::shared::{Serving, Shared};

impl Batches {
    /// The block set at `version`, read when it is not known; `None` when it has moved on.
    pub(super) async fn blocks(&self, version: i64) -> Result<Option<Arc<Blocks>>, StoreError> {
        let known = self.serving.blocks.lock().clone();
        if known.is_of(version) {
            return Ok(Some(known));
        }
        let endpoint = &self.serving.endpoint.name;
        let (read_at, blocks) = self.shared.ports.store.blocks(endpoint).await?;
        let blocks = Arc::new(Blocks::at(read_at, blocks));
        self.serving.blocks.lock().clone_from(&blocks);
        Ok((read_at == version).then_some(blocks))
    }

    /// The run of the batch's first message has failed: halt, purge and quarantine in one
    /// transaction of their own. The rest of the batch is decided afterwards, as things then stand.
    pub(super) async fn contain(
        &self,
        mut batch: Vec<Incoming>,
        failure: Failure,
        round: &mut Round,
    ) -> Next {
        let place = batch.first().and_then(Incoming::place);
        let at = Moment { place, ..self.shared.moment() };
        let mut ask = at.ask(&self.serving.endpoint.name);
        let instance = failure.start.instance.or(failure.run.map(|run| run.instance));
        ask.instance = failure.run.map(|run| (failure.saga.clone(), run.instance));
        ask.row = failure.taken;
        self.shared.hold_chunks([at.chunk]);
        let owned = Arc::new(AtomicBool::new(true));
        let done = ask_guard(&self.shared, &at, ask, {
            let (failure, owned) = (failure.clone(), owned.clone());
            move |scene, at| {
                owned.store(scene.owned, Ordering::Relaxed);
                let planned = contain::contain(scene, at, &failure);
                let halted = scene.endpoint.state == EndpointState::Halted;
                match planned {
                    Err(Refusal::Changed) if halted => contain::join(scene, &summary(&failure)),
                    planned => planned,
                }
            }
        })
        .await;
        let done = match done {
            Ok(Ok(done)) => done,
            Ok(Err(refusal)) => {
                self.shared.let_go_chunks(&[at.chunk]);
                tracing::debug!(%refusal, "a failed run is decided again");
                if !owned.load(Ordering::Relaxed) {
                    // As with a commit: what is gone or another's is not decided here.
                    self.shared.node.let_go(batch.remove(0).row());
                }
                return Next::Again(batch);
            }
            Err(error) => {
                // It may have been carried out: the journal decides when the batch is loaded again.
                self.shared.let_go_chunks(&[at.chunk]);
                self.shared.doubts.fetch_add(1, Ordering::Relaxed);
                return self.store_failed(batch, round, &error).await;
            }
        };
        let made = done.chunks.iter().any(|chunk| chunk.id == at.chunk);
        if !made {
            self.shared.let_go_chunks(&[at.chunk]);
        }
        self.hand_over(done.chunks, at.node).await;
        if done.plan.set_aside.is_empty() {
            // It joined another's incident: its message stays where it is.
            return Next::Again(batch);
        }
        let culprit = batch.remove(0);
        round.written.through = true;
        if let Some(incident) = done.plan.incidents.first() {
            culprit.logged().in_scope(|| tell(incident));
        }
        self.contained(culprit, &failure, instance, at.now).await;
        Next::Again(batch)
    }

    /// What follows when a failed run was contained: its message is done, and so are its calls.
    async fn contained(
        &self,
        culprit: Incoming,
        failure: &Failure,
        instance: Option<InstanceId>,
        at: DateTime<Utc>,
    ) {
        transitions::contained(&self.shared.traces, &self.serving, &culprit, failure, at);
        if let Some(row) = culprit.row() {
            self.shared.node.let_go([row]);
        }
        settle_done(std::slice::from_ref(&culprit), &[true]).await;
        culprit.committed();
        self.shared.counters.contained.add(1);
        self.shared.counters.quarantined.add(1);
        self.shared.standing.failed(self.shared.ports.clock.monotonic(), None);
        self.note(&[Some(instance)]);
        if let Some(instance) = instance {
            self.shared.tokens.cancel_instance(&failure.saga, instance);
        }
        self.serving.changed.notify_one();
    }

    /// The first message is a copy of one that an older definition failed on: it may try.
    pub(super) async fn let_through(
        &self,
        batch: Vec<Incoming>,
        message: MessageId,
        by: Uuid,
        round: &mut Round,
    ) -> Next {
        let at = self.shared.moment();
        let mut ask = at.ask(&self.serving.endpoint.name);
        ask.quarantined = vec![by];
        let version = self.serving.saga.version();
        tracing::warn!(%message, version, "blocked under an older definition: it may start once");
        let done = ask_guard(&self.shared, &at, ask, move |scene, at| {
            release::let_one_through(scene, at, message, version)
        });
        match done.await {
            Ok(_) => Next::Again(batch),
            Err(error) => self.store_failed(batch, round, &error).await,
        }
    }

    /// Looks at how a committed batch went: a probe goes on or ends, the breaker may trip.
    pub(super) async fn judge(&self, fates: &[Fate], lost: &[InstanceId], state: EndpointState) {
        let kept = |fate: &&Fate| fate.key.is_none_or(|key| !lost.contains(&key));
        let mut outcomes = Vec::new();
        for fate in fates.iter().filter(kept) {
            match fate.kind {
                FateKind::Applied | FateKind::PassedOver => outcomes.push(None),
                FateKind::Failed => outcomes.push(Some(fate.key)),
                FateKind::Quarantined(class) => {
                    self.serving
                        .counts
                        .lock()
                        .classes
                        .entry(class)
                        .and_modify(|n| *n += 1)
                        .or_insert(1);
                    if class == Class::Unhandled {
                        outcomes.push(Some(fate.key));
                    }
                }
                FateKind::Blocked(by) => {
                    self.serving
                        .counts
                        .lock()
                        .copies
                        .entry(by)
                        .and_modify(|n| *n += 1)
                        .or_insert(1);
                }
                FateKind::Duplicate | FateKind::Parked | FateKind::Condemned => {}
            }
        }
        if state == EndpointState::Probing {
            self.probed(&outcomes).await;
        } else if self.note(&outcomes) {
            self.trip().await;
        }
    }

    /// Notes outcomes: `Some` is a failure. `true` when there are too many.
    fn note(&self, outcomes: &[Option<Option<InstanceId>>]) -> bool {
        let now = self.shared.ports.clock.monotonic();
        let mut breaker = self.serving.breaker.lock();
        for outcome in outcomes {
            breaker.note(now, *outcome);
        }
        outcomes.iter().any(Option::is_some) && breaker.trips(now).is_some()
    }

    async fn trip(&self) {
        let endpoint = &self.serving.endpoint.name;
        let now = self.shared.ports.clock.monotonic();
        let Some((failed, of)) = self.serving.breaker.lock().trips(now) else { return };
        let reason = format!("{failed} of the last {of} messages failed: a bad deploy?");
        let at = self.shared.moment();
        let restart = self.shared.settings.breaker.restart_after;
        let (saga, why) = (self.serving.saga.name().clone(), reason.clone());
        self.shared.hold_chunks([at.chunk]);
        let done = ask_guard(&self.shared, &at, at.ask(endpoint), move |scene, at| {
            halt::trip(scene, at, &saga, &why, restart)
        });
        match done.await {
            Ok(Ok(done)) => {
                tracing::error!(
                    %endpoint,
                    "paused: {reason} Nothing was set aside. To go on at once: \
                     knarr endpoints resume {endpoint}"
                );
                self.hand_over(done.chunks, at.node).await;
            }
            Ok(Err(refusal)) => {
                self.shared.let_go_chunks(&[at.chunk]);
                tracing::debug!(%endpoint, %refusal, "not paused");
            }
            Err(error) => {
                // It may have been carried out: the relay looks for what nobody handed to it.
                self.shared.let_go_chunks(&[at.chunk]);
                self.shared.doubts.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%endpoint, "cannot pause: {error}");
            }
        }
        self.serving.breaker.lock().reset();
        self.serving.changed.notify_one();
    }

    async fn probed(&self, outcomes: &[Option<Option<InstanceId>>]) {
        let endpoint = &self.serving.endpoint.name;
        let failed = outcomes.iter().any(Option::is_some);
        let worked = u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
        if worked == 0 {
            return;
        }
        let at = self.shared.moment();
        let done = ask_guard(&self.shared, &at, at.ask(endpoint), move |scene, at| {
            if failed {
                halt::probe_failed(scene, at, "a message failed")
            } else {
                halt::probe_succeeded(scene, at, worked)
            }
        });
        match done.await {
            Ok(Ok(_)) if failed => tracing::warn!(%endpoint, "halted again: a message failed"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%endpoint, "the try is not noted: {error}"),
        }
        self.serving.changed.notify_one();
    }
}

/// Asks the store for one verb of the guard's own, its messages about incidents included.
pub(super) async fn ask_guard(
    shared: &Shared,
    at: &Moment,
    ask: Ask,
    verb: impl Fn(&Scene, &Moment) -> Result<Plan, Refusal> + Send + Sync + 'static,
) -> Result<Result<CarriedOut, Refusal>, StoreError> {
    let (own, sender) = (at.clone(), shared.sender(&ask.endpoint));
    let decide: Decide = Arc::new(move |scene| {
        let mut plan = verb(scene, &own)?;
        announce(&mut plan, &own, &sender);
        Ok(plan)
    });
    shared.ports.store.under_fence(ask, decide, Run::ForReal).await
}

/// Whether a stopped endpoint's time has come, and then the try begun.
pub(super) async fn begin_probe(shared: &Shared, serving: &Serving) {
    let endpoint = &serving.endpoint.name;
    let at = shared.moment();
    let done = ask_guard(shared, &at, at.ask(endpoint), halt::begin_probe);
    match done.await {
        Ok(Ok(_)) => {
            tracing::warn!(%endpoint, "tried again, one message at a time");
            serving.changed.notify_one();
        }
        Ok(Err(_)) => {}
        Err(error) => tracing::warn!(%endpoint, "cannot try again: {error}"),
    }
}

fn summary(failure: &Failure) -> String {
    let id = failure.failed_at.message_id;
    format!("{} ({id}): {}", failure.failed_at.event, failure.start.reason)
}

/// What an operator sees first: what happened, and what to type.
fn tell(incident: &Incident) {
    let (id, endpoint, reason) = (incident.id, &incident.endpoint, &incident.reason);
    let message = incident.quarantined.unwrap_or_default();
    let instance = incident.instance.unwrap_or(InstanceId(Uuid::nil()));
    match incident.scope {
        Scope::Endpoint => tracing::error!(
            incident = %id, %endpoint, %instance,
            "halted: {reason} See: knarr incidents show {id}. Go on without it: \
             knarr endpoints resume {endpoint}. Start it again: knarr quarantine release {message}"
        ),
        Scope::Instance | Scope::Nothing => tracing::error!(
            incident = %id, %endpoint, %instance,
            "a run failed: {reason} See: knarr incidents show {id}. Start it again: \
             knarr quarantine release {message}"
        ),
    }
}
