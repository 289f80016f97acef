//! Runs calls: claims what is due, gives each attempt a token and a deadline, records how it ended.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use knarr_guard::CallToken;
use knarr_model::durations::later;
use knarr_model::failpoint::{self, Step};
use knarr_model::fault::{Failure, FailureKind};
use knarr_model::ports::crash::Used;
use knarr_model::ports::{Activity, Attempt, Permits};
use knarr_model::within::{Scope, within};
use knarr_model::work::{ActivityTask, AttemptOutcome, AttemptRecord, CallEnd, Claim, EndedCall};
use knarr_model::{NodeId, RetryPolicy};
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument;

use super::attempted::Attempted;
use super::suspect::{Admitted, Seat, Suspected};
use super::{lease, scheduler, suspect};
use crate::route;
use crate::shared::Shared;

/// The activities of this node by the name of the call they answer.
pub(crate) type Activities = Arc<BTreeMap<String, Arc<dyn Activity>>>;

/// An attempt that ended, on its way to the store.
struct Ended {
    task: ActivityTask,
    node: NodeId,
    outcome: AttemptOutcome,
    /// Held until the outcome is recorded, so that no more runs than may.
    _seat: Seat,
}

/// What attempts share.
struct Calls {
    shared: Arc<Shared>,
    permits: Arc<dyn Permits>,
    running: Arc<Semaphore>,
    /// For the one suspected call that may be in hand.
    only: Arc<Semaphore>,
    ended: mpsc::Sender<Ended>,
}

/// Claims and runs calls until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>, activities: Activities, permits: Arc<dyn Permits>) {
    let most = shared.settings.max_calls;
    let running = Arc::new(Semaphore::new(most));
    let (ended_to, ended_from) = mpsc::channel(most);
    let (recording, mut recorded) = mpsc::channel::<()>(1);
    let recorder = {
        let shared = shared.clone();
        async move {
            record(shared, ended_from).await;
            drop(recording);
        }
    };
    shared.ports.spawn.spawn("call-records", recorder.boxed());
    let types: Vec<String> = activities.keys().cloned().collect();
    let only = Arc::new(Semaphore::new(1));
    let calls = Arc::new(Calls { shared, permits, running, only, ended: ended_to });
    claim(&calls, &activities, &types).await;
    // At a stop the engine has not ended before it is written how the last attempts ended.
    drop(calls);
    while recorded.recv().await.is_some() {}
}

/// Claims and begins attempts until the engine stops.
async fn claim(calls: &Arc<Calls>, activities: &Activities, types: &[String]) {
    let (shared, running) = (&calls.shared, &calls.running);
    let mut failures = 0;
    while lease::valid(shared).await && !shared.is_stopping() {
        let free = running.available_permits().min(shared.settings.claim_limit);
        if free == 0 {
            drop(running.acquire().await);
            continue;
        }
        let claim = Claim {
            node: shared.node.id(),
            endpoints: scheduler::open_endpoints(shared),
            limit: free,
            reclaim_except: shared.reclaim_except(),
        };
        let nothing = claim.endpoints.is_empty() || types.is_empty() || shared.is_full();
        let claimed = if nothing {
            Ok(Vec::new())
        } else {
            shared.ports.store.claim_calls(&claim, types).await
        };
        match claimed {
            Ok(tasks) => {
                failures = 0;
                let full = tasks.len() >= free;
                for (task, only) in suspect::put_off(shared, &calls.only, claim.node, tasks).await {
                    let Ok(place) = running.clone().acquire_owned().await else { return };
                    let Some(activity) = activities.get(&task.call) else { continue };
                    start(calls, activity, task, claim.node, Seat::of(place, only));
                }
                if !full {
                    rest(shared).await;
                }
            }
            Err(error) => {
                failures += 1;
                shared.reclaim();
                tracing::warn!("cannot claim calls: {error}");
                shared.back_off(failures).await;
            }
        }
    }
}

async fn rest(shared: &Shared) {
    tokio::select! {
        biased;
        () = shared.tokens.process().cancelled() => {}
        () = shared.calls.notified() => {}
        () = shared.ports.clock.sleep(shared.settings.poll / 4) => {}
    }
}

