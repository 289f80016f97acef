//! Recorded messages as the tests read them.

use std::fs;
use std::path::PathBuf;

use knarr_model::format::Inbound;
use knarr_model::topology::{Subscription, WithoutId};
use knarr_model::{HeaderValue, Headers, TypeName};
use serde_json::Value;

/// Where the recordings lie.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/masstransit")
}

/// One recorded file as JSON.
pub(crate) fn json(name: &str) -> Value {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A message with everything that an [`Inbound`] borrows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) content_type: Option<String>,
    pub(crate) message_id: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) timestamp: Option<u64>,
    pub(crate) headers: Headers,
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) body: Vec<u8>,
    pub(crate) without_id: WithoutId,
}

impl Wire {
    /// A body with a content type, published to nothing in particular.
    pub(crate) fn of(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Wire {
            content_type: (!content_type.is_empty()).then(|| content_type.to_owned()),
            body: body.into(),
            ..Wire::default()
        }
    }

    /// The same, with a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<HeaderValue>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// The same, with a type that the endpoint takes.
    pub(crate) fn taking(mut self, name: &str) -> Self {
        self.subscriptions.push(Subscription::to(&TypeName::parse(name).expect("a type's name")));
        self
    }

    /// The same, published to an exchange.
    pub(crate) fn by(mut self, exchange: &str) -> Self {
        self.exchange = exchange.to_owned();
        self
    }

    /// A message as it was recorded.
    pub(crate) fn recorded(message: &Value) -> Self {
        let property = |name: &str| message["properties"][name].as_str().map(str::to_owned);
        Wire {
            content_type: property("content_type"),
            message_id: property("message_id"),
            correlation_id: property("correlation_id"),
            reply_to: property("reply_to"),
            headers: headers(&message["headers"]),
            exchange: message["exchange"].as_str().expect("an exchange").to_owned(),
            body: message["body"].as_str().expect("a body").as_bytes().to_vec(),
            ..Wire::default()
        }
    }

    /// As a broker would deliver it to the endpoint `orders`.
    pub(crate) fn inbound(&self) -> Inbound<'_> {
        Inbound {
            endpoint: "orders",
            subscriptions: &self.subscriptions,
            content_type: self.content_type.as_deref(),
            message_id: self.message_id.as_deref(),
            correlation_id: self.correlation_id.as_deref(),
            reply_to: self.reply_to.as_deref(),
            timestamp: self.timestamp,
            headers: &self.headers,
            exchange: &self.exchange,
            routing_key: &self.routing_key,
            body: &self.body,
            from_broker: true,
            without_id: self.without_id,
        }
    }
}

/// Recorded headers: `{"name": {"letter": value}}`, where only a decimal is not in the form that
/// headers are stored in.
pub(crate) fn headers(recorded: &Value) -> Headers {
    let members = recorded.as_object().expect("headers");
    let values = members.iter().map(|(name, value)| {
        let value = match value["D"].as_str() {
            Some(digits) => decimal(digits),
            None => serde_json::from_value(value.clone()).expect("a header value"),
        };
        (name.clone(), value)
    });
    Headers(values.collect())
}

fn decimal(digits: &str) -> HeaderValue {
    let scale = digits.split_once('.').map_or(0, |(_, part)| part.len());
    HeaderValue::Decimal {
        scale: u8::try_from(scale).expect("a small scale"),
        unscaled: digits.replace('.', "").parse().expect("digits"),
    }
}
