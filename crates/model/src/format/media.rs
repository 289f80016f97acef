//! Which body format a message is in, by its content type.

use super::inbound::Inbound;

/// The content type of MassTransit's envelope.
pub const MASS_TRANSIT: &str = "application/vnd.masstransit+json";
/// The content type of raw JSON.
pub const RAW_JSON: &str = "application/json";
/// The content type of a CloudEvent whose attributes stand in the body.
pub const CLOUD_EVENTS: &str = "application/cloudevents+json";

/// Header prefixes under which a CloudEvent's attributes travel when its body is the bare data.
pub(super) const CLOUD_EVENT_PREFIXES: [&str; 3] = ["cloudEvents:", "cloudEvents_", "ce-"];

/// A body format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// MassTransit's envelope.
    MassTransit,
    /// A CloudEvent in its JSON form.
    CloudEvents,
    /// A CloudEvent with its attributes in headers that begin with this prefix.
    CloudEventHeaders(&'static str),
    /// JSON that tells by its members what it is: `application/json`, anything unknown, nothing.
    Json,
    /// One of MassTransit's formats that are not offered here.
    NotOffered(String),
}

impl Media {
    /// The format of a message: AMQP property, else header `Content-Type`, else `ContentType`.
    pub(super) fn of(inbound: &Inbound<'_>) -> Media {
        let property = inbound.content_type.map(essence).filter(|media| !media.is_empty());
        if let Some(media) = property {
            return Media::named(media, inbound);
        }
        let header = ["Content-Type", "ContentType"]
            .iter()
            .find_map(|name| inbound.headers.text(name))
            .unwrap_or_default();
        Media::named(essence(&header), inbound)
    }

    fn named(media: &str, inbound: &Inbound<'_>) -> Media {
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        if is(MASS_TRANSIT) {
            return Media::MassTransit;
        }
        if is(CLOUD_EVENTS) {
            return Media::CloudEvents;
        }
        let lower = media.to_ascii_lowercase();
        if lower == "application/xml" || lower.starts_with("application/vnd.masstransit") {
            return Media::NotOffered(lower);
        }
        CLOUD_EVENT_PREFIXES
            .into_iter()
            .find(|prefix| inbound.headers.text(&format!("{prefix}specversion")).is_some())
            .map_or(Media::Json, Media::CloudEventHeaders)
    }
}

/// A content type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
