//! The queues of a bench: filled before a measurement, looked at after it.

use bytes::Bytes;
use knarr_model::format::{MASS_TRANSIT, masstransit};
use knarr_model::ports::transport::{Published, Transport};
use knarr_model::topology::{Declare, QueueKind, ReceiveEndpoint, Subscription, WithoutId};
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Envelope, Headers, Message, MessageId, ids};
use serde_json::value::to_raw_value;

use super::error::Error;
use super::machine::Tick;

/// Events to one instance.
pub(super) const EVENTS: usize = 4;
/// Bytes of a body, about: the envelope takes the rest.
const PADDING: usize = 96;
/// Messages published at once while filling.
const FILL: usize = 500;

/// An endpoint that takes `subscriptions`.
pub(super) fn endpoint(
    name: &str,
    queue: QueueKind,
    subscriptions: Vec<Subscription>,
    prefetch: u16,
) -> ReceiveEndpoint {
    ReceiveEndpoint {
        name: name.into(),
        subscriptions,
        queue,
        declare: Declare::Create,
        prefetch,
        max_body: 8 << 20,
        without_id: WithoutId::Digest,
        ordered: false,
    }
}

/// Fills a queue with `count` events of `count / 4` instances, the first events of all first.
/// `salt` makes instances and ids those of this measurement alone.
pub(super) async fn fill(
    transport: &dyn Transport,
    queue: &str,
    count: usize,
    salt: &str,
) -> Result<usize, Error> {
    let instances = (count / EVENTS).max(1);
    let mut bytes = 0;
    for first in (0..count).step_by(FILL) {
        let messages: Vec<_> = (first..(first + FILL).min(count))
            .map(|n| event(queue, n % instances, n / instances, salt))
            .collect();
        bytes += messages.iter().map(|message| message.body.len()).sum::<usize>();
        let answers = transport.publish(&messages).await;
        if let Some(answer) = answers.into_iter().find(|a| *a != Published::Confirmed) {
            return Err(Error::Filling(format!("{answer:?}")));
        }
    }
    Ok(bytes / count.max(1))
}

fn event(queue: &str, instance: usize, n: usize, salt: &str) -> Outgoing {
    let id = |what: &str| {
        ids::derived_id(&[
            what.as_bytes(),
            salt.as_bytes(),
            &instance.to_be_bytes(),
            &n.to_be_bytes(),
        ])
    };
    let correlation_id = ids::derived_id(&[b"instance", salt.as_bytes(), &instance.to_be_bytes()]);
    let tick = Tick { correlation_id, n: n as u32, padding: "x".repeat(PADDING) };
    let raw = to_raw_value(&tick).expect("an event is plain data");
    let message_id = MessageId(id("event"));
    let envelope = Envelope::new(message_id, Tick::urn(), raw.into());
    let body: Bytes = masstransit::encode(&envelope, &masstransit::Host::default());
    Outgoing {
        id: message_id,
        sequence: None,
        exchange: queue.to_owned(),
        routing_key: String::new(),
        addressing: Addressing::Queue,
        content_type: MASS_TRANSIT.to_owned(),
        correlation_id: None,
        headers: Headers::new(),
        expires_at: None,
        priority: None,
        body,
    }
}
