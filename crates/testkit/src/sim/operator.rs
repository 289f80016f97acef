//! A person at the desk: verbs at random moments, asked again under the same key when no answer came.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use knarr_guard::desk::{Answer, Doors, Error, Sagas};
use knarr_guard::notice::Sender;
use knarr_guard::{Desk, Order};
use knarr_model::Statement;
use knarr_model::format::masstransit::Host;
use knarr_model::incident::IncidentStatus;
use knarr_model::ports::guard::{Refusal, Run};
use knarr_model::ports::store::EndpointState;
use knarr_model::quarantine::Status;
use knarr_model::topology::Subscription;
use knarr_model::{Envelope, InstanceId, Name};
use knarr_saga::definition::Definition;
use serde_json::Value;
use uuid::Uuid;

use super::store::SimStore;
use super::toy::ENDPOINT;
use super::verbs;
use super::world::World;
use crate::clock::TokioClock;
use crate::memory::Rows;

/// One person.
pub(super) struct Operator {
    desk: Desk,
    store: SimStore,
    world: Arc<World>,
    name: String,
    instances: Vec<InstanceId>,
    orders: u64,
}

/// What a person may ask for.
#[derive(Clone, Debug)]
enum Verb {
    Halt,
    Pause,
    Resume(bool),
    Purge(InstanceId),
    Cancel(InstanceId),
    ResumeInstance(InstanceId),
    Retry(Uuid),
    Resolve(Uuid),
    DiscardIncident(Uuid),
    Release(Vec<Uuid>),
    Edit(Uuid, Bytes),
    Discard(Vec<Uuid>),
    Unblock(Uuid),
}

/// The only saga there is.
struct OneSaga(Arc<dyn Definition>);

impl Sagas for OneSaga {
    fn endpoint(&self, saga: &Name) -> Option<Name> {
        (saga == self.0.name()).then(|| ENDPOINT.into())
    }

    fn subscriptions(&self, _endpoint: &Name) -> Vec<Subscription> {
        self.0.subscriptions()
    }

    fn check(&self, _endpoint: &Name, envelope: &Envelope) -> Result<(), String> {
        self.0.correlate(envelope).map(drop).map_err(|bad| bad.to_string())
    }

    fn purge_steps(&self, saga: &Name, instance: InstanceId, run: u32) -> Vec<Statement> {
        let _ = saga;
        self.0.purge_steps(instance, run)
    }
}

impl Operator {
    pub(super) fn new(
        store: &SimStore,
        saga: &Arc<dyn Definition>,
        instances: Vec<InstanceId>,
        seed: u64,
        name: &str,
    ) -> Operator {
        let clock = Arc::new(TokioClock::starting_at(store.now(), seed));
        let doors = Doors {
            guarded: Arc::new(store.clone()),
            records: Arc::new(store.inner.clone()),
            incidents: Arc::new(store.clone()),
            clock,
            sagas: Arc::new(OneSaga(saga.clone())),
        };
        let address = format!("sim://broker/{ENDPOINT}");
        let sender = Sender { address, host: Host::default() };
        Operator {
            desk: Desk::new(doors, sender),
            store: store.clone(),
            world: store.world.clone(),
            name: name.to_owned(),
            instances,
            orders: 0,
        }
    }

    /// Looks up now and then, and may do something.
    pub(super) async fn work(mut self) {
        loop {
            let wait = 10 + self.world.dice.below(150);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            if self.world.dice.strikes("operate", |f| f.operate)
                && let Some(verb) = self.choose()
            {
                self.order(&verb).await;
            }
        }
    }

    /// Whatever stands open is ended; in the first rounds some of it is tried again.
    pub(super) async fn tidy(&mut self, round: u64) {
        let rows = self.store.inner.rows();
        if rows.endpoint.values().any(|row| row.state != EndpointState::Open) {
            self.firmly(&Verb::Resume(false)).await;
        }
        let mut verbs = Vec::new();
        let tries = round < 8;
        for incident in verbs::open(&rows) {
            let kept = rows.snapshot.contains_key(&incident.id);
            verbs.push(match self.world.dice.below(4) {
                0 | 1 if tries && kept => Verb::Retry(incident.id),
                2 => Verb::DiscardIncident(incident.id),
                _ => Verb::Resolve(incident.id),
            });
        }
        let held = rows.quarantine.values().filter(|row| row.status == Status::Held);
        for row in held.filter(|_| tries && self.world.dice.below(5) == 0) {
            verbs.push(Verb::Release(vec![row.id]));
        }
        for verb in verbs {
            self.firmly(&verb).await;
        }
    }

    /// For real, whatever the dice say.
    async fn firmly(&mut self, verb: &Verb) {
        let order = Order::by(&self.name).because("tidying up");
        let answer = self.ask(verb, &order).await;
        self.heard(verb, &order, answer.as_ref());
    }

