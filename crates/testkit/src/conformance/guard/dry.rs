//! What is only shown, refused or failed leaves everything as it was.

use knarr_model::ids::Name;
use knarr_model::ports::guard::{Ask, Plan, Refusal, Run, Scene};
use knarr_model::quarantine::Class;
use knarr_model::work::ParkedReason;

use super::fixture::Guards;
use super::plan::{block, halted, purge};
use super::runs::{full, leaving};
use super::world::GuardWorld;

/// A plan that writes everything that a plan can write but for what it restores.
fn everything(world: &GuardWorld, id: knarr_model::InstanceId) -> impl Fn(&Scene) -> Plan + use<> {
    let incident = world.incident(Class::Failed);
    let row = world.quarantined(Class::Failed);
    let wanted = block(&world.endpoint, row.id);
    let journal = vec![world.ignored(row.message_id, Some(id))];
    let deliveries = vec![world.parked(None, 1, ParkedReason::Retry, Some(-1_000))];
    let outgoing = Some((knarr_model::RowId(world.id()), vec![world.outgoing(id, 9)]));
    let audit = Some(world.line("purge", Some("key")));
    move |scene| Plan {
        endpoint: Some(halted(&scene.endpoint)),
        set_aside: vec![row.clone()],
        blocks: vec![wanted.clone()],
        journal: journal.clone(),
        deliveries: deliveries.clone(),
        outgoing: outgoing.clone(),
        audit: audit.clone(),
        ..purge(scene, &incident)
    }
}

/// A dry run answers with the plan and writes nothing: every read shows what it showed before, and
/// an endpoint that was only looked at is not made. Carried out for real, that plan changes them.
pub async fn guard_a_dry_run_changes_nothing(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let before = world.picture(&[run.id]).await;
    let ask = Ask { key: Some("key".to_owned()), ..world.ask_of(run.id) };
    let decide = everything(&world, run.id);
    let own = everything(&world, run.id);
    let shown = world.try_verb(ask.clone(), move |scene| Ok(own(scene)), Run::Dry).await;
    let shown = shown.expect("it is shown");
    assert!(shown.plan.empty.is_some() && shown.plan.audit.is_some());
    assert!(shown.chunks.is_empty() && shown.steps.is_empty());
    assert_eq!(world.picture(&[run.id]).await, before);
    let aside = Ask { endpoint: Name::from("nowhere"), ..world.ask() };
    let shown = world.try_verb(aside, |_| Ok(Plan::default()), Run::Dry).await;
    shown.expect("it is shown");
    assert_eq!(world.picture(&[run.id]).await, before);
    assert!(world.look(ask.clone()).await.repeated.is_none());
    world.verb(ask, decide).await;
    assert_ne!(world.picture(&[run.id]).await, before);
    assert_eq!(leaving(&world).await.len(), run.others.len() + 1);
}

/// A refusal changes nothing, whatever it says, and comes back as it was said.
pub async fn guard_a_refusal_changes_nothing(guards: Guards) {
    let world = GuardWorld::new(guards).await;
    let run = full(&world).await;
    let before = world.picture(&[run.id]).await;
    let refusals = [
        Refusal::Unknown("no such run".to_owned()),
        Refusal::Conflict("resolved already".to_owned()),
        Refusal::Invalid("no JSON".to_owned()),
        Refusal::Changed,
        Refusal::Repeated(Box::new(world.line("halt", None))),
    ];
    for refusal in refusals {
        for run_as in [Run::ForReal, Run::Dry] {
            let own = refusal.clone();
            let ask = Ask { endpoint: "nowhere".into(), ..world.ask_of(run.id) };
            let done = world.try_verb(ask, move |_| Err(own.clone()), run_as).await;
            assert_eq!(done.expect_err("it is refused"), refusal);
        }
    }
    assert_eq!(world.picture(&[run.id]).await, before);
}
