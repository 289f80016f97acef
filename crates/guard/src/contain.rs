//! A run has failed: halt, purge and quarantine, planned as one transaction.

use knarr_model::Statement;
use knarr_model::commit::JournalRow;
use knarr_model::incident::{Block, BlockBy, FailedAt, FailurePolicy, Incident, OnFailure, Scope};
use knarr_model::ports::guard::{Plan, Refusal, Scene};
use knarr_model::ports::store::{EndpointState, Stop};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{ClaimedRow, Outgoing, Parked, ParkedReason, RowKind};
use knarr_model::{Digest, InstanceId, MessageId, Name, RowId, ids};

use crate::halt::{again_later, delta, halted};
use crate::order::Moment;
use crate::purge::{empty, opened, removal};

/// A failure beyond its budget, as the engine saw it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The saga.
    pub saga: Name,
    /// The instance, and the version that was decided on; none when no run exists.
    pub run: Option<Failing>,
    /// The epoch that was decided at.
    pub epoch: i64,
    /// What the saga declares.
    pub policy: FailurePolicy,
    /// The start message, as it is set aside.
    pub start: Quarantined,
    /// Where it failed.
    pub failed_at: FailedAt,
    /// The journal's line of that delivery.
    pub journal: JournalRow,
    /// The internal delivery that it was.
    pub taken: Option<ClaimedRow>,
    /// Who waits is told: faults, already written out.
    pub faults: Vec<Outgoing>,
    /// The saga's purge steps.
    pub steps: Vec<Statement>,
}

/// The run that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// The instance.
    pub instance: InstanceId,
    /// Its run.
    pub run: u32,
    /// The version decided on.
    pub version: i64,
}

/// Halt, purge, quarantine: what is written, all at once.
///
/// # Errors
/// [`Refusal::Changed`] when the run, the epoch or the delivery is not any more what was decided on:
/// the batch is decided again.
pub fn contain(scene: &Scene, at: &Moment, failure: &Failure) -> Result<Plan, Refusal> {
    let row = &scene.endpoint;
    let flows = matches!(row.state, EndpointState::Open | EndpointState::Probing);
    let pausing = row.state == EndpointState::Paused && failure.taken.is_some();
    if row.epoch != failure.epoch || !(flows || pausing) || !scene.owned {
        return Err(Refusal::Changed);
    }
    let whole = match (&failure.run, &scene.whole) {
        (None, None) => None,
        (Some(failing), Some(whole)) => {
            let instance = &whole.instance;
            let same = (instance.id, instance.run, instance.version)
                == (failing.instance, failing.run, failing.version);
            if !same || instance.is_over() {
                return Err(Refusal::Changed);
            }
            Some(whole)
        }
        _ => return Err(Refusal::Changed),
    };
    let scope = match (whole, failure.policy.on_failure) {
        (None, _) if failure.policy.contain_on_start => Scope::Endpoint,
        (None, _) | (Some(_), OnFailure::Quarantine) => Scope::Nothing,
        (Some(_), OnFailure::Contain) => Scope::Endpoint,
        (Some(_), OnFailure::ContainInstance) => Scope::Instance,
    };
    let mut incident = Incident {
        scope,
        errors: failure.start.errors.clone(),
        instance: failure.run.map(|failing| failing.instance),
        run: failure.run.map(|failing| failing.run),
        state: whole.map(|whole| whole.instance.state.clone()),
        definition_version: failure.start.definition_version,
        quarantined: Some(failure.start.id),
        failed_at: Some(failure.failed_at.clone()),
        ..opened(scene, at, &failure.saga, failure.start.class, failure.start.reason.clone())
    };
    let mut plan = Plan::default();
    if let Some(whole) = whole {
        let kept = with_the_failed_delivery(whole.clone(), failure, at);
        empty(&mut plan, &kept, &mut incident, scope == Scope::Instance);
        if failure.policy.on_failure != OnFailure::Quarantine {
            plan.steps.clone_from(&failure.steps);
        }
    }
    quarantine(&mut plan, failure, incident.id);
    plan.journal.push(failure.journal.clone());
    plan.taken.extend(failure.taken.map(|row| (row.kind, row.id)));
    if !failure.faults.is_empty() {
        plan.outgoing = Some((at.chunk, failure.faults.clone()));
    }
    plan.endpoint = Some(stopped(scene, at, failure, &incident));
    plan.audit = Some(at.line("contain", target(failure), &row.name, told(&plan, &incident)));
    plan.incidents.push(incident);
    Ok(plan)
}

