//! The routes under `/api/v1`, a file a noun.

mod body;
mod endpoints;
mod instances;
mod messages;
mod quarantine;
mod routes;
mod sagas;
mod shown;

pub(crate) use routes::routes;
pub(crate) use shown::Shown;
