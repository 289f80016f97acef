//! Decides every event twice and compares: behaviours must be pure.

use std::sync::Arc;

use knarr_model::InstanceId;
use knarr_model::incident::FailurePolicy;
use knarr_saga::definition::{Cause, Decision, Event, Live};

use super::ledger::kills;
use super::world::World;
use crate::around::Around;

/// Has every decision made twice, and declares what the seed says of failures.
#[derive(Clone)]
pub(super) struct Twice {
    pub(super) failures: FailurePolicy,
    pub(super) world: Arc<World>,
}

impl Around for Twice {
    fn decide(
        &self,
        _: InstanceId,
        live: &mut dyn Live,
        cause: &Cause,
        event: &Event<'_>,
    ) -> Decision {
        if matches!(event, Event::Message(envelope) if kills(envelope)) {
            self.world.doom();
        }
        let mut copy = live.snapshot();
        let first = live.decide(cause, event);
        let second = copy.decide(cause, event);
        if format!("{first:?}") != format!("{second:?}") {
            self.world.violation(format!("deciding {event:?} twice gave two answers"));
        }
        first
    }

    fn failures(&self, _: FailurePolicy) -> FailurePolicy {
        self.failures
    }
}
