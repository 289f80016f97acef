//! The store: the port's methods, each one read or one piece of the writer's work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use knarr_model::commit::{Commit, CommitOutcome, Origin};
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::ports::permit::Quota;
use knarr_model::ports::store::{EndpointRow, HaltReport, Load, Loaded, Unclaimed};
use knarr_model::ports::{Clock, Permits, StoreError};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{
    ActivityTask, AttemptRecord, Chunk, Claim, EndedCall, Outgoing, Parked, Timer,
};
use sqlx::SqliteConnection;
use tokio::sync::Notify;

use crate::commit::Ready;
use crate::error::Error;
use crate::file::File;
use crate::queues::Queues;
use crate::settings::Settings;
use crate::writer::Ended;
use crate::{
    activities, crash, due, endpoints, instances, journal, load, nodes, outbox, parked, permits,
    queue, timers,
};

/// A store in one SQLite file. Clones are handles on the same file.
#[derive(Clone)]
pub struct Store {
    pub(crate) file: Arc<File>,
    pub(crate) queues: Arc<Queues>,
    hint: Arc<Notify>,
    verbs: Arc<Notify>,
}

impl Store {
    /// Opens the file: makes folders, locks, brings the schema up to date unless the settings say
    /// not to.
    ///
    /// Leases and deliveries of the process that had the file before are over: the lock proves that
    /// it is gone.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has the file, [`Error::Newer`] for a schema that
    /// this code does not know, [`Error::Older`] for one that needs migrating when that is not
    /// wanted, [`Error::Unusable`] for a foreign or unreachable file.
    pub async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Store, Error> {
        let file = File::open(settings, clock).await?;
        let now = file.clock.now();
        file.write(move |connection| {
            async move {
                nodes::end_all(connection, now).await?;
                queue::deliver_again(connection).await?;
                Ok(Ended::Kept(()))
            }
            .boxed()
        })
        .await?;
        let queues = file.read(|connection| Queues::read(connection).boxed()).await?;
        Ok(Store {
            file: Arc::new(file),
            queues: Arc::new(queues),
            hint: Arc::default(),
            verbs: Arc::default(),
        })
    }

    /// Ends all work on the file and lets go of it; what was answered is durable in any case.
    pub async fn close(&self) {
        self.queues.close();
        self.file.close().await;
    }

    /// Wakes whoever waits for work; one who is not waiting yet finds it at once.
    pub(crate) fn hint(&self) {
        self.hint.notify_waiters();
        self.hint.notify_one();
    }

    /// A verb was carried out.
    pub(crate) fn tell(&self) {
        self.verbs.notify_one();
        self.hint();
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.file.clock.now()
    }

    /// A write that is always kept.
    pub(crate) async fn keep<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>>
            + Send
            + 'static,
    {
        let kept = self.file.write(move |connection| {
            work(connection).map(|result| result.map(Ended::Kept)).boxed()
        });
        Ok(kept.await?)
    }

    /// As [`Store::keep`], before everything that waits.
    async fn control<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, Error>>
            + Send
            + 'static,
    {
        let kept = self.file.control(move |connection| {
            work(connection).map(|result| result.map(Ended::Kept)).boxed()
        });
        Ok(kept.await?)
    }
}

#[async_trait]
impl Permits for Store {
    async fn take(&self, name: &str, quotas: &[Quota]) -> Result<Result<(), Duration>, StoreError> {
        let (name, quotas, now) = (name.to_owned(), quotas.to_vec(), self.now());
        self.keep(move |c| async move { permits::take(c, &name, &quotas, now).await }.boxed()).await
    }
}

#[async_trait]
impl knarr_model::ports::Store for Store {
    async fn endpoint(&self, name: &Name) -> Result<EndpointRow, StoreError> {
        let name = name.clone();
        self.keep(move |c| async move { endpoints::make(c, &name).await }.boxed()).await
    }

    async fn hold(&self, endpoint: &Name, node: NodeId) -> Result<EndpointRow, StoreError> {
        let (endpoint, now) = (endpoint.clone(), self.now());
        self.keep(move |c| async move { endpoints::hold(c, &endpoint, node, now).await }.boxed())
            .await
    }

    async fn note_served(
        &self,
        endpoint: &Name,
        node: NodeId,
        report: Option<HaltReport>,
    ) -> Result<(), StoreError> {
        let (endpoint, now) = (endpoint.clone(), self.now());
        self.control(move |c| {
            async move { nodes::note_served(c, &endpoint, node, report, now).await }.boxed()
        })
        .await
    }

    async fn load(&self, load: Load) -> Result<Loaded, StoreError> {
        let read = self.file.read(move |c| async move { load::load(c, &load).await }.boxed());
        Ok(read.await?)
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let clock = self.file.clock.clone();
        let ready = Ready::new(commit, &*clock)?;
        let written = self.file.write(move |c| async move { ready.run(c, &*clock).await }.boxed());
        let outcome = written.await?;
        if matches!(outcome, CommitOutcome::Committed { .. }) {
            self.hint();
        }
        Ok(outcome)
    }

