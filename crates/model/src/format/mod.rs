//! The codec between bytes on the wire and envelopes: MassTransit, raw JSON, CloudEvents.

mod amqp;
mod cloud_events;
mod guid;
mod inbound;
mod json;
pub mod masstransit;
mod media;
mod raw_json;
mod read;
mod timestamp;

pub use amqp::amqp_headers;
pub use guid::parse as parse_guid;
pub use inbound::{Inbound, Read};
pub use media::{CLOUD_EVENTS, MASS_TRANSIT, RAW_JSON};
pub use read::{read, unread};
pub use timestamp::{parse as parse_timestamp, text as timestamp_text};
