//! What is known before the machine is asked: releases, tombstones, blocks, suspects, other versions.

use knarr_guard::Met;
use knarr_guard::release::RELEASE;
use knarr_model::instance::PURGED;
use knarr_model::work::ParkedReason;
use knarr_model::{Class, Instance, InstanceId, digest};

use super::fate::{Fate, FateKind, event_name};
use super::fold::{Fold, Forced};
use super::settle::{self, hex};
use crate::delivery::{Body, Incoming, Source};

/// How long a row of another definition waits before it is offered again.
const OTHER_DEFINITION_DELAY: std::time::Duration = std::time::Duration::from_secs(1);

/// Whether a person let this message go. Only the guard makes a row under the message's own id.
fn is_released(incoming: &Incoming) -> bool {
    let own_row = incoming.row().is_some_and(|row| row.0 == incoming.id.0);
    own_row && incoming.envelope().is_some_and(|envelope| envelope.headers.get(RELEASE).is_some())
}

/// The run that is over, where a released start message begins the instance's next one. It waits
/// behind nothing: what waits there waits for it.
pub(super) fn release_of<'a>(
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
pub(super) fn after_purge(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
) -> Option<Fate> {
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
pub(super) fn beyond_the_bound(
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
pub(super) fn not_tried(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
) -> Option<Fate> {
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

/// Another definition wrote the instance, a newer one or one with other states: the message waits
/// for a node that knows it. That this one does not is nobody's failure.
pub(super) fn other_definition(
    fold: &mut Fold<'_>,
    incoming: &Incoming,
    instance: InstanceId,
) -> Option<Fate> {
    let stored = fold.at.loaded.instances.get(&instance)?;
    let (theirs, ours) = (stored.definition_version, fold.at.saga.version());
    let error = if theirs > ours {
        format!("needs definition version {theirs}, this node has {ours}")
    } else if !fold.at.saga.has_state(&stored.state) {
        let state = &stored.state;
        format!("its instance is in state `{state}`, which definition version {ours} does not have")
    } else {
        return None;
    };
    let due = fold.at.now + OTHER_DEFINITION_DELAY;
    let reason = ParkedReason::Retry;
    let attempt = incoming.failures();
    fold.park(incoming, Some(instance), reason, Some(due), attempt, Some(error));
    // The row belongs to the other definition: this one leaves it as it is.
    fold.draft(Some(instance)).changed = false;
    Some(Fate { key: Some(instance), kind: FateKind::Parked })
}