/// A message that failed on a live run is part of what `retry` brings back: it waits in the
/// snapshot, in front of the others, under a new id, since the journal has its old one.
fn with_the_failed_delivery(
    mut whole: knarr_model::incident::Whole,
    failure: &Failure,
    at: &Moment,
) -> knarr_model::incident::Whole {
    let Some(envelope) = &failure.failed_at.envelope else { return whole };
    if let Some(row) = failure.taken.filter(|row| row.kind == RowKind::Parked) {
        whole.parked.retain(|parked| parked.id != row.id);
    }
    let new = ids::derived_id(&[b"retry", at.incident.as_bytes(), envelope.message_id.as_bytes()]);
    let mut copy = (**envelope).clone();
    copy.headers.set(ORIGINAL, envelope.message_id.to_string());
    copy.message_id = MessageId(new);
    // When it comes back a person wants it decided, however long that took.
    copy.expiration_time = None;
    let first = whole.parked.first().map_or(0, |parked| parked.seq - 1);
    whole.parked.insert(
        0,
        Parked {
            id: RowId(new),
            endpoint: failure.start.endpoint.clone(),
            saga: failure.saga.clone(),
            message_id: MessageId(new),
            digest: Digest::of_message(&envelope.message),
            instance: Some(whole.instance.id),
            seq: first,
            reason: ParkedReason::Retry,
            attempt: 0,
            claims: 0,
            due_at: None,
            error: None,
            envelope: std::sync::Arc::new(copy),
        },
    );
    whole
}

/// The header that names the message which a release or retry repeats.
pub const ORIGINAL: &str = "Knarr-Original-Message-Id";

fn quarantine(plan: &mut Plan, failure: &Failure, incident: uuid::Uuid) {
    let mut start = failure.start.clone();
    start.incident = Some(incident);
    let value = match failure.policy.block {
        BlockBy::Off => None,
        BlockBy::Id => Some(start.message_id.to_string()),
        BlockBy::Fingerprint => start.fingerprint.clone(),
    };
    if let Some(value) = value {
        plan.blocks.push(Block {
            quarantined: start.id,
            endpoint: start.endpoint.clone(),
            by: failure.policy.block,
            value,
            incident: Some(incident),
            definition_version: start.definition_version,
            lets: None,
        });
    }
    plan.set_aside.push(start);
}

fn stopped(
    scene: &Scene,
    at: &Moment,
    failure: &Failure,
    incident: &Incident,
) -> knarr_model::ports::store::EndpointRow {
    let row = &scene.endpoint;
    let mut new = if incident.scope == Scope::Endpoint {
        let before = row.stop.as_ref().filter(|_| row.state == EndpointState::Probing);
        let stop = match before {
            // A probe that ends in a failed run failed.
            Some(stop) => again_later(stop, at),
            None => Stop {
                restart_at: failure
                    .policy
                    .restart_after
                    .and_then(|delay| at.now.checked_add_signed(delta(delay))),
                delay: failure.policy.restart_after,
                ..Stop::default()
            },
        };
        let stop = Stop {
            reason: incident.reason.clone(),
            by: at.order.who.clone(),
            since: Some(at.now),
            incident: Some(incident.id),
            ..stop
        };
        halted(row, stop)
    } else {
        row.clone()
    };
    new.guard_version += 1;
    new
}

fn target(failure: &Failure) -> String {
    match failure.run {
        Some(failing) => format!("{}/{}", failure.saga, failing.instance),
        None => format!("{} message {}", failure.saga, failure.start.message_id),
    }
}

fn told(plan: &Plan, incident: &Incident) -> Vec<String> {
    let mut told = Vec::new();
    match incident.scope {
        Scope::Endpoint => told.push(format!("{} is halted", incident.endpoint)),
        Scope::Instance => told.push("later messages of this instance wait".to_owned()),
        Scope::Nothing => {}
    }
    if plan.empty.is_some() {
        told.extend(removal(incident));
    }
    if let Some(start) = plan.set_aside.first() {
        told.push(format!("message {} is set aside as {}", start.message_id, start.id));
    }
    if !plan.blocks.is_empty() {
        told.push("copies of it start nothing".to_owned());
    }
    told
}

/// A failure that found the endpoint halted: noted on the incident, the message stays in the queue.
pub fn join(scene: &Scene, text: &str) -> Result<Plan, Refusal> {
    /// Beyond so many a reader learns nothing more.
    const MOST: usize = 20;
    let Some(incident) = &scene.incident else { return Err(Refusal::Changed) };
    let mut incident = incident.clone();
    incident.count += 1;
    if incident.joined.len() < MOST && !incident.joined.iter().any(|have| have == text) {
        incident.joined.push(text.to_owned());
    }
    Ok(Plan { incidents: vec![incident], ..Plan::default() })
}

#[cfg(test)]
mod tests;
