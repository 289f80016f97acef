//! A consumer of one queue: what it takes is its own until it is settled or this process ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use knarr_model::format::{self, Inbound, Read};
use knarr_model::ports::transport::{Receipt, Settlement, Settler, Undecodable};
use knarr_model::ports::{Consumer, Delivery, TransportError};
use knarr_model::quarantine::Class;
use knarr_model::topology::ReceiveEndpoint;

use crate::error::Error;
use crate::file::File;
use crate::line::{Handed, Line};
use crate::queue::{Properties, Stored};
use crate::queues::Queues;

/// However quiet a queue is said to be, it is looked into this often.
const FLOOR: Duration = Duration::from_secs(1);

/// What is kept of a body that is larger than the endpoint takes.
const HEAD: usize = 64 << 10;

/// A consumer of one queue.
pub(crate) struct QueueConsumer {
    endpoint: ReceiveEndpoint,
    queues: Arc<Queues>,
    prefetch: usize,
    hold: Arc<Hold>,
}

/// What a consumer has in hand, also known to those who settle for it.
struct Hold {
    file: Arc<File>,
    line: Arc<Line>,
    generation: u64,
}

impl QueueConsumer {
    /// Begins to consume from the endpoint's queue.
    pub(crate) fn new(
        file: Arc<File>,
        queues: Arc<Queues>,
        endpoint: ReceiveEndpoint,
    ) -> QueueConsumer {
        let line = queues.line(&endpoint.name);
        // As in AMQP, 0 means no bound of its own.
        let prefetch = match endpoint.prefetch {
            0 => usize::from(u16::MAX),
            some => usize::from(some),
        };
        line.enter(prefetch);
        let generation = queues.next_generation();
        QueueConsumer {
            endpoint,
            queues,
            prefetch,
            hold: Arc::new(Hold { file, line, generation }),
        }
    }

    async fn take(&self, max: usize, look_anyway: bool) -> Result<Vec<Delivery>, TransportError> {
        let Hold { file, line, generation } = &*self.hold;
        let room = self.prefetch.saturating_sub(line.in_hand(*generation)).min(max.max(1));
        match line.take(file, *generation, room, look_anyway).await {
            Ok(found) => Ok(found.into_iter().map(|message| self.delivery(message)).collect()),
            Err(error) if error.is_transient() => {
                // As in an outage of a broker: the call waits, and looks again at the floor.
                tracing::warn!(%error, queue = &*self.endpoint.name, "the queue cannot be read");
                Ok(Vec::new())
            }
            Err(error) => Err(TransportError::Refused(error.to_string())),
        }
    }

    fn delivery(&self, Handed { tag, message }: Handed) -> Delivery {
        let Stored { delivery_count, exchange, routing_key, properties, body, .. } = message;
        let (properties, bad) = match properties {
            Ok(properties) => (properties, None),
            Err(error) => (Properties::default(), Some(error)),
        };
        let inbound = Inbound {
            endpoint: &self.endpoint.name,
            subscriptions: &self.endpoint.subscriptions,
            content_type: properties.content_type.as_deref(),
            message_id: properties.message_id.as_deref(),
            correlation_id: properties.correlation_id.as_deref(),
            reply_to: None,
            timestamp: None,
            headers: &properties.headers,
            exchange: &exchange,
            routing_key: &routing_key,
            body: &body,
            from_broker: true,
            without_id: self.endpoint.without_id,
        };
        let Read { content, message_id, digest, without_id } = self.read(&inbound, bad);
        let size = body.len();
        let mut body = Bytes::from(body);
        if size > self.endpoint.max_body {
            body.truncate(HEAD);
        }
        Delivery {
            receipt: Receipt { generation: self.hold.generation, tag },
            content: content.map(Arc::new),
            message_id,
            digest,
            without_id,
            delivery_count,
            exchange,
            routing_key,
            content_type: properties.content_type,
            headers: properties.headers,
            body,
            size,
            received_at: self.hold.file.clock.now(),
        }
    }

    fn read(&self, inbound: &Inbound<'_>, bad: Option<Error>) -> Read {
        let (size, most) = (inbound.body.len(), self.endpoint.max_body);
        if let Some(error) = bad {
            let reason = format!("its stored properties cannot be read: {error}");
            return format::unread(inbound, Undecodable { class: Class::Undecodable, reason });
        }
        if size > most {
            let reason = format!("the body has {size} bytes, this endpoint takes {most}");
            return format::unread(inbound, Undecodable { class: Class::TooLarge, reason });
        }
        format::read(inbound)
    }
}

#[async_trait]
impl Consumer for QueueConsumer {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, TransportError> {
        let line = self.hold.line.clone();
        let mut look_anyway = false;
        loop {
            let mut changed = std::pin::pin!(line.changed());
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.queues.closed().is_cancelled() {
                return Err(TransportError::Refused(Error::closed().to_string()));
            }
            let taken = self.take(max, look_anyway).await?;
            if !taken.is_empty() {
                return Ok(taken);
            }
            look_anyway = false;
            tokio::select! {
                biased;
                () = self.queues.closed().cancelled() => {}
                () = changed => {}
                () = self.hold.file.clock.sleep(FLOOR) => look_anyway = true,
            }
        }
    }

    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        Settler::settle(&*self.hold, receipts).await
    }

    fn settler(&self) -> Arc<dyn Settler> {
        self.hold.clone()
    }

    async fn stop(self: Box<Self>) {
        // Leaving the line gives everything back.
        drop(self);
    }
}

#[async_trait]
impl Settler for Hold {
    async fn settle(&self, receipts: &[(Receipt, Settlement)]) -> usize {
        let own = receipts
            .iter()
            .filter(|(receipt, _)| receipt.generation == self.generation)
            .map(|(receipt, how)| (receipt.tag, *how == Settlement::Ack));
        let (count, done) = self.line.settle(self.generation, own);
        if !done.is_empty() {
            self.line.delete(&self.file, done).await;
        }
        count
    }
}

impl Drop for QueueConsumer {
    fn drop(&mut self) {
        self.hold.line.leave(self.hold.generation, self.prefetch);
    }
}
