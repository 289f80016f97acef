//! The guard's doors to the SQLite file: verbs go to the one writer before everything that waits.

use async_trait::async_trait;
use futures_util::FutureExt;
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::incident::{Audit, Block, Incident, Whole};
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use knarr_model::ports::incidents::IncidentFilter;
use knarr_model::ports::records::{Page, PageRequest};
use knarr_model::ports::store::Served;
use knarr_model::ports::{Incidents, StoreError};
use uuid::Uuid;

use crate::error::Error;
use crate::records::{cut, most, place};
use crate::rows::get;
use crate::store::Store;
use crate::{
    audit, blocks, endpoints, incidents, internal, nodes, plan, quarantine, snapshots, withdrawn,
};

#[async_trait]
impl Guarded for Store {
    async fn under_fence(
        &self,
        ask: Ask,
        decide: Decide,
        run: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        let done = self.file.control(move |c| {
            async move { plan::under_fence(c, &ask, &decide, run).await }.boxed()
        });
        let done = done.await?;
        if run == Run::ForReal && done.is_ok() {
            self.tell();
        }
        Ok(done)
    }

    async fn served_by(&self, endpoint: &Name) -> Result<Vec<Served>, StoreError> {
        let (endpoint, now) = (endpoint.clone(), self.now());
        let read = self
            .file
            .ask(move |c| async move { nodes::served_by(c, &endpoint, now).await }.boxed());
        Ok(read.await?)
    }

    async fn blocks(&self, endpoint: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        let endpoint = endpoint.clone();
        let read = self.file.read(move |c| {
            async move {
                let row = endpoints::find(c, &endpoint).await?;
                let version = row.map_or(0, |row| row.guard_version);
                Ok((version, blocks::of_endpoint(c, &endpoint).await?))
            }
            .boxed()
        });
        Ok(read.await?)
    }

    async fn withdrawn(
        &self,
        endpoint: &Name,
        runs: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        let (endpoint, runs) = (endpoint.clone(), runs.to_vec());
        let read = self
            .file
            .ask(move |c| async move { withdrawn::find(c, &endpoint, &runs).await }.boxed());
        Ok(read.await?)
    }

    async fn lost_calls(&self, node: NodeId, calls: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        let calls = calls.to_vec();
        let read = self
            .file
            .ask(move |c| async move { internal::lost_calls(c, node, &calls).await }.boxed());
        Ok(read.await?)
    }

    async fn add_counts(&self, counts: &Counts) -> Result<(), StoreError> {
        let counts = counts.clone();
        self.keep(move |c| {
            async move {
                for (id, copies) in &counts.copies {
                    quarantine::count(c, *id, *copies).await?;
                }
                for drafted in &counts.classes {
                    incidents::gather(c, drafted).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .await
    }

    async fn outlived_blocks(&self, endpoint: &Name) -> Result<Vec<Uuid>, StoreError> {
        let endpoint = endpoint.clone();
        let read =
            self.file.ask(move |c| async move { blocks::outlived(c, &endpoint).await }.boxed());
        Ok(read.await?)
    }
}

#[async_trait]
impl Incidents for Store {
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        request: &PageRequest,
    ) -> Result<Page<Incident>, StoreError> {
        let (filter, place, limit) = (filter.clone(), place(request)?, most(request));
        let read = self
            .file
            .ask(move |c| async move { incidents::page(c, &filter, place, limit).await }.boxed());
        let mut rows = read.await?;
        let next = cut(&mut rows, request, 3)?;
        Ok(Page { items: incidents::read_all(&rows), next })
    }

    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError> {
        Ok(self.file.ask(move |c| incidents::one(c, id).boxed()).await?)
    }

    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError> {
        Ok(self.file.ask(move |c| snapshots::one(c, incident).boxed()).await?)
    }

    async fn audit(
        &self,
        endpoint: Option<&Name>,
        request: &PageRequest,
    ) -> Result<Page<Audit>, StoreError> {
        let endpoint = endpoint.cloned();
        let before = request.cursor.as_deref().map_or(Ok(i64::MAX), number)?;
        let (limit, shown) = (most(request), request.limit.max(1));
        let read = self.file.ask(move |c| {
            async move { audit::page(c, endpoint.as_deref(), before, limit).await }.boxed()
        });
        let mut rows = read.await?;
        let more = rows.len() > shown;
        rows.truncate(shown);
        let last = rows.last().filter(|_| more).map(|row| get::<i64>(row, 1)).transpose()?;
        Ok(Page { items: audit::read_all(&rows), next: last.map(|n| n.to_string()) })
    }
}

/// The audit is read in the order in which it was written, not by its times.
fn number(cursor: &str) -> Result<i64, Error> {
    cursor.parse().map_err(|_| Error::Data(format!("`{cursor}` is no cursor of this list")))
}
