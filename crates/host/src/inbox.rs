//! A queue of one's own, from which messages of one type are read as they are published.

use std::collections::VecDeque;
use std::marker::PhantomData;

use knarr_model::ports::Consumer;
use knarr_model::ports::transport::{Delivery, Settlement};
use knarr_model::{Headers, Message, MessageId};

use crate::error::Error;

/// Messages taken at once at most.
const TAKEN: usize = 64;

/// Messages of type `M` from a queue of one's own. See [`crate::Server::subscribe`].
pub struct Inbox<M> {
    consumer: Box<dyn Consumer>,
    waiting: VecDeque<Delivery>,
    of: PhantomData<fn() -> M>,
}

/// One message as it was received.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Received<M> {
    /// Its id: a message that is published again bears the same.
    pub id: MessageId,
    /// What it says.
    pub message: M,
    /// Its headers.
    pub headers: Headers,
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new(consumer: Box<dyn Consumer>) -> Self {
        Inbox { consumer, waiting: VecDeque::new(), of: PhantomData }
    }

    /// Waits for the next message. It is acknowledged when it is handed out; what cannot be read is
    /// logged and passed over. Cancel-safe.
    ///
    /// # Errors
    /// When the queue cannot be consumed from any longer.
    pub async fn next(&mut self) -> Result<Received<M>, Error> {
        loop {
            if self.waiting.is_empty() {
                let came = self.consumer.next(TAKEN).await;
                self.waiting.extend(came.map_err(|error| Error::Broker(error.to_string()))?);
            }
            while let Some(delivery) = self.waiting.front() {
                let read = read(delivery);
                let receipt = delivery.receipt;
                self.consumer.settle(&[(receipt, Settlement::Ack)]).await;
                self.waiting.pop_front();
                match read {
                    Ok(received) => return Ok(received),
                    Err(why) => tracing::warn!("a message was passed over: {why}"),
                }
            }
        }
    }

    /// Stops reading; what was not handed out goes back to the queue.
    pub async fn close(self) {
        self.consumer.stop().await;
    }
}

fn read<M: Message>(delivery: &Delivery) -> Result<Received<M>, String> {
    let envelope = delivery.content.as_ref().map_err(|why| why.to_string())?;
    let message =
        serde_json::from_str(envelope.message.get()).map_err(|error| error.to_string())?;
    Ok(Received { id: envelope.message_id, message, headers: envelope.headers.clone() })
}
