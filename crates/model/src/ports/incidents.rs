//! The reading side of the guard: incidents, what they keep, and who did what.

use async_trait::async_trait;
use uuid::Uuid;

use crate::ids::Name;
use crate::incident::{Audit, Incident, IncidentStatus, Whole};
use crate::ports::records::{Page, PageRequest};
use crate::ports::store::StoreError;
use crate::quarantine::Class;

/// Which incidents.
#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    /// `None` shows all.
    pub status: Option<IncidentStatus>,
    /// Of one endpoint.
    pub endpoint: Option<Name>,
    /// Of one class.
    pub class: Option<Class>,
}

/// Incidents and the audit, newest first. One bad row never hides the others.
#[async_trait]
pub trait Incidents: Send + Sync {
    /// Incidents.
    async fn incidents(
        &self,
        filter: &IncidentFilter,
        page: &PageRequest,
    ) -> Result<Page<Incident>, StoreError>;

    /// One incident.
    async fn incident(&self, id: Uuid) -> Result<Option<Incident>, StoreError>;

    /// What an incident keeps of its run.
    async fn snapshot(&self, incident: Uuid) -> Result<Option<Whole>, StoreError>;

    /// Who did what, newest first.
    async fn audit(
        &self,
        endpoint: Option<&Name>,
        page: &PageRequest,
    ) -> Result<Page<Audit>, StoreError>;
}
