//! What a saga's author writes: the data of one instance, and the table that moves it.

use std::any::type_name;

use knarr_model::names::{EndpointStyle, endpoint_name};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::short_name;
use crate::states::States;
use crate::table::Table;

/// A saga: the type is the data that one instance keeps, `define` is its table.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a machine",
    note = "a machine is `Clone + Serialize + Deserialize` and has `impl Machine for {Self}`"
)]
pub trait Machine: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// Its states.
    type State: States;

    /// Fills the table. Called once, at start.
    fn define(m: &mut Table<Self>);

    /// The saga's name and its receive endpoint's; by default the type's name in kebab case,
    /// without a closing `Saga`.
    fn name() -> String {
        endpoint_name(short_name(type_name::<Self>()), EndpointStyle::Kebab)
    }
}
