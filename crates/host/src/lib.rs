//! The saga orchestrator: what library users depend on.
//!
//! A saga is a table of rows (see [`prelude`] and the crate's README); an [`App`] holds sagas and
//! activities; [`main`] gives a binary every verb, [`App::run`] embeds without them.
//!
//! ```no_run
//! # use knarr::prelude::*;
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Serialize, Deserialize, Message)]
//! # #[message(namespace = "Shop")]
//! # struct Ordered { correlation_id: knarr::uuid::Uuid }
//! # #[derive(Clone, Copy, States)]
//! # enum Step { Open }
//! # #[derive(Clone, Serialize, Deserialize)]
//! # struct Order;
//! # impl Machine for Order {
//! #     type State = Step;
//! #     fn define(m: &mut Table<Self>) {
//! #         m.initially::<Ordered>().create(|_, _| Order).finish();
//! #     }
//! # }
//! fn main() -> std::process::ExitCode {
//!     knarr::main(knarr::App::new("shop").saga::<Order>())
//! }
//! ```
#![warn(missing_docs)]

extern crate self as knarr;

mod admin;
mod app;
mod bench;
mod clock;
mod compose;
mod config;
mod desk;
mod entry;
mod error;
#[cfg(debug_assertions)]
mod failpoint;
pub mod guard;
mod inbox;
mod laid;
mod late;
mod logging;
mod out;
mod read;
#[cfg(doctest)]
mod readme;
pub mod records;
mod restored;
mod run;
mod sender;
mod server;
mod signals;
mod spawn;
mod standing;
mod telemetry;
mod token_file;
mod verbs;

pub use app::App;
pub use clock::SystemClock;
pub use config::{Fallback, Setting, Values, Wrong};
pub use entry::main;
pub use error::Error;
pub use inbox::{Inbox, Received};
pub use server::Server;
pub use signals::stop_signal;

pub use clap;
pub use knarr_http as http;
pub use knarr_model::ports::Clock;
pub use knarr_saga::*;
#[cfg(feature = "testing")]
pub use knarr_testkit::story::Story;

/// What derives expand to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use knarr_saga::__private::*;
}
