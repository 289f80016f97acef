//! Calls that may kill the process: put off, held back, run alone among suspects, convicted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use knarr_guard::losses::{Held, is_convicted, is_suspected, judge_call, ran, verdict};
use knarr_guard::{CallToken, Holder, Trial};
use knarr_model::NodeId;
use knarr_model::durations::later;
use knarr_model::fault::Failure;
use knarr_model::ports::Activity;
use knarr_model::work::{ActivityTask, CallEnd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shared::Shared;

/// What an attempt holds until its outcome is recorded.
pub(super) struct Seat {
    /// Its place among the calls that run at once.
    place: Option<OwnedSemaphorePermit>,
    /// It is the only suspected call that this process has in hand; nothing else is tried.
    alone: Vec<OwnedSemaphorePermit>,
    /// It was lost once before.
    once: Option<Once>,
}

/// A call that was lost once runs.
struct Once(Arc<AtomicUsize>);

impl Once {
    fn more(count: &Arc<AtomicUsize>) -> Once {
        count.fetch_add(1, Ordering::SeqCst);
        Once(count.clone())
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Seat {
    pub(super) fn of(place: OwnedSemaphorePermit, only: Option<OwnedSemaphorePermit>) -> Seat {
        Seat { place: Some(place), alone: only.into_iter().collect(), once: None }
    }
}

/// What becomes of a claimed call.
pub(super) enum Admitted {
    /// It is run.
    Runs,
    /// It is not: it has killed too often.
    Convicted(CallEnd),
    /// It was cancelled, is no longer ours, or the process stops.
    Gone,
}

/// A claimed call on its way to be run.
pub(super) struct Suspected<'a> {
    pub(super) shared: &'a Shared,
    pub(super) activity: &'a dyn Activity,
    /// The places of calls that run.
    pub(super) running: &'a Arc<Semaphore>,
    pub(super) task: &'a ActivityTask,
    pub(super) node: NodeId,
}

/// Takes those out that are suspected while another one is in hand already: others may have them.
/// The rest come with the permit that the only one holds.
pub(super) async fn put_off(
    shared: &Shared,
    only: &Arc<Semaphore>,
    node: NodeId,
    tasks: Vec<ActivityTask>,
) -> Vec<(ActivityTask, Option<OwnedSemaphorePermit>)> {
    let (mut kept, mut off) = (Vec::with_capacity(tasks.len()), Vec::new());
    let settings = &shared.settings.crash;
    for task in tasks {
        if !is_suspected(&task.lost) || is_convicted(settings, &task.lost) {
            kept.push((task, None));
        } else if let Ok(permit) = only.clone().try_acquire_owned() {
            kept.push((task, Some(permit)));
        } else {
            off.push((task.id, task.claims));
        }
    }
    if !off.is_empty() {
        let until = later(shared.ports.clock.now(), settings.pause());
        if let Err(error) = shared.ports.store.put_off(node, &off, until).await {
            shared.reclaim();
            tracing::debug!("suspected calls come again without a wait: {error}");
        }
    }
    kept
}

impl Suspected<'_> {
    /// Waits until the call may be run; one without losses may at once.
    pub(super) async fn admit(&self, token: &CallToken, seat: &mut Seat) -> Admitted {
        if self.task.lost.count == 0 {
            return Admitted::Runs;
        }
        tokio::select! {
            biased;
            () = token.token().cancelled() => Admitted::Gone,
            () = self.shared.tokens.process().cancelled() => Admitted::Gone,
            admitted = self.wait(seat) => admitted,
        }
    }

    async fn wait(&self, seat: &mut Seat) -> Admitted {
        let (task, clock) = (self.task, &self.shared.ports.clock);
        if is_suspected(&task.lost) {
            let held = clock.now();
            loop {
                match self.judge(held) {
                    Trial::Try => break,
                    Trial::Convict => return self.convict(),
                    Trial::Wait(until) => {
                        // Others run meanwhile.
                        seat.place = None;
                        let wait = (until - clock.now()).to_std().unwrap_or_default();
                        clock.sleep(wait.max(self.shared.settings.crash.pause() / 10)).await;
                    }
                }
            }
            if seat.place.is_none() {
                seat.place = self.running.clone().acquire_owned().await.ok();
            }
            seat.alone.extend(self.shared.trial.clone().acquire_owned().await);
            let (call, losses) = (&task.call, task.lost.count);
            tracing::warn!(%call, id = %task.id, losses, "a suspected call is run alone");
        } else {
            seat.once = Some(Once::more(&self.shared.lost_once));
        }
        self.run().await
    }

    fn judge(&self, since: DateTime<Utc>) -> Trial {
        let (shared, task) = (self.shared, self.task);
        let committed = shared.endpoints.values().filter_map(|serving| *serving.committed.lock());
        let holder = Holder {
            now: shared.ports.clock.now(),
            since: shared.since,
            committed: committed.max().max(*shared.recorded.lock()),
        };
        let deadline = task.deadline.unwrap_or_else(|| self.activity.deadline());
        let held = Held { since, ran: ran(&task.lost, shared.settings.lease, deadline) };
        judge_call(&shared.settings.crash, &task.lost, &held, &holder)
    }

    fn convict(&self) -> Admitted {
        let (endpoint, instance) = (&self.task.endpoint, self.task.instance);
        let reason = verdict(&self.task.lost);
        let call = &self.task.call;
        tracing::error!(%endpoint, %instance, %call, "a call is not run any more: {reason}");
        Admitted::Convicted(CallEnd::Failed(Failure::permanent("poison", reason)))
    }

    /// From here on a death is the call's.
    async fn run(&self) -> Admitted {
        let (task, mut failures) = (self.task, 0);
        loop {
            if self.node != self.shared.node.id() {
                return Admitted::Gone;
            }
            match self.shared.ports.store.run_call(self.node, task.id, task.claims).await {
                Ok(true) => return Admitted::Runs,
                Ok(false) => return Admitted::Gone,
                Err(error) => {
                    failures += 1;
                    tracing::debug!("a call that was lost waits for the store: {error}");
                    self.shared.back_off(failures).await;
                }
            }
        }
    }
}
