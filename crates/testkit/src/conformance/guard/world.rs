//! The small world of the store suite with the guard's doors, and how a case asks and decides.

use std::ops::Deref;
use std::sync::Arc;

use knarr_model::ids::InstanceId;
use knarr_model::incident::{Audit, Incident, IncidentStatus, Removed, Scope};
use knarr_model::ports::guard::{Ask, CarriedOut, Plan, Refusal, Run, Scene};
use knarr_model::ports::records::{PageRequest, QuarantineFilter};
use knarr_model::ports::{Guarded, Incidents};
use knarr_model::quarantine::{Class, Status};
use parking_lot::Mutex;
use uuid::Uuid;

use super::fixture::Guards;
use crate::conformance::store::World;

/// A fresh store with one endpoint, two live nodes and the guard's doors.
pub struct GuardWorld {
    world: World,
    /// The guard's door of the case's own node.
    pub guard: Arc<dyn Guarded>,
    /// The same through the second handle.
    pub second_guard: Arc<dyn Guarded>,
    /// The reading side.
    pub incidents: Arc<dyn Incidents>,
    /// Whether purge steps are carried out.
    pub sql: bool,
}

impl Deref for GuardWorld {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

/// All rows of a list that is asked for at once.
pub fn all() -> PageRequest {
    PageRequest { limit: 1_000, cursor: None }
}

impl GuardWorld {
    /// Makes the endpoint's row and lets both nodes join.
    pub async fn new(guards: Guards) -> GuardWorld {
        let Guards { stores, guard, second, incidents, sql } = guards;
        let world = World::new(stores).await;
        GuardWorld { world, guard, second_guard: second, incidents, sql }
    }

    /// Asks for the endpoint alone.
    pub fn ask(&self) -> Ask {
        Ask::endpoint(&self.endpoint, self.node, self.now())
    }

    /// Asks for a run.
    pub fn ask_of(&self, id: InstanceId) -> Ask {
        Ask { instance: Some((self.saga.clone(), id)), ..self.ask() }
    }

    /// Carries a verb out through the first handle; the store must answer.
    pub async fn try_verb(
        &self,
        ask: Ask,
        decide: impl Fn(&Scene) -> Result<Plan, Refusal> + Send + Sync + 'static,
        run: Run,
    ) -> Result<CarriedOut, Refusal> {
        let done = self.guard.under_fence(ask, Arc::new(decide), run).await;
        done.expect("the verb is answered")
    }

    /// Carries a verb out; nothing may be refused.
    pub async fn verb(
        &self,
        ask: Ask,
        decide: impl Fn(&Scene) -> Plan + Send + Sync + 'static,
    ) -> CarriedOut {
        let done = self.try_verb(ask, move |scene| Ok(decide(scene)), Run::ForReal).await;
        done.expect("nothing is refused")
    }

    /// Carries out a plan that depends on nothing.
    pub async fn write(&self, plan: Plan) -> CarriedOut {
        self.verb(self.ask(), move |_| plan.clone()).await
    }

    /// Looks, and refuses to do anything.
    pub async fn look(&self, ask: Ask) -> Scene {
        let seen: Arc<Mutex<Option<Scene>>> = Arc::default();
        let own = seen.clone();
        let decide = move |scene: &Scene| {
            *own.lock() = Some(scene.clone());
            Err(Refusal::Conflict("only looking".to_owned()))
        };
        let refused = self.try_verb(ask, decide, Run::ForReal).await.expect_err("it is refused");
        assert_eq!(refused, Refusal::Conflict("only looking".to_owned()));
        let scene = seen.lock().take();
        scene.expect("decide was asked")
    }

    /// An open incident of the endpoint that stops it.
    pub fn incident(&self, class: Class) -> Incident {
        Incident {
            id: self.id(),
            endpoint: self.endpoint.clone(),
            saga: self.saga.clone(),
            class,
            status: IncidentStatus::Open,
            scope: Scope::Endpoint,
            reason: "the payment was refused three times".to_owned(),
            errors: vec!["outer".to_owned(), "inner".to_owned()],
            instance: None,
            run: None,
            state: None,
            definition_version: 4,
            quarantined: None,
            failed_at: None,
            removed: Removed::default(),
            may_have_left: Vec::new(),
            joined: Vec::new(),
            count: 1,
            opened_at: self.now(),
            closed_at: None,
            closed_by: None,
        }
    }

    /// A draft of the incident that gathers messages of one class.
    pub fn gathering(&self, class: Class, count: u64) -> Incident {
        Incident { scope: Scope::Nothing, count, ..self.incident(class) }
    }

    /// A line of the audit.
    pub fn line(&self, verb: &str, key: Option<&str>) -> Audit {
        Audit {
            id: self.id(),
            at: self.now(),
            who: "anna".to_owned(),
            verb: verb.to_owned(),
            target: "order/4711".to_owned(),
            endpoint: self.endpoint.clone(),
            reason: Some("because".to_owned()),
            key: key.map(str::to_owned),
            done: vec!["it was done".to_owned()],
            waits: false,
        }
    }

    /// The whole audit of the endpoint, newest first.
    pub async fn history(&self) -> Vec<Audit> {
        let audit = self.incidents.audit(Some(&self.endpoint), &all()).await;
        audit.expect("the audit is read").items
    }

    /// One incident as it is stored.
    pub async fn stored_incident(&self, id: Uuid) -> Option<Incident> {
        self.incidents.incident(id).await.expect("the incident is read")
    }

    /// All that the store's reading doors show of the endpoint, of `ids` and of what is set aside,
    /// as text that can be compared.
    pub async fn picture(&self, ids: &[InstanceId]) -> String {
        let records = &self.stores.records;
        let mut lines = Vec::new();
        lines.push(format!("{:?}", records.endpoints().await.expect("endpoints are read")));
        for id in ids {
            let detail = records.instance(&self.saga, *id).await.expect("it is read");
            lines.push(format!("{detail:?}"));
            let run = detail.map_or(1, |detail| detail.instance.run);
            let origin = self.store().origin(&self.saga, *id, run).await.expect("it is read");
            lines.push(format!("{origin:?}"));
            let marks = self.guard.withdrawn(&self.endpoint, &[(*id, run)]).await;
            lines.push(format!("{:?}", marks.expect("marks are read")));
        }
        for node in [self.node, self.other] {
            let chunks = self.store().own_chunks(node, &[]).await.expect("chunks are read");
            lines.push(format!("{chunks:?}"));
        }
        for status in [Status::Held, Status::Released, Status::Discarded] {
            let filter = QuarantineFilter { status: Some(status), ..QuarantineFilter::default() };
            let rows = records.quarantine(&filter, &all()).await.expect("quarantine is read");
            lines.push(format!("{:?}", rows.items));
        }
        let incidents = self.incidents.incidents(&Default::default(), &all()).await;
        for incident in incidents.expect("incidents are read").items {
            let kept = self.incidents.snapshot(incident.id).await.expect("it is read");
            lines.push(format!("{incident:?} {kept:?}"));
        }
        let audit = self.incidents.audit(None, &all()).await.expect("the audit is read");
        lines.push(format!("{:?}", audit.items));
        let blocks = self.guard.blocks(&self.endpoint).await.expect("blocks are read");
        lines.push(format!("{blocks:?}"));
        lines.join("\n")
    }
}
