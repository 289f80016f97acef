//! Derives that turn plain Rust types into messages, calls, timers and states of a machine.

mod call;
mod finish;
mod message;
mod root;
mod states;
mod timer;

use finish::finish;
use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a type a message: its name on the wire, its base types and its conventional id.
///
/// ```text
/// #[derive(Message, Serialize, Deserialize)]
/// #[serde(rename_all = "camelCase")]
/// #[message(namespace = "Shop.Orders")]
/// struct SubmitOrder { correlation_id: Uuid, lines: Vec<Line> }
/// ```
///
/// `#[message(..)]` takes
/// - `namespace = "Shop.Orders"` (required): the .NET namespace under which it travels;
/// - `name = "SubmitOrder"`: its name there, default the Rust type's name; `Outer+Inner` nests;
/// - `bases(OrderEvent, "Shop:IEvent")`: what it also is, nearest first: types that are messages
///   themselves, or names as text;
/// - `correlation = "order_id"`: the field that is its id (`Uuid` or `Option<Uuid>`); without it
///   the fields `correlation_id`, `event_id`, `command_id` are tried in that order.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    finish(message::expand(&parse_macro_input!(input as DeriveInput)))
}

/// Makes a fieldless enum the states of a machine.
///
/// `Initial`, `Final` and `Purged` exist in every machine and cannot be declared.
#[proc_macro_derive(States)]
pub fn derive_states(input: TokenStream) -> TokenStream {
    finish(states::expand(&parse_macro_input!(input as DeriveInput)))
}

/// Makes a type a call: plain data that an activity answers.
///
/// `#[call(..)]` takes `output = Verdict` (required), the type of the answer, and
/// `name = "ask-virus-total"`, the name under which it is stored, default the type's name.
#[proc_macro_derive(Call, attributes(call))]
pub fn derive_call(input: TokenStream) -> TokenStream {
    finish(call::expand(&parse_macro_input!(input as DeriveInput)))
}

/// Makes a unit struct a timer, or each variant of a fieldless enum one.
#[proc_macro_derive(Timer)]
pub fn derive_timer(input: TokenStream) -> TokenStream {
    finish(timer::expand(&parse_macro_input!(input as DeriveInput)))
}
