//! What the API shows, and its bounds: handed in by whoever puts the process together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use knarr_guard::Desk;
use knarr_model::Name;
use knarr_model::format::masstransit::Host;
use knarr_model::ports::{Clock, Incidents, Records, Transport};
use knarr_model::shape::Shape;

use crate::metrics::Metric;
use crate::tokens::Tokens;

/// The doors that the API looks through.
#[derive(Clone)]
pub struct Sources {
    /// The reading side of the store.
    pub records: Arc<dyn Records>,
    /// Incidents, what they keep, and the audit.
    pub incidents: Arc<dyn Incidents>,
    /// Takes every order.
    pub desk: Desk,
    /// The broker: depths, and the way for messages sent by people.
    pub transport: Arc<dyn Transport>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// The sagas that this process serves.
    pub sagas: Vec<Saga>,
    /// Who sends, as envelopes tell it.
    pub host: Host,
    /// What keeps the process from being ready, one sentence each; empty when it is.
    pub unready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What the process has counted.
    pub metrics: Arc<dyn Fn() -> Vec<Metric> + Send + Sync>,
}

/// One saga as the API shows it.
#[derive(Clone, Debug)]
pub struct Saga {
    /// Its name, and its endpoint's.
    pub name: Name,
    /// The table as a value.
    pub shape: Shape,
    /// The exchanges of the message types it takes.
    pub takes: Vec<String>,
    /// Names of the calls it asks for.
    pub calls: Vec<String>,
    /// Its drawing, Mermaid text.
    pub diagram: String,
}

/// Bounds, and who may come in.
#[derive(Clone)]
pub struct Settings {
    /// The tokens that open `/api`.
    pub tokens: Tokens,
    /// The largest request body, in bytes. Default 1 MiB.
    pub max_body: usize,
    /// The largest body of a request that replaces what a set-aside message says, in bytes.
    /// Default 16 MiB: a message of 8 MiB, written as a JSON string.
    pub max_edit: usize,
    /// Rows on a page when the request says nothing. Default 100.
    pub page: usize,
    /// Rows on a page at most. Default 1000.
    pub longest_page: usize,
    /// How long one request may take before it is answered with 503. Default 30 s.
    pub deadline: Duration,
}

impl Settings {
    /// The defaults with these tokens.
    #[must_use]
    pub fn new(tokens: Tokens) -> Self {
        Settings {
            tokens,
            max_body: 1 << 20,
            max_edit: 16 << 20,
            page: 100,
            longest_page: 1000,
            deadline: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("tokens", &self.tokens)
            .field("max_body", &self.max_body)
            .field("max_edit", &self.max_edit)
            .field("longest_page", &self.longest_page)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
