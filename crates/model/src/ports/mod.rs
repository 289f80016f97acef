//! The doors of the engine: one trait a file, each with its contract in its doc.

pub mod activity;
pub mod clock;
pub mod crash;
pub mod endpoint;
pub mod guard;
pub mod incidents;
pub mod permit;
pub mod records;
pub mod spans;
pub mod spawn;
pub mod store;
pub mod transport;
pub mod trouble;

pub use activity::{Activity, Attempt};
pub use clock::Clock;
pub use crash::CrashWatch;
pub use guard::Guarded;
pub use incidents::Incidents;
pub use permit::{Permits, Quota};
pub use records::Records;
pub use spans::Spans;
pub use spawn::Spawn;
pub use store::{Store, StoreError};
pub use transport::{Consumer, Delivery, Publisher, Transport, TransportError};
