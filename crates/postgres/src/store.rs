//! The store itself: connections, hints, and the port's methods handed to their files.

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
use knarr_model::ports::{Permits, StoreError};
use knarr_model::quarantine::Quarantined;
use knarr_model::work::{
    ActivityTask, AttemptRecord, Chunk, Claim, EndedCall, Outgoing, Parked, Timer,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::claims::{Asked, names};
use crate::commit::{ATTEMPTS, commit, stand_back};
use crate::error::{Error, Failed};
use crate::horizon::Watch;
use crate::pools::{Pools, pause};
use crate::schema::{LockKey, Schema};
use crate::session::warn_of_unsafe_settings;
use crate::settings::Settings;
use crate::signal::{Carriers, Made, Signal};
use crate::{activities, crash, endpoints, journal, load, migrate, nodes, origins, outbox, parked};
use crate::{due, instances, permits, pooler, pools, timers};

/// A store over Postgres 15 or newer. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    schema: Schema,
    pools: Pools,
    signal: Arc<Signal>,
    carriers: Carriers,
    watch: Watch,
}

impl Store {
    /// Opens the store, having migrated its schema unless the settings say not to.
    ///
    /// # Errors
    /// At once, in one line that says what to do; a caller that starts before its database tries
    /// again while [`Error::is_transient`].
    pub async fn connect(settings: Settings) -> Result<Store, Error> {
        let schema = Schema::new(&settings.schema)?;
        pooler::refuse(&pools::connect_options(&settings)?).await?;
        if settings.migrate {
            migrate::migrate(&settings).await?;
        } else {
            migrate::verify(&settings, &schema).await?;
        }
        let pools = Pools::new(&settings, &schema)?;
        pools.open().await?;
        pools.engine.run(|connection| warn_of_unsafe_settings(connection).boxed()).await?;
        let signal = Arc::new(Signal::default());
        let carriers = match settings.notify {
            true => {
                Carriers::start(&signal, &pools, schema.channel(), settings.notify_pause).await?
            }
            false => Carriers::none(),
        };
        let watch = Watch::start(pools.reading.clone(), &settings);
        Ok(Store { inner: Arc::new(Inner { schema, pools, signal, carriers, watch }) })
    }

    /// Closes every connection; waits for work under way.
    pub async fn close(&self) {
        self.inner.carriers.stop();
        self.inner.watch.stop();
        self.inner.pools.close().await;
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.inner.pools
    }

    /// The fence of an endpoint.
    pub(crate) fn fence(&self, endpoint: &str) -> LockKey {
        self.inner.schema.fence(endpoint)
    }

    /// A verb was carried out: whoever waits looks again, here and elsewhere.
    pub(crate) fn tell(&self) {
        self.inner.signal.verb_here();
        self.inner.signal.made(Made { verb: true, ..Made::anything() });
    }

    /// Runs a claim; one that left nothing behind spares the other nodes the hint.
    async fn claim<T, F>(&self, claim: &Claim, what: Made, work: F) -> Result<Vec<T>, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut PgConnection, Asked) -> BoxFuture<'c, Result<Vec<T>, Failed>>
            + Send
            + 'static,
    {
        let asked = Asked::new(claim);
        let limit = asked.limit();
        let version = self.inner.signal.version();
        let rows = self.pools().engine.run(move |connection| work(connection, asked)).await?;
        if rows.len() < limit {
            self.inner.signal.drained(&what, version);
        }
        Ok(rows)
    }
}

#[async_trait]
impl Permits for Store {
    async fn take(&self, name: &str, quotas: &[Quota]) -> Result<Result<(), Duration>, StoreError> {
        let purse = self.inner.schema.purse(name);
        let (name, quotas) = (name.to_owned(), quotas.to_vec());
        self.pools()
            .engine
            .transact(move |connection| {
                let (name, quotas) = (name.clone(), quotas.clone());
                async move { permits::take(connection, purse, &name, &quotas).await }.boxed()
            })
            .await
    }
}

