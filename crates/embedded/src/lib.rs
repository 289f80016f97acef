//! Store and transport in one SQLite file: no server needed, survives a crash.
//!
//! ```no_run
//! # async fn example(
//! #     clock: std::sync::Arc<dyn knarr_model::ports::Clock>,
//! # ) -> Result<(), knarr_embedded::Error> {
//! use knarr_embedded::{Settings, Store, Transport};
//!
//! let store = Store::open(Settings::new("data/knarr.db"), clock).await?;
//! let transport = Transport::new(&store);
//! # drop(transport);
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! One process works on a file at a time (a lock file beside it says so), one writer writes, and
//! what waits at the same time shares one transaction and so one fsync.

mod activities;
mod audit;
mod blocks;
mod claims;
mod commit;
mod consumer;
mod correlation;
mod crash;
mod crash_watch;
mod due;
mod endpoints;
mod error;
mod file;
mod guarded;
mod incidents;
mod instances;
mod internal;
mod journal;
mod line;
mod load;
mod lock;
mod migrate;
mod nodes;
mod outbox;
mod parked;
mod permits;
mod plan;
mod publisher;
mod quarantine;
mod queue;
mod queues;
mod records;
mod rows;
mod scene;
mod scripts;
mod settings;
mod snapshots;
mod statements;
mod steps;
mod store;
mod timers;
mod topology;
mod transport;
mod withdrawn;
mod writer;

pub use error::Error;
pub use settings::Settings;
pub use store::Store;
pub use transport::Transport;
