//! An application whose settings are known: what is served, and what is wrong with it.

use std::sync::Arc;

use knarr_saga::check::Severity;
use knarr_saga::{Definition, ErasedActivity, Script, mermaid};

/// Everything that a process serves.
pub(crate) struct Laid {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sagas: Vec<Arc<dyn Definition>>,
    pub(crate) activities: Vec<Arc<dyn ErasedActivity>>,
}

impl Laid {
    /// Migrations of the sagas' own tables.
    pub(crate) fn scripts(&self) -> Vec<Script> {
        self.sagas.iter().flat_map(|saga| saga.migrations()).collect()
    }
}

/// Everything that keeps sagas and activities from being served.
pub(crate) fn findings(
    sagas: &[Arc<dyn Definition>],
    activities: &[Arc<dyn ErasedActivity>],
) -> Vec<String> {
    let mut found = Vec::new();
    for (at, saga) in sagas.iter().enumerate() {
        if sagas[..at].iter().any(|other| other.name() == saga.name()) {
            found.push(format!("two sagas are called {}", saga.name()));
        }
        let errors = saga.findings().into_iter().filter(|it| it.severity == Severity::Error);
        found.extend(errors.map(|finding| finding.text));
        for call in saga.calls() {
            if !activities.iter().any(|activity| activity.call() == call) {
                found.push(format!(
                    "{} asks for {call}, which no activity answers: add .activity(..) for it",
                    saga.name()
                ));
            }
        }
    }
    for (at, activity) in activities.iter().enumerate() {
        if activities[..at].iter().any(|other| other.call() == activity.call()) {
            found.push(format!("two activities answer {}", activity.call()));
        }
    }
    found
}

/// A saga as the admin API shows it.
pub(crate) fn shown(saga: &dyn Definition) -> knarr_admin::Saga {
    let shape = saga.shape();
    knarr_admin::Saga {
        name: saga.name().clone(),
        takes: saga.subscriptions().into_iter().map(|taken| taken.exchange).collect(),
        calls: saga.calls(),
        diagram: mermaid(&shape),
        shape,
    }
}
