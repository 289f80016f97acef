//! Transport over RabbitMQ: envelopes in from a queue, confirmed messages out to exchanges.
//!
//! Over AMQP 0-9-1 with stock RabbitMQ 3.10 to 4.x, no plugin, no management API. Publishing and
//! consuming have a connection each, both kept up by supervisors of our own. Names and topology
//! are MassTransit's, so that both sides can share a broker.

mod address;
mod broken;
mod check;
mod codec;
mod confirms;
mod connection;
mod consumer;
mod deaths;
mod destinations;
pub mod forwarder;
mod gauge;
mod names;
mod publisher;
mod pump;
mod settings;
mod settle;
mod standing;
mod stream;
mod tags;
mod topology;
mod transport;
mod wash;

pub use settings::{Identity, Part, Settings};
pub use transport::Transport;
