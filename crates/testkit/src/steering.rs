//! Halt, open and purge in one call each, as plans without an incident: for tests that only need it done.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_model::ids::{InstanceId, Name, NodeId};
use knarr_model::instance::{Book, Instance, PURGED};
use knarr_model::ports::guard::{Ask, CarriedOut, Decide, Plan, Refusal, Run, Scene};
use knarr_model::ports::store::{EndpointRow, EndpointState};
use knarr_model::ports::{Clock, Guarded, StoreError};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::TokioClock;

/// What becomes of an endpoint's row.
pub type Change = fn(&EndpointRow) -> EndpointRow;

/// What a test asks of a store under the closed fence.
#[async_trait]
pub trait Steering: Guarded {
    /// Halts the endpoint, whatever its state: a new epoch. Returns its row.
    async fn halt(&self, endpoint: &Name) -> Result<EndpointRow, StoreError> {
        let halted = |row: &EndpointRow| EndpointRow {
            state: EndpointState::Halted,
            epoch: row.epoch + 1,
            ..row.clone()
        };
        self.change(endpoint, halted).await
    }

    /// Opens the endpoint at its epoch.
    async fn resume(&self, endpoint: &Name) -> Result<EndpointRow, StoreError> {
        let open = |row: &EndpointRow| EndpointRow {
            state: EndpointState::Open,
            stop: None,
            ..row.clone()
        };
        self.change(endpoint, open).await
    }

    /// Writes the endpoint's row as `change` makes it.
    async fn change(&self, endpoint: &Name, change: Change) -> Result<EndpointRow, StoreError> {
        let decide: Decide = Arc::new(move |scene: &Scene| {
            Ok(Plan { endpoint: Some(change(&scene.endpoint)), ..Plan::default() })
        });
        let done = self.under_fence(ask(endpoint), decide, Run::ForReal).await?;
        let row = done.ok().and_then(|done| done.plan.endpoint);
        Ok(row.expect("nothing was refused, and the plan holds the row"))
    }

    /// Turns an instance into its tombstone; nothing is kept. `false` if there is none.
    async fn purge(
        &self,
        endpoint: &Name,
        saga: &Name,
        instance: InstanceId,
    ) -> Result<bool, StoreError> {
        let ask = Ask { instance: Some((saga.clone(), instance)), ..ask(endpoint) };
        let decide: Decide = Arc::new(|scene: &Scene| {
            let nothing = || Refusal::Unknown("there is no such instance".to_owned());
            let run = &scene.whole.as_ref().ok_or_else(nothing)?.instance;
            let empty = Some((run.saga.clone(), run.id, run.run));
            Ok(Plan { empty, instance: Some(tombstone(run)), ..Plan::default() })
        });
        let done: Result<CarriedOut, Refusal> = self.under_fence(ask, decide, Run::ForReal).await?;
        Ok(done.is_ok())
    }
}

impl<T: Guarded + ?Sized> Steering for T {}

/// Nobody in particular asks.
fn ask(endpoint: &Name) -> Ask {
    Ask::endpoint(endpoint, NodeId(Uuid::nil()), TokioClock::real().now())
}

fn tombstone(of: &Instance) -> Instance {
    let Book { applied, produced, .. } = of.book;
    Instance {
        state: PURGED.to_owned(),
        version: of.version + 1,
        data: Arc::from(RawValue::NULL.to_owned()),
        book: Book { applied, produced, ..Book::default() },
        ..of.clone()
    }
}
