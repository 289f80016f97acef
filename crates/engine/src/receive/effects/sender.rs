//! How messages from here name their sender.

use knarr_model::format::masstransit::Host;

/// The sender of one endpoint's messages.
#[derive(Clone)]
pub(crate) struct Sender {
    /// The endpoint's address.
    pub(crate) address: String,
    /// This process.
    pub(crate) host: Host,
}
