//! Temporary: stands in for the guard's door until it is there.
use async_trait::async_trait;
use knarr_model::ids::{InstanceId, Name, NodeId, RowId};
use knarr_model::incident::Block;
use knarr_model::ports::StoreError;
use knarr_model::ports::guard::{Ask, CarriedOut, Counts, Decide, Guarded, Refusal, Run};
use uuid::Uuid;

use super::store::SimStore;

#[async_trait]
impl Guarded for SimStore {
    async fn under_fence(
        &self,
        _: Ask,
        _: Decide,
        _: Run,
    ) -> Result<Result<CarriedOut, Refusal>, StoreError> {
        Err(StoreError::Fatal("stub".to_owned()))
    }
    async fn blocks(&self, _: &Name) -> Result<(i64, Vec<Block>), StoreError> {
        Err(StoreError::Fatal("stub".to_owned()))
    }
    async fn withdrawn(
        &self,
        _: &Name,
        _: &[(InstanceId, u32)],
    ) -> Result<Vec<(InstanceId, u32)>, StoreError> {
        Ok(Vec::new())
    }
    async fn lost_calls(&self, _: NodeId, _: &[RowId]) -> Result<Vec<RowId>, StoreError> {
        Ok(Vec::new())
    }
    async fn add_counts(&self, _: &Counts) -> Result<(), StoreError> {
        Ok(())
    }
    async fn outlived_blocks(&self, _: &Name) -> Result<Vec<Uuid>, StoreError> {
        Ok(Vec::new())
    }
}
