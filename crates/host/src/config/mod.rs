//! What can be set: the one table, where values come from, and what they mean.

mod found;
mod otlp;
mod parse;
mod reference;
mod setting;
mod table;
#[cfg(test)]
mod tests;
mod toml_file;
mod typed;
mod values;
mod wrong;

pub use setting::{Fallback, Setting};
pub use values::Values;
pub use wrong::Wrong;

pub(crate) use found::{Asked, found};
pub(crate) use reference::reference;
pub(crate) use table::SETTINGS;
pub(crate) use typed::{BrokerAt, Config, LogFormat, StoreAt, log};
