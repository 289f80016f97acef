//! The reading side of a store: what [`crate::Server::records`] gives, and its words.

pub use knarr_model::ports::records::{
    InstanceDetail, InstanceSummary, Page, PageRequest, QuarantineFilter, Records, StateCount,
};
pub use knarr_model::ports::store::{EndpointRow, EndpointState, StoreError};
pub use knarr_model::quarantine::{Class, Quarantined, Status};
