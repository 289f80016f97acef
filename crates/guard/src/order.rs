//! What a person or the guard itself asks for: who, why, and whether it is only to be shown.

use chrono::{DateTime, Utc};
use knarr_model::incident::Audit;
use knarr_model::ports::guard::{Ask, Run};
use knarr_model::{Name, NodeId, RowId, TraceParent};
use uuid::Uuid;

/// Who asks, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// The token's name, or [`GUARD`].
    pub who: String,
    /// Why, in that person's words.
    pub reason: Option<String>,
    /// A repeated request under the same key gets the first one's answer.
    pub key: Option<String>,
    /// Only shown, or carried out.
    pub run: Run,
}

/// The name under which the guard acts by itself.
pub const GUARD: &str = "knarr";

impl Order {
    /// An order carried out at once.
    pub fn by(who: impl Into<String>) -> Order {
        Order { who: who.into(), reason: None, key: None, run: Run::ForReal }
    }

    /// With a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Order {
        self.reason = Some(reason.into());
        self
    }
}

/// An order with its time and the ids it may use: fixed before the plan is made, since a plan may
/// be made more than once.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Who asks, and why.
    pub order: Order,
    /// The clock port's time.
    pub now: DateTime<Utc>,
    /// For the audit's line.
    pub audit: Uuid,
    /// For an incident, should one be opened.
    pub incident: Uuid,
    /// For an outbox row, should a message leave.
    pub chunk: RowId,
    /// The process that asks.
    pub node: NodeId,
    /// The span in which it is asked, where there is one.
    pub place: Option<TraceParent>,
}

impl Moment {
    /// The endpoint's row and what was done under the same key, and nothing else.
    pub fn ask(&self, endpoint: &Name) -> Ask {
        let mut ask = Ask::endpoint(endpoint, self.node, self.now);
        ask.key.clone_from(&self.order.key);
        ask
    }

    /// The line that says what was done.
    pub(crate) fn line(
        &self,
        verb: &str,
        target: impl Into<String>,
        endpoint: &Name,
        done: Vec<String>,
    ) -> Audit {
        Audit {
            id: self.audit,
            at: self.now,
            who: self.order.who.clone(),
            verb: verb.to_owned(),
            target: target.into(),
            endpoint: endpoint.clone(),
            reason: self.order.reason.clone(),
            key: self.order.key.clone(),
            done,
            waits: false,
        }
    }

    /// Why, for others to read.
    pub(crate) fn why(&self, otherwise: &str) -> String {
        self.order.reason.clone().unwrap_or_else(|| otherwise.to_owned())
    }
}

#[cfg(test)]
impl Moment {
    /// A moment for tests.
    pub(crate) fn for_test(who: &str) -> Moment {
        Moment {
            order: Order::by(who),
            now: DateTime::UNIX_EPOCH,
            audit: Uuid::from_u128(1),
            incident: Uuid::from_u128(2),
            chunk: RowId(Uuid::from_u128(3)),
            node: NodeId(Uuid::from_u128(4)),
            place: None,
        }
    }
}
