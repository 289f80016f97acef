//! The one guarded way out to the web.
//!
//! A [`Client`] sends requests with bounds on everything: time to connect, silence, the whole
//! exchange, the size of the answer after inflating it. It follows no redirects, asks no proxy of
//! the environment, and connects only to addresses that it has looked at ([`Allow`]): names are
//! resolved once, every address is vetted, and the connection goes to exactly those. What goes
//! wrong comes back as a [`Failure`] that is classed where it arose, with secrets taken out.
//!
//! ```no_run
//! use knarr_http::{Auth, BaseUrl, Client, Secret, Settings};
//!
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Settings::default())?;
//! let base: BaseUrl = "https://api.example.com".parse()?;
//! let answer = client
//!     .get(base.join("/v1/things?limit=2"))
//!     .auth(&Auth::header("x-api-key", Secret::new("…")))
//!     .send()
//!     .await?;
//! if !answer.is_success() {
//!     return Err(answer.failure(None).into());
//! }
//! let things: Vec<String> = answer.json()?;
//! # drop(things);
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

mod auth;
mod base;
mod client;
mod draft;
mod error;
mod fault;
mod request;
mod resolve;
mod response;
mod secret;
mod settings;
mod ssrf;
mod traced;

pub use auth::Auth;
pub use base::{BadBase, BaseUrl};
pub use client::Client;
pub use error::Error;
pub use request::Request;
pub use resolve::{Lookup, SystemLookup};
pub use response::{ApiError, Response};
pub use secret::Secret;
pub use settings::Settings;
pub use ssrf::{Allow, BadAllow, Refused, is_public};

pub use knarr_model::{Failure, FailureKind};
pub use reqwest::header::HeaderMap;
