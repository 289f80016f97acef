//! Decides one message after another, purely, and folds what each asks for into slices.

use knarr_guard::release::RELEASE;
use knarr_guard::{Failure, Met, Verdict as Judgement, judge};
use knarr_model::commit::{JournalRow, Key, KeyRow, KeyWrite, Origin, Outcome};
use knarr_model::durations::later;
use knarr_model::instance::{FINAL, INITIAL, PURGED};
use knarr_model::work::{CallEnd, ParkedReason};
use knarr_model::{Class, Instance, InstanceId, MessageId, Slice, digest};
use knarr_saga::definition::{BadMessage, Cause, Correlated, Decision, Event, Target, Verdict};

use super::effects;
use super::fate::{Fate, FateKind, event_name};
use super::fold::{Fold, Forced, Situation};
use super::settle::{self, hex};
use crate::delivery::{Body, Incoming, Source, keyed_instance};

/// How often and how far apart a message with an unknown business key is tried (behaviours 19).
const MISSING_DELAY: std::time::Duration = std::time::Duration::from_secs(2);
/// How long a row of a newer definition waits before it is offered again.
const NEWER_DEFINITION_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

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
    let own_row = incoming.row().map(|(_, row)| row);
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
    if let Some(fate) = newer_definition(fold, incoming, instance) {
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

/// Whether a person let this message go. Only the guard makes a row under the message's own id.
fn is_released(incoming: &Incoming) -> bool {
    let own_row = incoming.row().is_some_and(|(_, row)| row.0 == incoming.id.0);
    own_row && incoming.envelope().is_some_and(|envelope| envelope.headers.get(RELEASE).is_some())
}

/// The run that is over, where a released start message begins the instance's next one. It waits
/// behind nothing: what waits there waits for it.
fn release_of<'a>(
    fold: &Fold<'a>,
    incoming: &Incoming,
    instance: InstanceId,
) -> Option<&'a Instance> {
    let Body::Message { correlated, .. } = &incoming.body else { return None };
    let stored = fold.at.loaded.instances.get(&instance)?;
    let begins = correlated.starts && is_released(incoming) && stored.is_over();
    (begins && !fold.is_live(instance)).then_some(stored)
}

/// What a tombstone, or a block, says to a message.
fn after_purge(fold: &mut Fold<'_>, incoming: &Incoming, instance: InstanceId) -> Option<Fate> {
    let Body::Message { envelope, correlated } = &incoming.body else { return None };
    let stored = fold.at.loaded.instances.get(&instance);
    let purged = stored.is_some_and(|stored| stored.state == PURGED);
    // What a person let go is not stopped by the block of another set-aside message that says the
    // same.
    if correlated.starts && !is_released(incoming) && (purged || !fold.exists(instance)) {
        let saga = fold.at.saga.name();
        let print = || hex(&digest::fingerprint(saga, &correlated.urn, &envelope.message));
        match fold.at.blocks.meet(incoming.id, print, fold.at.saga.version()) {
            Met::Nothing => {}
            Met::Blocked(block) => {
                return Some(settle::blocked(fold, incoming, instance, block.quarantined));
            }
            Met::Outdated(block) => {
                fold.outdated = Some((incoming.id, block.quarantined));
                return Some(Fate { key: Some(instance), kind: FateKind::Condemned });
            }
        }
    }
    let stored = stored?;
    if stored.holds_messages() && !fold.is_live(instance) {
        fold.hold(incoming, stored);
        return Some(Fate { key: Some(instance), kind: FateKind::Parked });
    }
    None
}

/// Messages wait for the end of their instance's incident, but not without end: nobody knows when
/// that is, and the others of the endpoint have nothing to do with it (guard.md, "Purge, exactly").
fn beyond_the_bound(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
) -> Option<Fate> {
    let holds = fold.at.loaded.instances.get(&instance).is_some_and(Instance::holds_messages);
    let full = fold.blocking(instance) >= fold.at.parked_cap as u64;
    let comes = matches!(incoming.source, Source::Broker { .. });
    if !(holds && full && comes) || fold.is_live(instance) {
        return None;
    }
    let reason = format!(
        "{} messages wait already for the end of the incident of instance {instance}",
        fold.blocking(instance)
    );
    Some(settle::set_aside(fold, incoming, Some(instance), Class::Held, vec![reason], Some(PURGED)))
}

