//! The words of Knarr, and the ports that others fill: no I/O, no runtime, no decisions.
#![warn(missing_docs)]

pub mod commit;
pub mod digest;
pub mod durations;
pub mod effect;
pub mod envelope;
pub mod failpoint;
pub mod fault;
pub mod format;
pub mod headers;
pub mod ids;
pub mod incident;
pub mod instance;
pub mod message;
pub mod names;
pub mod ports;
pub mod quarantine;
pub mod retry;
pub mod shape;
pub mod statement;
pub mod topology;
pub mod trace;
pub mod within;
pub mod work;

pub use commit::{Commit, CommitOutcome, Slice};
pub use digest::Digest;
pub use effect::Effect;
pub use envelope::{Context, Envelope};
pub use fault::{Failure, FailureKind};
pub use headers::{HeaderValue, Headers};
pub use ids::{InstanceId, MessageId, Name, NodeId, RowId};
pub use incident::Incident;
pub use instance::{Book, Instance};
pub use message::{Message, TypeName};
pub use quarantine::{Class, Quarantined};
pub use retry::RetryPolicy;
pub use statement::{Dialects, Script, Statement};
pub use trace::TraceParent;

pub use tokio_util::sync::CancellationToken;

/// What derives expand to; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::message::{IdMember, Message, TypeName};
    pub use serde;
    pub use serde_json;
    pub use uuid;
}
