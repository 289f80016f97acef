//! RabbitMQ and Postgres for tests: found, or started as private processes in a temporary folder.
//!
//! In this order: the URL in `KNARR_TEST_AMQP_URL` or `KNARR_TEST_DATABASE_URL`; else one instance
//! from installed binaries, shared by all test processes of this checkout; else a panic that says
//! in one line what to install. Each test gets its own virtual host or database. Tests that kill
//! or stop a server start a `Private` one.

#![expect(
    clippy::disallowed_methods,
    reason = "this starts, awaits and ends real processes, which know no simulated time"
)]

mod certificates;
mod disks;
mod node;
mod pooler;
mod process;
mod server;
mod shared;

pub mod postgres;
pub mod rabbitmq;

pub use certificates::Certificates;
pub use disks::{Disk, Disks};
pub use pooler::Pooler;
pub use shared::{Service, start, status, stop};