/// What processes died of, or what panicked where no behaviour ran, is not decided, nor is its
/// instance taken up for it.
fn not_tried(fold: &mut Fold<'_>, incoming: &Incoming, instance: InstanceId) -> Option<Fate> {
    let key = Some(instance);
    match fold.at.forced.get(&incoming.id)? {
        Forced::Suspected(due) => {
            let (due, reason) = (Some(*due), ParkedReason::Suspect);
            let why = "a process died while it had this message in hand: it is tried alone";
            fold.park(incoming, key, reason, due, incoming.failures(), Some(why.to_owned()));
            Some(Fate { key, kind: FateKind::Parked })
        }
        Forced::Poison(reason) => Some(settle::convict(fold, incoming, instance, reason.clone())),
        Forced::Panicked(reason) => {
            let (event, errors) = (event_name(incoming), vec![reason.clone()]);
            let class = Class::Exhausted;
            Some(settle::failed(fold, incoming, instance, &event, class, errors))
        }
        _ => None,
    }
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

/// A newer definition wrote the instance: the message waits for a node that knows it.
fn newer_definition(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
) -> Option<Fate> {
    let stored = fold.at.loaded.instances.get(&instance)?;
    let (theirs, ours) = (stored.definition_version, fold.at.saga.version());
    if theirs <= ours {
        return None;
    }
    let error = format!("needs definition version {theirs}, this node has {ours}");
    let due = fold.at.now + NEWER_DEFINITION_DELAY;
    let reason = ParkedReason::Retry;
    let attempt = incoming.failures();
    fold.park(incoming, Some(instance), reason, Some(due), attempt, Some(error));
    // The row belongs to the newer definition: this one leaves it as it is.
    fold.draft(Some(instance)).changed = false;
    Some(Fate { key: Some(instance), kind: FateKind::Parked })
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

/// Folds an applied decision: journal, effects, and what begins or ends with it.
fn apply(fold: &mut Fold<'_>, incoming: &Incoming, instance: InstanceId, decision: Decision) {
    let key = Some(instance);
    let Some(saved) = fold.saved_after(incoming, instance) else { return };
    let begins = decision.from == INITIAL;
    let ends = decision.to == FINAL && decision.from != FINAL;
    let journal = JournalRow {
        message_id: incoming.id,
        digest: incoming.digest,
        instance: key,
        run: Some(saved.run),
        seq: Some(saved.book.applied),
        event: decision.event.clone(),
        from_state: Some(decision.from.clone()),
        to_state: Some(decision.to.clone()),
        outcome: Outcome::Applied,
        at: fold.at.now,
    };
    fold.finish(incoming, key, Some(journal));
    if begins {
        begin(fold, incoming, &saved);
    }
    take_keys(fold, incoming, &saved, begins);
    if ends {
        free_keys(fold, incoming, &saved);
    }
    let moved = decision.from != decision.to;
    let draft = fold.draft(key);
    draft.changed = true;
    draft.last_applied = Some(incoming.id);
    if ends {
        draft.slice.forget_origin = Some(saved.run);
    }
    if moved {
        fold.wake_deferred(instance);
    }
    effects::fold(fold, incoming, &saved, decision.effects);
}

/// A run begins: its start message is kept until it ends.
fn begin(fold: &mut Fold<'_>, incoming: &Incoming, saved: &Instance) {
    let Body::Message { envelope, correlated } = &incoming.body else { return };
    let saga = fold.at.saga.name().clone();
    let fingerprint = digest::fingerprint(&saga, &correlated.urn, &envelope.message);
    let origin =
        Origin { run: saved.run, message_id: incoming.id, fingerprint, envelope: envelope.clone() };
    fold.draft(Some(saved.id)).slice.origin = Some(origin);
}

/// Business keys that are in the book and not yet this instance's are taken, by the start message
/// or by a behaviour that asked for one.
fn take_keys(fold: &mut Fold<'_>, incoming: &Incoming, saved: &Instance, begins: bool) {
    let stored = fold.at.loaded.instances.get(&saved.id);
    let owned = stored.map(|instance| instance.book.keys.clone()).unwrap_or_default();
    for (name, value) in &saved.book.keys {
        let key = Key { name: name.clone(), value: value.clone() };
        let known = fold.keys.get(&key).copied();
        let ours = known.is_some_and(|row| row.instance == saved.id && !row.free);
        if ours || owned.contains(&(name.clone(), value.clone())) {
            continue;
        }
        let generation = known.map_or(0, |row| row.generation) + 1;
        let taken = KeyRow { instance: saved.id, generation, free: false };
        fold.keys.insert(key.clone(), taken);
        let by = incoming.id;
        // Only the key that the message itself names can be lost to another starter.
        let by_start = begins && names(incoming, &key);
        let write = KeyWrite { key, generation, free: false, by, by_start };
        fold.draft(Some(saved.id)).slice.keys.push(write);
    }
}

/// Whether a message finds its instance by this key.
fn names(incoming: &Incoming, key: &Key) -> bool {
    matches!(&incoming.body, Body::Message { correlated, .. }
        if matches!(&correlated.target, Target::Key(of) if of == key))
}

/// A run ends: keys that may be used again are freed.
fn free_keys(fold: &mut Fold<'_>, incoming: &Incoming, saved: &Instance) {
    for (name, value) in &saved.book.keys {
        let key = Key { name: name.clone(), value: value.clone() };
        if !fold.at.saga.key_is_reusable(name) {
            continue;
        }
        let Some(row) = fold.keys.get_mut(&key) else { continue };
        row.free = true;
        let generation = row.generation;
        let write = KeyWrite { key, generation, free: true, by: incoming.id, by_start: false };
        let slice = &mut fold.draft(Some(saved.id)).slice;
        slice.keys.retain(|earlier| earlier.key != write.key);
        slice.keys.push(write);
    }
}

/// A business key that no instance has: the machine says what becomes of such a message.
fn nobodys(fold: &mut Fold<'_>, incoming: &Incoming, correlated: &Correlated) -> Fate {
    let cause = Cause { id: incoming.id, at: incoming.received_at };
    let nowhere = fold.at.saga.open(InstanceId(incoming.id.0), None);
    let verdict = nowhere.map(|mut live| live.decide(&cause, &event(incoming, None)).verdict);
    let policy = match verdict {
        Ok(Verdict::Missing(policy)) => policy,
        Ok(Verdict::Ignored) => {
            let row = fold.journal(incoming, &correlated.event, None, None, Outcome::Ignored);
            fold.finish(incoming, None, Some(row));
            return Fate { key: None, kind: FateKind::PassedOver };
        }
        _ => knarr_model::RetryPolicy::fixed(6, MISSING_DELAY),
    };
    missing(fold, incoming, None, &correlated.event, &policy)
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
    let reason = match instance {
        Some(id) => format!("{event} is for instance {id}, which does not exist"),
        None => format!("{event} names a business key that no instance has"),
    };
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
