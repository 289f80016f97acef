//! Incidents as they are kept and listed, with what they keep.

use std::sync::Arc;

use chrono::TimeDelta;
use knarr_model::ids::{InstanceId, MessageId, Name, RowId};
use knarr_model::incident::{FailedAt, Incident, IncidentStatus, Removed, Scope, StepDone, Whole};
use knarr_model::ports::guard::{Ask, Plan};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::PageRequest;
use knarr_model::quarantine::Class;

use super::fixture::Guards;
use super::runs::told;
use super::world::{GuardWorld, all};
use crate::conformance::store::exact::json;
use crate::conformance::store::world::HARD_TEXT;

fn hard(world: &GuardWorld) -> Incident {
    Incident {
        status: IncidentStatus::Resolved,
        scope: Scope::Instance,
        reason: HARD_TEXT.to_owned(),
        errors: vec![HARD_TEXT.to_owned(), String::new()],
        instance: Some(InstanceId(world.id())),
        run: Some(u32::MAX),
        state: Some(HARD_TEXT.to_owned()),
        quarantined: Some(world.id()),
        failed_at: Some(FailedAt {
            message_id: MessageId(world.id()),
            event: HARD_TEXT.to_owned(),
            envelope: Some(Arc::new(world.envelope())),
            row: Some(RowId(world.id())),
            attempts: 3,
        }),
        removed: Removed {
            data_bytes: u64::from(u32::MAX) * 2,
            timers: 1,
            calls: 2,
            parked: 3,
            keys: 4,
            unsent: 5,
            steps: vec![StepDone { name: HARD_TEXT.to_owned(), rows: 6 }],
        },
        may_have_left: vec![MessageId(world.id())],
        joined: vec![HARD_TEXT.to_owned()],
        count: 1 << 40,
        closed_at: Some(world.now()),
        closed_by: Some("anna".to_owned()),
        ..world.incident(Class::Activity)
    }
}

/// An incident and the audit's line are read back as they were written; an incident written again
/// is replaced by id.
pub async fn guard_an_incident_is_read_back_whole_and_replaced_by_id(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let mut incident = hard(&world);
    let mut line = world.line("resolve", Some(HARD_TEXT));
    line.done = vec![HARD_TEXT.to_owned(), String::new()];
    line.reason = Some(HARD_TEXT.to_owned());
    line.waits = true;
    let plan =
        Plan { incidents: vec![incident.clone()], audit: Some(line.clone()), ..Plan::default() };
    world.write(plan).await;
    assert_eq!(json(&world.stored_incident(incident.id).await), json(&Some(&incident)));
    assert_eq!(world.history().await, [line.clone()]);
    let ask = Ask { key: line.key.clone(), incident: Some(incident.id), ..world.ask() };
    let scene = world.look(ask).await;
    assert_eq!(scene.repeated, Some(line));
    assert_eq!(json(&scene.incident), json(&Some(&incident)));
    assert!(scene.snapshot.is_none());
    incident.status = IncidentStatus::Discarded;
    incident.count = 7;
    world.write(Plan { incidents: vec![incident.clone()], ..Plan::default() }).await;
    assert_eq!(json(&world.stored_incident(incident.id).await), json(&Some(&incident)));
    assert!(world.stored_incident(world.id()).await.is_none());
}