fn start(
    calls: &Arc<Calls>,
    activity: &Arc<dyn Activity>,
    task: ActivityTask,
    node: NodeId,
    mut seat: Seat,
) {
    let shared = &calls.shared;
    // What was claimed while a stop was asked for is given back with the lease.
    if node != shared.node.id() || shared.is_stopping() {
        return;
    }
    if !shared.node.hold(task.id) {
        // An older attempt at it still ends here: it is offered again after that.
        shared.reclaim();
        return;
    }
    failpoint::pass(Step::CallClaimed);
    let name = format!("call {}", task.call);
    let (calls, activity) = (calls.clone(), activity.clone());
    let spawn = shared.ports.spawn.clone();
    let future = async move {
        let shared = &calls.shared;
        match outcome_of(&calls, &*activity, &task, node, &mut seat).await {
            Some(outcome) => {
                let record = Ended { task, node, outcome, _seat: seat };
                // The recorder outlives every attempt but for a stop, after which the lease ends.
                let _ = calls.ended.send(record).await;
            }
            // Cancelled: no attempt. The row is gone, given back, or offered to this node again.
            None => {
                shared.node.let_go([task.id]);
                shared.reclaim();
            }
        }
    };
    spawn.spawn(&name, future.boxed());
}

/// One attempt, once it may begin. `None` when there was none.
async fn outcome_of(
    calls: &Calls,
    activity: &dyn Activity,
    task: &ActivityTask,
    node: NodeId,
    seat: &mut Seat,
) -> Option<AttemptOutcome> {
    let (shared, running) = (&*calls.shared, &calls.running);
    let token = shared.tokens.call(&task.endpoint, &task.saga, task.instance, task.id);
    match (Suspected { shared, activity, running, task, node }).admit(&token, seat).await {
        Admitted::Runs => {}
        Admitted::Convicted(end) => return Some(AttemptOutcome::Ended(end)),
        Admitted::Gone => return None,
    }
    shared.counters.attempts.add(1);
    let clock = &shared.ports.clock;
    let span = Attempted::begin(&shared.traces, task, clock.now());
    let logged = span.logged(task);
    let permits = calls.permits.clone();
    let attempt = attempt(shared, activity, permits, task, &token, span.scope.clone());
    let outcome = attempt.instrument(logged).await;
    span.end(&shared.traces, task, outcome.as_ref(), clock.now());
    if outcome.is_some() {
        failpoint::pass(Step::CallAnswered);
    }
    outcome
}

/// One attempt. `None` when it was cancelled from outside: that is no attempt.
async fn attempt(
    shared: &Shared,
    activity: &dyn Activity,
    permits: Arc<dyn Permits>,
    task: &ActivityTask,
    token: &CallToken,
    scope: Option<Arc<Scope>>,
) -> Option<AttemptOutcome> {
    let clock = &shared.ports.clock;
    let deadline = task.deadline.unwrap_or_else(|| activity.deadline());
    let attempt = Attempt {
        saga: task.saga.clone(),
        instance: task.instance,
        run: task.run,
        number: task.attempt,
        idempotency_key: task.idempotency_key,
        started_at: clock.now(),
        deadline,
        token: token.token().clone(),
        memo: task.memo.clone(),
        permits,
    };
    let late = async {
        clock.sleep(deadline).await;
        // Before the attempt is dropped: what it has started elsewhere hears of it by the token.
        token.token().cancel();
    };
    let run = within(scope, activity.run(&task.payload, &attempt));
    let result = tokio::select! {
        biased;
        () = token.token().cancelled() => return None,
        result = AssertUnwindSafe(run).catch_unwind() => {
            result.unwrap_or_else(|_| {
                Err(Failure::permanent("panic", format!("activity {} panicked", task.call)))
            })
        }
        () = late => {
            Err(Failure::transient("deadline", format!("no answer within {deadline:?}")))
        }
    };
    let retry = task.retry.clone().unwrap_or_else(|| activity.retry());
    Some(outcome(shared, task, &retry, result))
}

