//! REST API: see what runs and steer it, from any node, through the ports alone.
//!
//! Everything under `/api/v1` wants a bearer token whose role is large enough; `/health/*`,
//! `/metrics` and `/api/openapi.json` want none. Errors are problem documents (RFC 9457) that say
//! what to do; lists are `{items, next}`; every order is taken by the guard's desk.
#![warn(missing_docs)]

mod access;
mod api;
mod draft;
mod health;
mod incident_views;
mod listen;
mod metrics;
mod next;
mod openapi;
mod paging;
mod problem;
mod router;
mod settings;
mod token;
mod tokens;
mod views;
mod waiting;

pub use draft::{BadDraft, Draft};
pub use listen::{Bound, bind};
pub use metrics::{Kind, Metric};
pub use router::router;
pub use settings::{Saga, Settings, Sources};
pub use token::Token;
pub use tokens::{Role, Tokens};
