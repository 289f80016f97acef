//! Counts that inform: added by a statement of their own, whatever else goes on.

use std::sync::Arc;

use knarr_model::incident::{Incident, IncidentStatus, Scope};
use knarr_model::ports::guard::{Counts, Plan};
use knarr_model::quarantine::Class;

use super::fixture::Guards;
use super::world::{GuardWorld, all};

async fn open(world: &GuardWorld) -> Vec<Incident> {
    let found = world.incidents.incidents(&Default::default(), &all()).await;
    let found = found.expect("incidents are read").items;
    found.into_iter().filter(|incident| incident.status == IncidentStatus::Open).collect()
}

/// The first message of a class opens the incident that gathers them, later ones raise its count;
/// other classes, sagas and endpoints, and incidents of one run, are others. Ended, the next message
/// opens a new one.
pub async fn guard_messages_of_a_class_gather_in_one_open_incident(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = Incident {
        instance: Some(knarr_model::InstanceId(world.id())),
        scope: Scope::Nothing,
        ..world.incident(Class::Unhandled)
    };
    world.write(Plan { incidents: vec![run.clone()], ..Plan::default() }).await;
    let draft = |count| world.gathering(Class::Unhandled, count);
    let first = draft(3);
    let add = async |classes| {
        let counts = Counts { classes, ..Counts::default() };
        world.second_guard.add_counts(&counts).await.expect("counts are added");
    };
    add(vec![first.clone()]).await;
    let foreign = Incident { saga: "billing".into(), ..draft(10) };
    add(vec![draft(4), world.gathering(Class::Untyped, 7), draft(5), foreign]).await;
    let found = open(&world).await;
    assert_eq!(found.len(), 4);
    let mut stored = world.stored_incident(first.id).await.expect("the first one stays");
    assert_eq!((stored.count, &stored.reason), (12, &first.reason));
    assert_eq!(world.stored_incident(run.id).await.map(|incident| incident.count), Some(1));
    stored.status = IncidentStatus::Resolved;
    world.write(Plan { incidents: vec![stored], ..Plan::default() }).await;
    let next = draft(1);
    add(vec![next.clone()]).await;
    assert_eq!(world.stored_incident(first.id).await.map(|incident| incident.count), Some(12));
    assert_eq!(world.stored_incident(next.id).await.map(|incident| incident.count), Some(1));
    add(Vec::new()).await;
}

/// A plan that opens the incident of a class where one gathers already adds to that one; what it
/// says about the new one is said about the one that is there.
pub async fn guard_a_plan_joins_the_incident_that_gathers(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let first = world.gathering(Class::Exhausted, 2);
    let counts = Counts { classes: vec![first.clone()], ..Counts::default() };
    world.guard.add_counts(&counts).await.expect("counts are added");
    let second = world.gathering(Class::Exhausted, 1);
    let mut row = world.quarantined(Class::Exhausted);
    row.incident = Some(second.id);
    let mut block = super::plan::block(&world.endpoint, row.id);
    block.incident = Some(second.id);
    let plan = Plan {
        incidents: vec![second.clone()],
        set_aside: vec![row.clone()],
        blocks: vec![block],
        ..Plan::default()
    };
    let done = world.write(plan).await;
    assert_eq!(done.plan.incidents[0].id, first.id);
    assert!(world.stored_incident(second.id).await.is_none());
    assert_eq!(world.stored_incident(first.id).await.map(|incident| incident.count), Some(3));
    let row = world.stores.records.quarantined(row.id).await.expect("it is read");
    assert_eq!(row.expect("it is there").incident, Some(first.id));
    let (_, blocks) = world.guard.blocks(&world.endpoint).await.expect("blocks are read");
    assert_eq!(blocks[0].incident, Some(first.id));
}

/// Counts added at once from two places are all there, and one incident gathers them.
pub async fn guard_pe_277_counts_added_at_once_are_all_there(guards: Guards) {
    let world = Arc::new(GuardWorld::new(guards).await);
    let rows = [world.quarantined(Class::Exhausted), world.quarantined(Class::Exhausted)];
    world.write(Plan { set_aside: rows.to_vec(), ..Plan::default() }).await;
    let ids = [rows[0].id, rows[1].id];
    let adding: Vec<_> = (0..20)
        .map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let guard = if n % 2 == 0 { &world.guard } else { &world.second_guard };
                let mut copies = vec![(ids[0], 2), (ids[1], 1), (ids[0], 1), (world.id(), 5)];
                let mut classes =
                    vec![world.gathering(Class::Unhandled, 1), world.gathering(Class::Untyped, 2)];
                if n % 3 == 0 {
                    copies.reverse();
                    classes.reverse();
                }
                guard.add_counts(&Counts { copies, classes }).await.expect("counts are added");
            })
        })
        .collect();
    for one in adding {
        one.await.expect("adding does not panic");
    }
    for (id, count) in [(ids[0], 60), (ids[1], 20)] {
        let row = world.stores.records.quarantined(id).await.expect("it is read");
        assert_eq!(row.map(|row| row.copies), Some(count));
    }
    let mut found: Vec<_> =
        open(&world).await.into_iter().map(|incident| (incident.class, incident.count)).collect();
    found.sort_unstable();
    assert_eq!(found, [(Class::Untyped, 40), (Class::Unhandled, 20)]);
}