fn outcome(
    shared: &Shared,
    task: &ActivityTask,
    retry: &RetryPolicy,
    result: Result<Arc<serde_json::value::RawValue>, Failure>,
) -> AttemptOutcome {
    let clock = &shared.ports.clock;
    let failure = match result {
        Ok(output) => return AttemptOutcome::Ended(CallEnd::Done(output)),
        Err(failure) => failure,
    };
    match failure.kind {
        FailureKind::Again => AttemptOutcome::Again {
            due_at: later(clock.now(), failure.after.unwrap_or_default()),
            memo: failure.memo,
            used: false,
        },
        FailureKind::Permanent | FailureKind::Unknown => {
            AttemptOutcome::Ended(CallEnd::Failed(failure))
        }
        FailureKind::Transient => match retry.delay_after(task.attempt, clock.random(1000)) {
            Some(delay) => AttemptOutcome::Again {
                due_at: later(clock.now(), delay.max(failure.after.unwrap_or_default())),
                memo: task.memo.clone(),
                used: true,
            },
            None => {
                let reason = format!(
                    "{} after {} attempts ({})",
                    failure.reason, task.attempt, failure.class
                );
                AttemptOutcome::Ended(CallEnd::Failed(Failure::permanent("exhausted", reason)))
            }
        },
    }
}

/// Records outcomes, several at once, until every attempt has ended.
async fn record(shared: Arc<Shared>, mut from: mpsc::Receiver<Ended>) {
    let mut ended: Vec<Ended> = Vec::new();
    while from.recv_many(&mut ended, shared.settings.claim_limit).await > 0 {
        let node = shared.node.id();
        // Outcomes of attempts under a lost id would be refused: they are somebody else's now.
        ended.retain(|ended| ended.node == node);
        let records: Vec<_> = ended
            .iter()
            .map(|ended| AttemptRecord {
                task: ended.task.id,
                claims: ended.task.claims,
                outcome: ended.outcome.clone(),
            })
            .collect();
        let Some(taken) = store(&shared, node, &records).await else { return };
        failpoint::pass(Step::CallRecorded);
        for (ended, taken) in ended.drain(..).zip(taken) {
            shared.node.let_go([ended.task.id]);
            shared.counters.late_attempts.add(usize::from(!taken));
            tell_standing(&shared, &ended);
            *shared.recorded.lock() = Some(shared.ports.clock.now());
            match ended.outcome {
                AttemptOutcome::Ended(end) if taken => {
                    deliver(&shared, node, ended.task, end).await;
                }
                AttemptOutcome::Again { due_at, .. } if due_at <= shared.ports.clock.now() => {
                    shared.calls.notify_one();
                }
                _ => {}
            }
        }
    }
}

/// Notes how an attempt went, for the comparison with other nodes.
fn tell_standing(shared: &Shared, ended: &Ended) {
    let (standing, now) = (&shared.standing, shared.ports.clock.monotonic());
    match &ended.outcome {
        AttemptOutcome::Ended(CallEnd::Done(_)) => standing.worked(now, 1),
        AttemptOutcome::Ended(CallEnd::Failed(_)) => standing.failed(now, None),
        AttemptOutcome::Again { used: true, .. } => {
            standing.failed(now, Some(Used::Call(ended.task.id)));
        }
        AttemptOutcome::Again { used: false, .. } => {}
    }
}

/// Writes the records; waits for the store as long as it takes. `None` at a stop.
async fn store(shared: &Shared, node: NodeId, records: &[AttemptRecord]) -> Option<Vec<bool>> {
    let mut failures = 0;
    loop {
        match shared.ports.store.record(node, records).await {
            Ok(taken) => {
                if failures > 0 {
                    // An earlier try may have been carried out, and then this one counts as late.
                    shared.reclaim();
                    shared.due.notify_one();
                }
                return Some(taken);
            }
            Err(error) => {
                failures += 1;
                tracing::warn!("cannot record how calls ended: {error}");
                if shared.is_stopping() {
                    return None;
                }
                shared.back_off(failures).await;
            }
        }
    }
}

async fn deliver(shared: &Shared, node: NodeId, task: ActivityTask, end: CallEnd) {
    let Some(serving) = shared.endpoints.get(&task.endpoint) else { return };
    let ended = EndedCall { task, end, decide_attempt: 0 };
    let incoming = route::of_ended(ended, node, shared.ports.clock.now());
    scheduler::hand(shared, serving, node, incoming).await;
}
