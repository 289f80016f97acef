//! The verbs of the command line, a file each; the operating ones speak to the admin API.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod diagram;
pub(crate) mod endpoints;
mod flags;
pub(crate) mod incidents;
pub(crate) mod instances;
pub(crate) mod migrate;
mod operate;
mod orders;
pub(crate) mod publish;
pub(crate) mod quarantine;
pub(crate) mod sagas;
pub(crate) mod serve;
