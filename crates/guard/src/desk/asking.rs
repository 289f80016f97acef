//! An order's way: what it must see, the verb under the fence, the answer, also to a repetition.

use std::sync::Arc;

use knarr_model::incident::{Audit, Incident};
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::{Ask, Decide, Plan, Refusal, Run, Scene};
use knarr_model::{Name, NodeId, RowId};
use serde::Serialize;
use uuid::Uuid;

use super::doors::Doors;
use crate::called::Called;
use crate::halted::NodeHalt;
use crate::notice::{Sender, announce};
use crate::order::{Moment, Order};

/// Takes orders. Every verb is one transaction and one line of the audit; a dry run is neither.
#[derive(Clone)]
pub struct Desk {
    pub(super) doors: Doors,
    sender: Sender,
}

/// What an order did, or would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The audit's line.
    pub audit: Audit,
    /// Whether nothing was written: it was only shown.
    pub dry_run: bool,
    /// Whether this is the answer to an earlier request under the same key.
    pub repeated: bool,
    /// The incident that was opened or ended.
    pub incident: Option<Incident>,
    /// Of a halt: what each live node that serves the endpoint did with what it had in hand.
    pub nodes: Option<Vec<NodeHalt>>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be, as things stand.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tries of a verb whose scene changed while it was looked at.
const TRIES: usize = 5;

impl Desk {
    /// A desk over these doors.
    pub fn new(doors: Doors, sender: Sender) -> Desk {
        Desk { doors, sender }
    }

    pub(super) async fn known_endpoint(&self, endpoint: &Name) -> Result<(), Error> {
        let rows = self.doors.records.endpoints().await?;
        if rows.iter().any(|row| row.name == *endpoint) {
            return Ok(());
        }
        Err(unknown(format!("there is no endpoint {endpoint}")))
    }

    /// The incident that an order carried out before opened or ended.
    async fn incident_of(&self, ask: &Ask, audit: &Audit) -> Result<Option<Incident>, Error> {
        let named = audit.target.strip_prefix("incident ").and_then(|id| id.parse().ok());
        let id = match (named, &ask.instance) {
            (Some(id), _) => Some(id),
            (None, Some((saga, id))) => {
                let found = self.doors.records.instance(saga, *id).await?;
                found.and_then(|detail| detail.instance.incident)
            }
            (None, None) => None,
        };
        let Some(id) = id else { return Ok(None) };
        let found = self.doors.incidents.incident(id).await?;
        Ok(found.filter(|it| it.opened_at == audit.at || it.closed_at == Some(audit.at)))
    }

    pub(super) fn moment(&self, order: &Order) -> Moment {
        let clock = &self.doors.clock;
        Moment {
            order: order.clone(),
            now: clock.now(),
            audit: clock.new_id(),
            incident: clock.new_id(),
            chunk: RowId(clock.new_id()),
            // Nobody's: whichever node is alive takes the messages over and publishes them.
            node: NodeId(Uuid::nil()),
            place: None,
        }
    }

    pub(super) async fn ask(
        &self,
        at: &Moment,
        ask: Ask,
        called: Called,
        verb: impl Fn(&Scene, &Moment) -> Result<Plan, Refusal> + Send + Sync + 'static,
    ) -> Result<Answer, Error> {
        let (own, sender) = (at.clone(), self.sender.clone());
        let decide: Decide = Arc::new(move |scene| {
            if let Some(before) = &scene.repeated {
                return Err(Refusal::Repeated(Box::new(before.clone())));
            }
            let mut plan = verb(scene, &own)?;
            announce(&mut plan, &own, &sender);
            Ok(plan)
        });
        let mut tries = 0;
        loop {
            tries += 1;
            let done =
                self.doors.guarded.under_fence(ask.clone(), decide.clone(), at.order.run).await?;
            match done {
                Ok(done) => return Ok(answer(done.plan, at)),
                Err(Refusal::Repeated(audit)) => {
                    called.is_the_same(&ask.endpoint, &at.order, &audit)?;
                    let incident = self.incident_of(&ask, &audit).await?;
                    return Ok(Answer {
                        audit: *audit,
                        dry_run: false,
                        repeated: true,
                        incident,
                        nodes: None,
                    });
                }
                Err(Refusal::Changed) if tries < TRIES => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }
}

fn answer(plan: Plan, at: &Moment) -> Answer {
    let audit = plan.audit.unwrap_or_else(|| at.line("", "", &Name::from(""), Vec::new()));
    Answer {
        audit,
        dry_run: at.order.run == Run::Dry,
        repeated: false,
        incident: plan.incidents.into_iter().next(),
        nodes: None,
    }
}

pub(super) fn unknown(text: String) -> Error {
    Error::Refused(Refusal::Unknown(text))
}
