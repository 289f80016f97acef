//! The routes under `/api/v1`, a file a noun.

mod answered;
mod asking;
mod audit;
mod body;
mod endpoints;
mod filter;
mod incidents;
mod instances;
mod messages;
mod offers;
mod quarantine;
mod sagas;
mod shown;
mod whoami;
mod words;

pub(crate) use asking::LONGEST_KEY;
pub(crate) use offers::{BASE, Body, Offer, offers};
pub(crate) use shown::Shown;
