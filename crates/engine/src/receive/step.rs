//! Decides one message after another, purely, and folds what each asks for into slices.

use knarr_guard::{Failure, Verdict as Judgement, judge};
use knarr_model::commit::{Key, Outcome};
use knarr_model::durations::later;
use knarr_model::work::{CallEnd, ParkedReason};
use knarr_model::{Class, Instance, InstanceId, MessageId, Slice};
use knarr_saga::definition::{BadMessage, Cause, Correlated, Decision, Event, Target, Verdict};

use super::apply::apply;
use super::before::{after_purge, beyond_the_bound, not_tried, other_definition, release_of};
use super::fate::{Fate, FateKind, event_name};
use super::fold::{Fold, Forced, Situation};
use super::settle;
use crate::delivery::{Body, Incoming, keyed_instance};

/// How often and how far apart a message with an unknown business key is tried (behaviours 19).
const MISSING_DELAY: std::time::Duration = std::time::Duration::from_secs(2);

/// What a batch comes to.
pub(crate) enum Decided {
    /// It can be committed.
    Whole(Whole),
    /// These start messages must be read first.
    Needs(Vec<(InstanceId, u32)>),
    /// Message number n needs the guard: those before it are committed first.
    Before(usize),
    /// The first message's run failed.
    Failed(Box<Failure>),
    /// The first message starts a run that an older definition's block may let through.
    Outdated(MessageId, uuid::Uuid),
}

/// A batch that can be committed.
pub(crate) struct Whole {
    pub(crate) slices: Vec<Slice>,
    /// Per message, in order, whose slice it is part of.
    pub(crate) fates: Vec<Fate>,
    /// Keys that messages of this batch named, and whom they are for.
    pub(crate) resolved: Vec<(Key, InstanceId)>,
    pub(crate) warnings: Vec<String>,
}

/// Decides a batch. `step` hears the number of each message before it is decided.
///
/// # Errors
/// The message whose instance cannot be written, and why.
pub(crate) fn decide_batch(
    at: &Situation,
    batch: &[Incoming],
    mut step: impl FnMut(usize),
) -> Result<Decided, (MessageId, String)> {
    let mut fold = Fold::new(at);
    let mut fates = Vec::with_capacity(batch.len());
    for (n, incoming) in batch.iter().enumerate() {
        step(n);
        fates.push(decide_one(&mut fold, incoming));
        if let Some(refused) = fold.refused.take() {
            return Err(refused);
        }
        if n > 0 && (fold.failure.is_some() || fold.outdated.is_some()) {
            return Ok(Decided::Before(n));
        }
        if let Some(failure) = fold.failure.take() {
            return Ok(Decided::Failed(failure));
        }
        if let Some((message, by)) = fold.outdated.take() {
            return Ok(Decided::Outdated(message, by));
        }
        if !fold.needs.is_empty() {
            return Ok(Decided::Needs(std::mem::take(&mut fold.needs)));
        }
    }
    step(batch.len());
    let warnings = std::mem::take(&mut fold.warnings);
    let resolved = fold.keys.iter().map(|(key, row)| (key.clone(), row.instance)).collect();
    Ok(Decided::Whole(Whole { slices: fold.into_slices()?, fates, resolved, warnings }))
}

fn decide_one(fold: &mut Fold<'_>, incoming: &Incoming) -> Fate {
    let _inside = incoming.logged().entered();
    if let Some(fate) = known_already(fold, incoming) {
        return fate;
    }
    let fate = match &incoming.body {
        Body::Bad { class, reason, .. } => {
            settle::set_aside(fold, incoming, None, *class, vec![reason.clone()], None)
        }
        Body::Message { envelope, correlated } => {
            let stale = envelope.expiration_time.is_some_and(|end| end < fold.at.now)
                && (envelope.request_id.is_some() || incoming.row().is_some());
            match resolve(fold, correlated) {
                key if stale => {
                    let row =
                        fold.journal(incoming, &correlated.event, key, None, Outcome::Discarded);
                    fold.finish(incoming, key, Some(row));
                    Fate { key, kind: FateKind::PassedOver }
                }
                Some(instance) => decide_for(fold, incoming, instance),
                None => nobodys(fold, incoming, correlated),
            }
        }
        Body::Timer(timer) => decide_for(fold, incoming, timer.instance),
        Body::Ended(ended) => decide_for(fold, incoming, ended.task.instance),
    };
    fold.seen.insert(incoming.id, (incoming.digest, fate.key));
    fate
}

/// Whether the message has an outcome, waits already, or came before in this batch.
fn known_already(fold: &mut Fold<'_>, incoming: &Incoming) -> Option<Fate> {
    let own_row = incoming.row();
    let journaled = fold.at.loaded.journal.get(&incoming.id).map(|(digest, _)| (*digest, None));
    let waiting = match fold.at.loaded.parked.get(&incoming.id) {
        Some(_) if fold.at.mutations.ignore_parked => None,
        Some((digest, row)) if Some(*row) != own_row => Some((*digest, None)),
        _ => None,
    };
    let (digest, key) = journaled.or(waiting).or_else(|| fold.seen.get(&incoming.id).copied())?;
    if digest == incoming.digest {
        fold.finish(incoming, key, None);
        return Some(Fate { key, kind: FateKind::Duplicate });
    }
    let reason = format!(
        "message id {} came before with another body (digest {digest}, now {})",
        incoming.id, incoming.digest
    );
    Some(settle::conflict(fold, incoming, key, reason))
}

