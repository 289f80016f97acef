//! The transport: queues in the store's own file, no broker needed.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ports::transport::Depth;
use knarr_model::ports::{Consumer, TransportError};
use knarr_model::topology::{Declare, ReceiveEndpoint};

use crate::consumer::QueueConsumer;
use crate::error::Error;
use crate::file::File;
use crate::queue;
use crate::queues::Queues;
use crate::store::Store;
use crate::topology::Topology;
use crate::writer::Ended;

/// Queues in one SQLite file. Clones are handles on the same queues.
#[derive(Clone)]
pub struct Transport {
    pub(crate) file: Arc<File>,
    pub(crate) queues: Arc<Queues>,
}

impl Transport {
    /// The transport on the file of `store`.
    pub fn new(store: &Store) -> Transport {
        Transport { file: store.file.clone(), queues: store.queues.clone() }
    }

    fn open(&self) -> Result<(), TransportError> {
        match self.queues.closed().is_cancelled() {
            true => Err(TransportError::Refused(Error::closed().to_string())),
            false => Ok(()),
        }
    }
}

impl From<Error> for TransportError {
    fn from(error: Error) -> Self {
        match error.is_transient() {
            true => TransportError::Away(error.to_string()),
            false => TransportError::Refused(error.to_string()),
        }
    }
}

#[async_trait]
impl knarr_model::ports::Transport for Transport {
    async fn consume(
        &self,
        endpoint: &ReceiveEndpoint,
    ) -> Result<Box<dyn Consumer>, TransportError> {
        self.declare(endpoint).await?;
        let (file, queues) = (self.file.clone(), self.queues.clone());
        Ok(Box::new(QueueConsumer::new(file, queues, endpoint.clone())))
    }

    async fn declare(&self, endpoint: &ReceiveEndpoint) -> Result<(), TransportError> {
        self.open()?;
        let queue = endpoint.name.to_string();
        if endpoint.declare == Declare::Passive {
            return match self.queues.topology(|topology| topology.has_queue(&queue)) {
                true => Ok(()),
                false => Err(TransportError::Refused(format!("there is no queue `{queue}`"))),
            };
        }
        let mut wanted = Topology::default();
        for subscription in &endpoint.subscriptions {
            wanted.bind(subscription.exchange.clone(), queue.clone());
        }
        wanted.add_queue(queue);
        Ok(self.queues.declare(&self.file, wanted).await?)
    }

    async fn depth(&self, queue: &str) -> Result<Depth, TransportError> {
        if !self.queues.topology(|topology| topology.has_queue(queue)) {
            return Err(TransportError::Refused(format!("there is no queue `{queue}`")));
        }
        let (ready, consumers) = self.queues.line(queue).depth(&self.file).await?;
        Ok(Depth { ready, consumers })
    }

    fn health(&self) -> Result<(), String> {
        self.open().map_err(|error| error.to_string())?;
        self.file.trouble().map_or(Ok(()), Err)
    }

    fn address(&self, endpoint: &str) -> String {
        format!("loopback://localhost/{endpoint}")
    }

    async fn close(&self) {
        self.queues.close();
        // Behind the acknowledgements that still wait; and what is in hand goes back uncounted.
        let written = self.file.write(|connection| {
            async move { queue::hand_none(connection).await.map(Ended::Kept) }.boxed()
        });
        if let Err(error) = written.await {
            tracing::warn!(%error, "deliveries in hand will count as delivered once more");
        }
    }
}
