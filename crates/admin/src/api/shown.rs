//! What every route can reach.

use std::sync::Arc;

use knarr_model::Name;

use crate::problem::Problem;
use crate::settings::{Saga, Settings, Sources};

/// The doors and the bounds, cheap to clone.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) sources: Arc<Sources>,
    pub(crate) settings: Arc<Settings>,
}

impl Shown {
    /// The saga of this name, if this node serves it.
    pub(crate) fn saga(&self, name: &str) -> Option<&Saga> {
        self.sources.sagas.iter().find(|saga| &*saga.name == name)
    }

    /// The name of a saga that this node serves or that the store knows.
    pub(crate) async fn known_saga(&self, name: &str) -> Result<Name, Problem> {
        if let Some(saga) = self.saga(name) {
            return Ok(saga.name.clone());
        }
        let counts = self.sources.records.counts().await?;
        let stored = counts.into_iter().find(|count| &*count.saga == name);
        stored.map(|count| count.saga).ok_or_else(|| {
            let names: Vec<&str> = self.sources.sagas.iter().map(|saga| &*saga.name).collect();
            Problem::unknown(format!(
                "There is no saga `{name}`. This process serves: {}.",
                names.join(", ")
            ))
        })
    }
}
