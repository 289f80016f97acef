//! From a broker's delivery to its lane: which instance it is for, as far as that is known.

use std::sync::Arc;

use knarr_model::InstanceId;
use knarr_model::ports::transport::{Delivery, Settler};
use knarr_saga::definition::{Definition, Target};

use crate::delivery::{Body, Incoming, Raw, Source};
use crate::route::{lane_instance, of_envelope};
use crate::shared::Serving;

/// A message from the broker.
pub(crate) fn of_delivery(
    saga: &dyn Definition,
    delivery: Delivery,
    settler: &Arc<dyn Settler>,
) -> Incoming {
    let body = match delivery.content {
        Ok(envelope) => of_envelope(saga, envelope),
        Err(bad) => Body::Bad { class: bad.class, reason: bad.reason, envelope: None },
    };
    Incoming {
        id: delivery.message_id,
        digest: delivery.digest,
        body,
        source: Source::Broker {
            receipt: delivery.receipt,
            settler: settler.clone(),
            raw: Raw {
                exchange: delivery.exchange,
                routing_key: delivery.routing_key,
                content_type: delivery.content_type,
                headers: delivery.headers,
                body: delivery.body,
                size: delivery.size,
            },
            delivered: delivery.delivery_count,
        },
        received_at: delivery.received_at,
        attempt: 0,
        lost: 0,
        held: None,
        span: None,
        suspect: false,
    }
}

/// The instance whose lane a message travels on, by what this node has seen of its key.
pub(super) fn lane(serving: &Serving, incoming: &Incoming) -> InstanceId {
    lane_instance(&*serving.saga, incoming, |correlated| match &correlated.target {
        Target::Key(key) => serving.known_keys.lock().get(key).copied(),
        Target::Id(id) => Some(*id),
    })
}