/// The instance that a message is for; `None` when its key is nobody's and it starts nothing.
fn resolve(fold: &Fold<'_>, correlated: &Correlated) -> Option<InstanceId> {
    let key = match &correlated.target {
        Target::Id(id) => return Some(*id),
        Target::Key(key) => key,
    };
    let derived =
        |generation| keyed_instance(fold.at.saga.name(), &key.name, &key.value, generation);
    match fold.keys.get(key) {
        Some(row) if !row.free => Some(row.instance),
        Some(row) => correlated.starts.then(|| derived(row.generation + 1)),
        None => correlated.starts.then(|| derived(1)),
    }
}

fn decide_for(fold: &mut Fold<'_>, incoming: &Incoming, instance: InstanceId) -> Fate {
    let key = Some(instance);
    if let Some(fate) = beyond_the_bound(fold, incoming, instance) {
        return fate;
    }
    let again = release_of(fold, incoming, instance);
    if again.is_none()
        && let Some(due) = fold.must_wait(incoming, instance)
    {
        fold.park(incoming, key, ParkedReason::Held, due, incoming.failures(), None);
        return Fate { key, kind: FateKind::Parked };
    }
    if let Some(fate) = other_definition(fold, incoming, instance) {
        return fate;
    }
    if let Some(fate) = not_tried(fold, incoming, instance) {
        return fate;
    }
    if let Some(over) = again {
        fold.reopen(over);
    } else if let Some(fate) = after_purge(fold, incoming, instance) {
        return fate;
    }
    let event_name = event_name(incoming);
    if let Err(reason) = fold.live(instance).map(drop) {
        let errors = vec![format!("instance {instance} cannot be read: {reason}")];
        return settle::failed(fold, incoming, instance, &event_name, Class::Exhausted, errors);
    }
    if let Some(forced) = fold.at.forced.get(&incoming.id).cloned() {
        return conclude_forced(fold, incoming, instance, &event_name, forced);
    }
    let cause = Cause { id: incoming.id, at: incoming.received_at };
    let ignore_token = fold.at.mutations.ignore_timer_token;
    let saved = if ignore_token {
        fold.live(instance).ok().and_then(|l| l.save().ok().flatten())
    } else {
        None
    };
    let Ok(live) = fold.live(instance) else { unreachable!("it has just been taken up") };
    let decision = live.decide(&cause, &event(incoming, saved.as_ref()));
    fold.warnings.extend(decision.warnings.iter().cloned());
    conclude(fold, incoming, instance, decision)
}

/// A message whose failure is known before it is decided.
fn conclude_forced(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    event_name: &str,
    forced: Forced,
) -> Fate {
    let (class, reason) = match forced {
        Forced::Constraint(reason) => (Class::Constraint, reason),
        Forced::Stuck(reason) => (Class::Stuck, reason),
        Forced::Panicked(_) | Forced::Suspected(_) | Forced::Poison(_) => {
            unreachable!("it is not tried")
        }
        // The message asks for what it cannot have; the run that it is for is sound.
        Forced::KeyConflict(reason) => {
            let state = fold.saved(instance).map(|saved| saved.state);
            let (key, class) = (Some(instance), Class::KeyConflict);
            let state = state.as_deref();
            return settle::set_aside(fold, incoming, key, class, vec![reason], state);
        }
    };
    settle::failed(fold, incoming, instance, event_name, class, vec![reason])
}

fn event<'a>(incoming: &'a Incoming, break_token: Option<&Instance>) -> Event<'a> {
    match &incoming.body {
        Body::Message { envelope, .. } => Event::Message(envelope),
        Body::Bad { .. } => unreachable!("a bad message is set aside before it is decided"),
        Body::Timer(timer) => {
            let live = break_token.and_then(|i| i.book.timers.get(&timer.name));
            let token = live.map_or(timer.id, |open| open.token);
            Event::Timer { name: &timer.name, token, run: timer.run }
        }
        Body::Ended(ended) => {
            let (call, token, run) = (ended.task.call.as_str(), ended.task.id, ended.task.run);
            match &ended.end {
                CallEnd::Done(output) => Event::Done { call, token, run, output },
                CallEnd::Failed(failure) => Event::Failed { call, token, run, failure },
            }
        }
    }
}