/// The list is newest first, of one status, endpoint or class where asked for, and its pages cover
/// all rows once.
pub async fn guard_incidents_are_listed_newest_first_and_filtered(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let start = world.at(-60_000);
    let made = |n: i64, class, status, endpoint: &str| Incident {
        opened_at: start + TimeDelta::microseconds(n),
        status,
        endpoint: endpoint.into(),
        instance: Some(InstanceId(world.id())),
        ..world.incident(class)
    };
    let rows = [
        made(2, Class::Failed, IncidentStatus::Open, "orders"),
        made(0, Class::Failed, IncidentStatus::Resolved, "orders"),
        made(3, Class::Activity, IncidentStatus::Open, "orders"),
        made(1, Class::Failed, IncidentStatus::Open, "billing"),
        made(4, Class::Failed, IncidentStatus::Retried, "orders"),
    ];
    world.write(Plan { incidents: rows.to_vec(), ..Plan::default() }).await;
    let list = async |filter: IncidentFilter, page: PageRequest| {
        let found = world.incidents.incidents(&filter, &page).await.expect("they are read");
        (found.items.iter().map(|incident| incident.id).collect::<Vec<_>>(), found.next)
    };
    let ids = |order: &[usize]| order.iter().map(|n| rows[*n].id).collect::<Vec<_>>();
    let none = IncidentFilter::default();
    assert_eq!(list(none.clone(), all()).await, (ids(&[4, 2, 0, 3, 1]), None));
    let open = IncidentFilter { status: Some(IncidentStatus::Open), ..none.clone() };
    assert_eq!(list(open, all()).await.0, ids(&[2, 0, 3]));
    let billing = IncidentFilter { endpoint: Some(Name::from("billing")), ..none.clone() };
    assert_eq!(list(billing, all()).await.0, ids(&[3]));
    let failed = IncidentFilter { class: Some(Class::Failed), ..none.clone() };
    assert_eq!(list(failed, all()).await.0, ids(&[4, 0, 3, 1]));
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let (items, next) = list(none.clone(), PageRequest { limit: 2, cursor }).await;
        paged.extend(items);
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    assert_eq!(paged, ids(&[4, 2, 0, 3, 1]));
    let bad = PageRequest { limit: 2, cursor: Some("no cursor".to_owned()) };
    let error = world.incidents.incidents(&none, &bad).await.expect_err("it is refused");
    assert!(error.is_data(), "{error}");
    assert!(world.incidents.audit(None, &bad).await.expect_err("it is refused").is_data());
}

/// If no incident is named, a scene shows the endpoint's oldest open one that stops the endpoint,
/// with what it keeps.
pub async fn guard_a_scene_shows_the_oldest_incident_that_stops_the_endpoint(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    assert!(world.look(world.ask()).await.incident.is_none());
    let made = |ago: i64, status, scope, endpoint: &str| Incident {
        opened_at: world.at(-ago),
        status,
        scope,
        endpoint: endpoint.into(),
        instance: Some(InstanceId(world.id())),
        ..world.incident(Class::Failed)
    };
    let (open, shut) = (IncidentStatus::Open, IncidentStatus::Resolved);
    let rows = [
        made(1_000, open, Scope::Endpoint, "orders"),
        made(2_000, open, Scope::Endpoint, "orders"),
        made(3_000, shut, Scope::Endpoint, "orders"),
        made(4_000, open, Scope::Instance, "orders"),
        made(5_000, open, Scope::Nothing, "orders"),
        made(6_000, open, Scope::Endpoint, "billing"),
    ];
    let kept = Whole::of(world.instance(InstanceId(world.id()), 4));
    let plan = Plan {
        incidents: rows.to_vec(),
        snapshot: Some((rows[1].id, kept.clone())),
        ..Plan::default()
    };
    world.write(plan).await;
    let scene = world.look(world.ask()).await;
    assert_eq!(scene.incident.map(|incident| incident.id), Some(rows[1].id));
    assert_eq!(scene.snapshot.as_ref().map(told), Some(told(&kept)));
    let named = Ask { incident: Some(rows[3].id), ..world.ask() };
    let scene = world.look(named).await;
    assert_eq!(scene.incident.map(|incident| incident.id), Some(rows[3].id));
    assert!(scene.snapshot.is_none());
    let unknown = Ask { incident: Some(world.id()), ..world.ask() };
    assert!(world.look(unknown).await.incident.is_none());
    let forget_snapshots = vec![rows[1].id, world.id()];
    world.write(Plan { forget_snapshots, ..Plan::default() }).await;
    assert!(world.look(world.ask()).await.snapshot.is_none());
    assert!(world.incidents.snapshot(rows[1].id).await.expect("it is read").is_none());
}
