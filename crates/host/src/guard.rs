//! The guard's words: what [`crate::Server::desk`] takes, and what it answers.

pub use knarr_guard::{Answer, Desk, Error, Order};
pub use knarr_model::incident::{Incident, IncidentStatus, Removed, Scope};
pub use knarr_model::ports::incidents::{IncidentFilter, Incidents};