#[async_trait]
impl knarr_model::ports::Store for Store {
    async fn endpoint(&self, name: &Name) -> Result<EndpointRow, StoreError> {
        let name = name.clone();
        self.pools()
            .engine
            .run(move |connection| {
                async move { endpoints::find_or_make(connection, &name).await }.boxed()
            })
            .await
    }

    async fn hold(&self, endpoint: &Name, node: NodeId) -> Result<EndpointRow, StoreError> {
        let row = self.endpoint(endpoint).await?;
        if row.holder == Some(node) {
            return Ok(row);
        }
        let name = endpoint.clone();
        let free = self
            .pools()
            .engine
            .run(move |connection| {
                async move { endpoints::is_free(connection, &name, node.0).await }.boxed()
            })
            .await?;
        if !free {
            return Ok(row);
        }
        let (fence, endpoint) = (self.inner.schema.fence(endpoint), endpoint.clone());
        self.pools()
            .control
            .transact(move |connection| {
                let endpoint = endpoint.clone();
                async move {
                    endpoints::close_fence(&mut *connection, fence).await?;
                    endpoints::hold(connection, &endpoint, node.0).await
                }
                .boxed()
            })
            .await
    }

    async fn note_served(
        &self,
        endpoint: &Name,
        node: NodeId,
        report: Option<HaltReport>,
    ) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.pools()
            .control
            .run(move |connection| {
                async move { nodes::note_served(connection, &endpoint, node.0, report).await }
                    .boxed()
            })
            .await
    }

    async fn load(&self, load: Load) -> Result<Loaded, StoreError> {
        self.pools()
            .engine
            .run(move |connection| async move { load::load(connection, &load).await }.boxed())
            .await
    }

    async fn commit(&self, wanted: Commit) -> Result<CommitOutcome, StoreError> {
        let fence = self.inner.schema.fence(&wanted.endpoint);
        let wanted = Arc::new(wanted);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let own = Arc::clone(&wanted);
            let done = self
                .pools()
                .engine
                .try_run(move |connection| {
                    async move { commit(connection, &own, fence).await }.boxed()
                })
                .await;
            match done {
                Ok(done) => {
                    self.inner.signal.made(done.made);
                    return Ok(done.outcome);
                }
                Err(failed) if attempt < ATTEMPTS && failed.lost_to_another() => {
                    pause(stand_back(&wanted, attempt)).await;
                }
                Err(failed) => return Err(failed.classed()),
            }
        }
    }

    async fn origin(
        &self,
        saga: &Name,
        instance: InstanceId,
        run: u32,
    ) -> Result<Option<Origin>, StoreError> {
        let saga = saga.clone();
        self.pools()
            .engine
            .run(move |connection| {
                async move { origins::one(connection, &saga, instance, run).await }.boxed()
            })
            .await
    }

    async fn join(&self, node: NodeId, lease: Duration) -> Result<(), StoreError> {
        self.pools()
            .lease
            .run(move |connection| nodes::join(connection, node.0, lease).boxed())
            .await
    }

    async fn renew(&self, node: NodeId, lease: Duration) -> Result<bool, StoreError> {
        self.pools()
            .lease
            .run(move |connection| nodes::renew(connection, node.0, lease).boxed())
            .await
    }

    async fn leave(&self, node: NodeId) -> Result<(), StoreError> {
        self.pools()
            .control
            .transact(move |connection| {
                async move {
                    crash::forget_intents(&mut *connection, node.0).await?;
                    nodes::leave(connection, node.0).await
                }
                .boxed()
            })
            .await?;
        self.inner.signal.made(Made::anything());
        Ok(())
    }

    async fn claim_timers(&self, claim: &Claim) -> Result<Vec<Timer>, StoreError> {
        let what = Made { timers: true, ..Made::default() };
        self.claim(claim, what, |connection, asked| timers::claim(connection, asked).boxed()).await
    }

    async fn claim_parked(&self, claim: &Claim) -> Result<Vec<Parked>, StoreError> {
        let what = Made { parked: true, ..Made::default() };
        self.claim(claim, what, |connection, asked| parked::claim(connection, asked).boxed()).await
    }

    async fn claim_ended(&self, claim: &Claim) -> Result<Vec<EndedCall>, StoreError> {
        let what = Made { ended: true, ..Made::default() };
        self.claim(claim, what, |connection, asked| {
            activities::claim_ended(connection, asked).boxed()
        })
        .await
    }

    async fn claim_calls(
        &self,
        claim: &Claim,
        calls: &[String],
    ) -> Result<Vec<ActivityTask>, StoreError> {
        let calls = calls.to_vec();
        let what = Made { calls: calls.iter().cloned().collect(), ..Made::default() };
        self.claim(claim, what, move |connection, asked| {
            async move { activities::claim_due(connection, asked, &calls).await }.boxed()
        })
        .await
    }

    async fn record(
        &self,
        node: NodeId,
        records: &[AttemptRecord],
    ) -> Result<Vec<bool>, StoreError> {
        let records = records.to_vec();
        let taken = self
            .pools()
            .engine
            .transact(move |connection| {
                let records = records.clone();
                async move { activities::record(connection, node.0, &records).await }.boxed()
            })
            .await?;
        self.inner.signal.wake_here();
        Ok(taken)
    }

    async fn give_back(&self, node: NodeId, endpoint: &Name) -> Result<(), StoreError> {
        let endpoint = endpoint.clone();
        self.pools()
            .control
            .transact(move |connection| {
                let endpoint = endpoint.clone();
                async move { nodes::give_back(connection, node.0, Some(&endpoint)).await }.boxed()
            })
            .await?;
        self.inner.signal.made(Made::anything());
        Ok(())
    }

    async fn finish_chunks(&self, chunks: &[RowId]) -> Result<(), StoreError> {
        let chunks = uuids(chunks);
        self.pools()
            .engine
            .run(move |connection| async move { outbox::finish(connection, &chunks).await }.boxed())
            .await
    }

    async fn own_chunks(&self, node: NodeId, known: &[RowId]) -> Result<Vec<Chunk>, StoreError> {
        let known = uuids(known);
        self.pools()
            .engine
            .run(move |connection| {
                async move { outbox::own(connection, node.0, &known).await }.boxed()
            })
            .await
    }

    async fn take_chunks(&self, node: NodeId, limit: usize) -> Result<Vec<Chunk>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.pools()
            .engine
            .run(move |connection| outbox::take(connection, node.0, limit).boxed())
            .await
    }

    async fn shrink_chunk(
        &self,
        chunk: RowId,
        left: &[Outgoing],
        set_aside: &[Quarantined],
    ) -> Result<(), StoreError> {
        let (left, set_aside) = (left.to_vec(), set_aside.to_vec());
        self.pools()
            .engine
            .transact(move |connection| {
                let (left, set_aside) = (left.clone(), set_aside.clone());
                async move { outbox::shrink(connection, chunk, &left, &set_aside).await }.boxed()
            })
            .await
    }

    async fn next_due(&self, endpoints: &[Name]) -> Result<Option<DateTime<Utc>>, StoreError> {
        let endpoints = names(endpoints);
        self.pools()
            .engine
            .run(move |connection| async move { due::next(connection, &endpoints).await }.boxed())
            .await
    }

    async fn unclaimed(&self, before: DateTime<Utc>) -> Result<Vec<Unclaimed>, StoreError> {
        self.pools().engine.run(move |connection| due::unclaimed(connection, before).boxed()).await
    }

    async fn sweep_finished(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.pools()
            .control
            .transact(move |connection| instances::sweep(connection, before, limit).boxed())
            .await
    }

    async fn sweep(&self, before: DateTime<Utc>, limit: usize) -> Result<u64, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.pools()
            .control
            .transact(move |connection| journal::sweep(connection, before, limit).boxed())
            .await
    }

    async fn wait_for_work(&self, at_most: Duration) {
        self.inner.signal.wait(at_most).await;
    }

    async fn wait_for_verb(&self, at_most: Duration) -> bool {
        self.inner.signal.wait_for_verb(at_most).await
    }
}

fn uuids(rows: &[RowId]) -> Vec<Uuid> {
    rows.iter().map(|row| row.0).collect()
}
