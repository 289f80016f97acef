//! All queues of the file as this process uses them: who is bound to whom, and each queue's line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use parking_lot::{Mutex, RwLock};
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::file::File;
use crate::line::Line;
use crate::topology::Topology;
use crate::writer::Ended;

/// The queues of the file.
pub(crate) struct Queues {
    topology: RwLock<Topology>,
    lines: Mutex<BTreeMap<String, Arc<Line>>>,
    closed: CancellationToken,
    generation: AtomicU64,
}

impl Queues {
    /// The queues and bindings that are stored.
    pub(crate) async fn read(connection: &mut SqliteConnection) -> Result<Queues, Error> {
        Ok(Queues {
            topology: RwLock::new(Topology::read(connection).await?),
            lines: Mutex::new(BTreeMap::new()),
            closed: CancellationToken::new(),
            generation: AtomicU64::new(1),
        })
    }

    /// Looks at queues and bindings.
    pub(crate) fn topology<R>(&self, look: impl FnOnce(&Topology) -> R) -> R {
        look(&self.topology.read())
    }

    /// Declares, and waits until it is durable; free if nothing is new.
    pub(crate) async fn declare(&self, file: &File, wanted: Topology) -> Result<(), Error> {
        if self.topology(|have| have.covers(&wanted)) {
            return Ok(());
        }
        let new = wanted.clone();
        file.write(move |c| async move { new.write(c).await.map(Ended::Kept) }.boxed()).await?;
        self.topology.write().join(wanted);
        Ok(())
    }

    /// The line of a queue.
    pub(crate) fn line(&self, queue: &str) -> Arc<Line> {
        self.lines
            .lock()
            .entry(queue.to_owned())
            .or_insert_with(|| Arc::new(Line::new(queue)))
            .clone()
    }

    /// A number that no other consumer of this process has.
    pub(crate) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends publishing and consuming.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Cancelled once publishing and consuming have ended.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }
}