    /// Asks once, or until an answer comes.
    async fn order(&mut self, verb: &Verb) {
        self.orders += 1;
        let dice = &self.world.dice;
        let mut order = Order::by(&self.name);
        if dice.below(8) == 0 {
            order.run = Run::Dry;
        } else if dice.below(2) == 0 {
            order.key = Some(format!("{}-{}", self.name, self.orders));
        }
        let mut tries = 0;
        loop {
            let carried_out = self.is_done(&order);
            let answer = self.ask(verb, &order).await;
            self.heard(verb, &order, answer.as_ref());
            if carried_out
                && matches!(&answer, Err(Error::Refused(_)) | Ok(Answer { repeated: false, .. }))
            {
                let text =
                    format!("{verb:?} was carried out under its key, then answered {answer:?}");
                self.world.violation(text);
            }
            let unknown = matches!(answer, Err(Error::Store(_)));
            // Now and then a person asks again though an answer came.
            let again = answer.is_ok() && self.world.dice.below(10) == 0;
            tries += 1;
            if order.key.is_none() || tries > 4 || !(unknown || again) {
                return;
            }
            let wait = self.world.dice.below(300);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    /// Whether the audit has this order's key.
    fn is_done(&self, order: &Order) -> bool {
        order.key.is_some()
            && self
                .store
                .inner
                .with_rows(|rows| rows.audit.values().any(|line| line.key == order.key))
    }

    /// What was answered must be in the audit.
    fn heard(&self, verb: &Verb, order: &Order, answer: Result<&Answer, &Error>) {
        let told = match answer {
            Ok(answer) if answer.repeated => "done before".to_owned(),
            Ok(answer) => format!("done: {:?}", answer.audit.done),
            Err(error) => error.to_string(),
        };
        self.world.log(|| format!("{} asks {verb:?} ({:?}): {told}", self.name, order.run));
        let answer = match answer {
            Ok(answer) => answer,
            Err(Error::Refused(Refusal::Changed)) => {
                return self
                    .world
                    .violation(format!("{verb:?} gave up: the scene changed under it"));
            }
            Err(_) => return,
        };
        self.world.ledger(|ledger| {
            ledger.did(if answer.repeated { "answered again" } else { "answered" });
            if !answer.dry_run {
                let line = &answer.audit;
                ledger.answered.push((line.id, line.key.clone(), line.verb.clone()));
            }
        });
    }

    async fn ask(&self, verb: &Verb, order: &Order) -> Result<Answer, Error> {
        let (desk, name): (_, Name) = (&self.desk, ENDPOINT.into());
        match verb {
            Verb::Halt => desk.halt(order, &name).await,
            Verb::Pause => desk.pause(order, &name).await,
            Verb::Resume(probe) => desk.resume(order, &name, *probe).await,
            Verb::Purge(id) => desk.purge(order, &name, *id).await,
            Verb::Cancel(id) => desk.cancel(order, &name, *id).await,
            Verb::ResumeInstance(id) => desk.resume_instance(order, &name, *id).await,
            Verb::Retry(id) => desk.retry(order, *id).await,
            Verb::Resolve(id) => desk.resolve(order, *id).await,
            Verb::DiscardIncident(id) => desk.discard_incident(order, *id).await,
            Verb::Release(ids) => desk.release(order, ids).await,
            Verb::Edit(id, body) => desk.edit(order, *id, body.clone(), None).await,
            Verb::Discard(ids) => desk.discard(order, ids).await,
            Verb::Unblock(id) => desk.unblock(order, *id).await,
        }
    }

    fn choose(&self) -> Option<Verb> {
        let rows = self.store.inner.rows();
        let dice = &self.world.dice;
        let stopped = rows.endpoint.values().any(|row| row.state != EndpointState::Open);
        let instance = self.instances[dice.below(self.instances.len() as u64) as usize];
        let incident = |rows| self.incident(rows);
        Some(match dice.below(18) {
            0 => Verb::Halt,
            1 => Verb::Pause,
            2..=6 if stopped => Verb::Resume(dice.below(4) == 0),
            7 => Verb::Purge(instance),
            8 => Verb::Cancel(instance),
            9 => Verb::ResumeInstance(instance),
            10 | 11 => Verb::Retry(incident(&rows)?),
            12 => Verb::Resolve(incident(&rows)?),
            13 => Verb::DiscardIncident(incident(&rows)?),
            14 => Verb::Release(self.set_aside(&rows, 1 + dice.below(3) as usize)?),
            15 => self.edit(&rows)?,
            16 if dice.below(3) == 0 => Verb::Discard(self.set_aside(&rows, 1)?),
            17 => Verb::Unblock(self.set_aside(&rows, 1)?[0]),
            _ => return None,
        })
    }

    fn pick<T: Copy>(&self, from: &[T]) -> Option<T> {
        let n = self.world.dice.below(from.len() as u64) as usize;
        from.get(n).copied()
    }

    /// Mostly one that is open.
    fn incident(&self, rows: &Rows) -> Option<Uuid> {
        let any = self.world.dice.below(6) == 0;
        let fits = rows.incident.values().filter(|i| any || i.status == IncidentStatus::Open);
        self.pick(&fits.map(|incident| incident.id).collect::<Vec<_>>())
    }

    /// Mostly ones that are held.
    fn set_aside(&self, rows: &Rows, most: usize) -> Option<Vec<Uuid>> {
        let any = self.world.dice.below(6) == 0;
        let fits = rows.quarantine.values().filter(|row| any || row.status == Status::Held);
        let fits: Vec<_> = fits.map(|row| row.id).collect();
        let first = self.pick(&fits)?;
        let more = fits.iter().copied().filter(|id| *id != first).take(most - 1);
        Some(std::iter::once(first).chain(more).collect())
    }

    /// Takes the poison out of a message; now and then breaks it.
    fn edit(&self, rows: &Rows) -> Option<Verb> {
        let id = self.set_aside(rows, 1)?[0];
        let body = &rows.quarantine.get(&id)?.body;
        let mut says: Value = serde_json::from_slice(body).ok()?;
        if self.world.dice.below(4) == 0 {
            return Some(Verb::Edit(id, Bytes::from_static(b"{ no JSON")));
        }
        says["message"]["poison"] = Value::Bool(false);
        Some(Verb::Edit(id, Bytes::from(says.to_string())))
    }
}