    async fn origin(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Result<Option<Origin>, StoreError> {
        let saga = saga.clone();
        let read = self
            .file
            .read(move |c| async move { journal::origin(c, &saga, instance, run).await }.boxed());
        Ok(read.await?)
    }

    async fn join(&self, node: NodeId, lease: Duration) -> Result<(), StoreError> {
        let now = self.now();
        self.keep(move |c| nodes::join(c, node, now, lease).boxed()).await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        let clock = self.file.clock.clone();
        self.keep(move |c| {
            // The time counts at which the writer comes to it.
            let now = clock.now();
            nodes::renew(c, node, now, lease).boxed()
        })
        .await
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        self.keep(move |c| {
            async move {
                crash::forget_intents(c, node).await?;
                nodes::leave(c, node).await
            }
            .boxed()
        })
        .await?;
        self.hint();
        Ok(())
    }

    async fn claim_timers(&self, claim: &Claim) -> Result<Vec<Timer>, StoreError> {
        let (claim, now) = (claim.clone(), self.now());
        self.keep(move |c| async move { timers::claim(c, &claim, now).await }.boxed()).await
    }

    async fn claim_parked(&self, claim: &Claim) -> Result<Vec<Parked>, StoreError> {
        let (claim, now) = (claim.clone(), self.now());
        self.keep(move |c| async move { parked::claim(c, &claim, now).await }.boxed()).await
    }

    async fn claim_ended(&self, claim: &Claim) -> Result<Vec<EndedCall>, StoreError> {
        let (claim, now) = (claim.clone(), self.now());
        self.keep(move |c| async move { activities::claim_ended(c, &claim, now).await }.boxed())
            .await
    }

    async fn claim_calls(
        &self,
        claim: &Claim,
        calls: &[String],
    ) -> Result<Vec<ActivityTask>, StoreError> {
        let (claim, calls, now) = (claim.clone(), calls.to_vec(), self.now());
        self.keep(move |c| async move { activities::claim(c, &claim, &calls, now).await }.boxed())
            .await
    }

    async fn record(
        &self,
        node: NodeId,
        records: &[AttemptRecord],
    ) -> Result<Vec<bool>, StoreError> {
        let (records, now) = (records.to_vec(), self.now());
        let taken = self.keep(move |c| {
            async move {
                let mut taken = Vec::with_capacity(records.len());
                for record in &records {
                    taken.push(activities::record(c, node, record, now).await?);
                }
                Ok(taken)
            }
            .boxed()
        });
        let taken = taken.await?;
        self.hint();
        Ok(taken)
    }

    async fn give_back(&self, node: NodeId, endpoint: &Name) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.keep(move |c| async move { nodes::give_back(c, node, Some(&endpoint)).await }.boxed())
            .await?;
        self.hint();
        Ok(())
    }

    async fn finish_chunks(&self, chunks: &[RowId]) -> Result<(), StoreError> {
        let chunks = chunks.to_vec();
        self.keep(move |c| async move { outbox::finish(c, &chunks).await }.boxed()).await
    }

    async fn own_chunks(&self, node: NodeId, known: &[RowId]) -> Result<Vec<Chunk>, StoreError> {
        // Through the writer: after a commit whose answer was lost it must not look too early.
        let known = known.to_vec();
        self.keep(move |c| async move { outbox::own(c, node, &known).await }.boxed()).await
    }

    async fn take_chunks(&self, node: NodeId, limit: usize) -> Result<Vec<Chunk>, StoreError> {
        let now = self.now();
        self.keep(move |c| outbox::take(c, node, limit, now).boxed()).await
    }

    async fn shrink_chunk(
        &self,
        chunk: RowId,
        left: &[Outgoing],
        set_aside: &[Quarantined],
    ) -> Result<(), StoreError> {
        let (left, set_aside) = (left.to_vec(), set_aside.to_vec());
        self.keep(move |c| async move { outbox::shrink(c, chunk, left, &set_aside).await }.boxed())
            .await
    }

    async fn next_due(&self, endpoints: &[Name]) -> Result<Option<DateTime<Utc>>, StoreError> {
        let (endpoints, now) = (endpoints.to_vec(), self.now());
        let read =
            self.file.ask(move |c| async move { due::next(c, &endpoints, now).await }.boxed());
        Ok(read.await?)
    }

    async fn unclaimed(&self, before: DateTime<Utc>) -> Result<Vec<Unclaimed>, StoreError> {
        let now = self.now();
        let read = self.file.ask(move |c| due::unclaimed(c, before, now).boxed());
        Ok(read.await?)
    }

    async fn sweep_finished(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        self.keep(move |c| instances::sweep(c, before, limit).boxed()).await
    }

    async fn sweep(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        self.keep(move |c| journal::sweep(c, before, limit).boxed()).await
    }

    async fn wait_for_work(&self, at_most: Duration) {
        let late = self.file.clock.sleep(at_most);
        tokio::select! {
            biased;
            () = self.hint.notified() => {}
            () = late => {}
        }
    }

    async fn wait_for_verb(&self, at_most: Duration) -> bool {
        let late = self.file.clock.sleep(at_most);
        tokio::select! {
            biased;
            () = self.verbs.notified() => true,
            () = late => false,
        }
    }
}
