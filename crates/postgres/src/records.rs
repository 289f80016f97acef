//! The reading side: what people ask about, on connections of its own.

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ids::{InstanceId, Name};
use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, StateCount,
};
use knarr_model::ports::store::EndpointRow;
use knarr_model::ports::{Records, StoreError};
use knarr_model::quarantine::Quarantined;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::error::Failed;
use crate::pages::Asked;
use crate::store::Store;
use crate::{activities, endpoints, instances, journal, parked, pools, quarantine, timers};

/// The most journal rows, and the most parked messages, shown of one instance.
const SHOWN: i64 = 1_000;
/// One moment for all that is shown of an instance.
const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

#[async_trait]
impl Records for Store {
    async fn instances(
        &self,
        saga: &Name,
        state: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<InstanceSummary>, StoreError> {
        let asked = Asked::new(page)?;
        let (saga, state) = (saga.clone(), state.map(str::to_owned));
        let items = self
            .pools()
            .reading
            .run(move |connection| {
                async move {
                    let (after, limit) = (asked.after, asked.limit());
                    instances::list(connection, &saga, state.as_deref(), after, limit).await
                }
                .boxed()
            })
            .await?;
        Ok(asked.page(items, |item| (item.updated_at, item.id.0)))
    }

    async fn instance(
        &self,
        saga: &Name,
        id: InstanceId,
    ) -> Result<Option<InstanceDetail>, StoreError> {
        let saga = saga.clone();
        self.pools().reading.run(move |connection| detail(connection, saga, id).boxed()).await
    }

    async fn counts(&self) -> Result<Vec<StateCount>, StoreError> {
        self.pools().reading.run(|connection| instances::counts(connection).boxed()).await
    }

    async fn endpoints(&self) -> Result<Vec<EndpointRow>, StoreError> {
        self.pools().reading.run(|connection| endpoints::all(connection).boxed()).await
    }

    async fn quarantine(
        &self,
        filter: &QuarantineFilter,
        page: &PageRequest,
    ) -> Result<Page<Quarantined>, StoreError> {
        let asked = Asked::new(page)?;
        let filter = filter.clone();
        let items = self
            .pools()
            .reading
            .run(move |connection| {
                async move {
                    quarantine::list(connection, &filter, asked.after, asked.limit()).await
                }
                .boxed()
            })
            .await?;
        Ok(asked.page(items, |item| (item.at, item.id)))
    }

    async fn quarantined(&self, id: Uuid) -> Result<Option<Quarantined>, StoreError> {
        self.pools().reading.run(move |connection| quarantine::one(connection, id).boxed()).await
    }
}

async fn detail(
    connection: &mut PgConnection,
    saga: Name,
    id: InstanceId,
) -> Result<Option<InstanceDetail>, Failed> {
    let mut reading = connection.begin_with(BEGIN_READING).await?;
    let found = detail_within(&mut reading, &saga, id).await;
    pools::end(reading, found).await
}

async fn detail_within(
    connection: &mut PgConnection,
    saga: &Name,
    id: InstanceId,
) -> Result<Option<InstanceDetail>, Failed> {
    let Some((instance, updated_at)) = instances::one(&mut *connection, saga, id).await? else {
        return Ok(None);
    };
    Ok(Some(InstanceDetail {
        instance,
        updated_at,
        journal: journal::of_instance(&mut *connection, saga, id, SHOWN).await?,
        timers: timers::of_instance(&mut *connection, saga, id).await?,
        calls: activities::of_instance(&mut *connection, saga, id).await?,
        parked: parked::of_instance(connection, saga, id, SHOWN).await?,
    }))
}
