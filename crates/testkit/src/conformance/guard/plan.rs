//! Plans as the guard makes them, as far as the cases need them.

use std::time::Duration;

use knarr_model::ids::Name;
use knarr_model::incident::{Block, BlockBy, Incident, Whole};
use knarr_model::instance::{Book, Instance, PURGED};
use knarr_model::ports::guard::{Plan, Scene};
use knarr_model::ports::store::{EndpointRow, EndpointState, Stop};
use uuid::Uuid;

use crate::conformance::store::world::raw;

/// The endpoint halted, with everything said about it that can be said.
pub(super) fn halted(row: &EndpointRow) -> EndpointRow {
    EndpointRow {
        state: EndpointState::Halted,
        epoch: row.epoch + 1,
        stop: Some(Stop {
            reason: "the payment failed, \u{0} \"three\" times".to_owned(),
            by: "knarr".to_owned(),
            since: None,
            incident: Some(Uuid::from_u128(7)),
            internal_too: true,
            restart_at: None,
            delay: Some(Duration::from_millis(1_500)),
            probe: None,
        }),
        ..row.clone()
    }
}

/// The endpoint at its next block set.
pub(super) fn next_guard(row: &EndpointRow) -> EndpointRow {
    EndpointRow { guard_version: row.guard_version + 1, ..row.clone() }
}

/// What is left of a run that was purged.
pub(super) fn tombstone(of: &Instance, incident: Option<Uuid>) -> Instance {
    let Book { applied, produced, .. } = of.book;
    Instance {
        state: PURGED.to_owned(),
        version: of.version + 1,
        data: raw("null"),
        book: Book { applied, produced, ..Book::default() },
        incident,
        ..of.clone()
    }
}

/// The run that the scene shows.
pub(super) fn whole(scene: &Scene) -> Whole {
    scene.whole.clone().expect("the scene shows the run")
}

/// Purges the run of the scene into an incident, and leaves the endpoint at its epoch and state.
pub(super) fn purge(scene: &Scene, incident: &Incident) -> Plan {
    let whole = whole(scene);
    let instance = &whole.instance;
    let incident = Incident {
        instance: Some(instance.id),
        run: Some(instance.run),
        removed: whole.removed(),
        ..incident.clone()
    };
    Plan {
        endpoint: Some(next_guard(&scene.endpoint)),
        empty: Some((instance.saga.clone(), instance.id, instance.run)),
        instance: Some(tombstone(instance, Some(incident.id))),
        snapshot: Some((incident.id, whole)),
        incidents: vec![incident],
        ..Plan::default()
    }
}

/// Halts the endpoint and purges the run of the scene into an incident, all at once.
pub fn halting_purge(scene: &Scene, incident: &Incident) -> Plan {
    Plan { endpoint: Some(halted(&scene.endpoint)), ..purge(scene, incident) }
}

/// Brings back what the incident of the scene keeps.
pub(super) fn restore(scene: &Scene) -> Plan {
    let kept = scene.snapshot.clone().expect("the incident keeps a run");
    let stone = whole(scene).instance;
    let instance = Instance { version: stone.version + 1, ..kept.instance.clone() };
    Plan {
        endpoint: Some(next_guard(&scene.endpoint)),
        empty: Some((instance.saga.clone(), instance.id, instance.run)),
        instance: Some(instance),
        forget_snapshots: scene.incident.iter().map(|incident| incident.id).collect(),
        restore: Some(kept),
        ..Plan::default()
    }
}

/// A block by a set-aside message.
pub(super) fn block(endpoint: &Name, quarantined: Uuid) -> Block {
    Block {
        quarantined,
        endpoint: endpoint.clone(),
        by: BlockBy::Fingerprint,
        value: "ab".repeat(32),
        incident: None,
        definition_version: 4,
        lets: None,
    }
}