fn conclude(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
    decision: Decision,
) -> Fate {
    let key = Some(instance);
    let pass = |fold: &mut Fold<'_>, outcome| {
        let row = fold.journal(incoming, &decision.event, key, Some(&decision.from), outcome);
        fold.finish(incoming, key, Some(row));
        Fate { key, kind: FateKind::PassedOver }
    };
    match &decision.verdict {
        Verdict::Applied => {
            apply(fold, incoming, instance, decision);
            Fate { key, kind: FateKind::Applied }
        }
        // Nobody has the instance, and the table throws such messages away.
        Verdict::Ignored
            if is_message(incoming) && !fold.exists(instance) && was_restored(fold) =>
        {
            missing(fold, incoming, key, &decision.event, &knarr_model::RetryPolicy::none())
        }
        Verdict::Ignored => {
            // The token of an ignored call's or timer's end has left the book.
            let changed = fold.live(instance).is_ok_and(|live| live.is_changed());
            fold.draft(key).changed |= changed;
            let fate = pass(fold, Outcome::Ignored);
            settle::too_late(fold, incoming, instance, &decision.from);
            fate
        }
        Verdict::Absorbed => {
            let fate = pass(fold, Outcome::Absorbed);
            settle::too_late(fold, incoming, instance, &decision.from);
            fate
        }
        Verdict::Missing(policy) => {
            let policy = policy.clone();
            missing(fold, incoming, key, &decision.event, &policy)
        }
        Verdict::Deferred => {
            if let Ok(live) = fold.live(instance) {
                live.note_deferred(&decision.event);
            }
            fold.park(incoming, key, ParkedReason::Deferred, None, incoming.failures(), None);
            Fate { key, kind: FateKind::Parked }
        }
        Verdict::Unhandled => {
            let reason = format!(
                "no row of saga `{}` takes {} in state {}",
                fold.at.saga.name(),
                decision.event,
                decision.from
            );
            if fold.exists(instance) {
                fold.draft(key).changed = true;
            }
            let state = Some(decision.from.as_str());
            settle::set_aside(fold, incoming, key, Class::Unhandled, vec![reason], state)
        }
        Verdict::Bad(bad) => {
            let class = match bad {
                BadMessage::UnknownType(_) => Class::UnknownType,
                _ => Class::BadMessage,
            };
            let reasons = vec![bad.to_string()];
            settle::set_aside(fold, incoming, key, class, reasons, Some(&decision.from))
        }
        Verdict::Broken(errors) => {
            let class = Class::Exhausted;
            settle::failed(fold, incoming, instance, &decision.event, class, errors.clone())
        }
        Verdict::RunFailed { class, errors } => {
            settle::fail_run(fold, incoming, instance, &decision.event, *class, errors.clone())
        }
    }
}

/// A business key that no instance has: the machine says what becomes of such a message.
fn nobodys(fold: &mut Fold<'_>, incoming: &Incoming, correlated: &Correlated) -> Fate {
    let cause = Cause { id: incoming.id, at: incoming.received_at };
    let nowhere = fold.at.saga.open(InstanceId(incoming.id.0), None);
    let verdict = nowhere.map(|mut live| live.decide(&cause, &event(incoming, None)).verdict);
    let policy = match verdict {
        Ok(Verdict::Missing(policy)) => policy,
        Ok(Verdict::Ignored) if was_restored(fold) => knarr_model::RetryPolicy::none(),
        Ok(Verdict::Ignored) => {
            let row = fold.journal(incoming, &correlated.event, None, None, Outcome::Ignored);
            fold.finish(incoming, None, Some(row));
            return Fate { key: None, kind: FateKind::PassedOver };
        }
        _ => knarr_model::RetryPolicy::fixed(6, MISSING_DELAY),
    };
    missing(fold, incoming, None, &correlated.event, &policy)
}

fn is_message(incoming: &Incoming) -> bool {
    matches!(incoming.body, Body::Message { .. })
}

/// Whether the store came back from a backup: then what nobody knows may be what was lost.
fn was_restored(fold: &Fold<'_>) -> bool {
    fold.at.restored_at.is_some()
}

/// The instance does not exist: the message waits for it, then is set aside.
fn missing(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: Option<InstanceId>,
    event: &str,
    policy: &knarr_model::RetryPolicy,
) -> Fate {
    let attempt = incoming.misses() + 1;
    let spread = settle::spread(incoming.id);
    let mut reason = match instance {
        Some(id) => format!("{event} is for instance {id}, which does not exist"),
        None => format!("{event} names a business key that no instance has"),
    };
    if let Some(at) = fold.at.restored_at {
        let at = at.format("%Y-%m-%d %H:%M:%S UTC");
        let lost = "what had begun after its backup was made is not known here";
        reason = format!("{reason}: the store was restored on {at}, and {lost}");
    }
    match judge(policy, attempt, Class::Missing, spread) {
        Judgement::Again(delay) => {
            let due = Some(later(fold.at.now, delay));
            let why = Some(reason);
            fold.park(incoming, instance, ParkedReason::Missing, due, attempt, why);
            Fate { key: instance, kind: FateKind::Parked }
        }
        Judgement::SetAside(class) => {
            settle::set_aside(fold, incoming, instance, class, vec![reason], None)
        }
    }
}
