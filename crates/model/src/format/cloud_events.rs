//! CloudEvents 1.0: attributes in the body (structured) or in AMQP headers (binary).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use super::inbound::{Decoded, Inbound, bad_message, undecodable};
use super::json::{self, Object, Payload, Text};
use super::{raw_json, timestamp};
use crate::digest::id_from_cloud_event;
use crate::headers::{HeaderValue, Headers};
use crate::ids::MessageId;
use crate::message::TypeName;
use crate::ports::transport::Undecodable;

/// Attributes of the W3C trace extension: kept under their own names, for that is where the
/// engine looks for them.
const TRACE: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The attributes of an event, whatever carried them.
#[derive(Default)]
struct Attributes {
    kind: Option<String>,
    source: Option<String>,
    id: Option<String>,
    time: Option<DateTime<Utc>>,
    /// Subject, schema and extensions, as `ce-<name>`.
    others: Headers,
}

impl Attributes {
    /// Takes one attribute; those with a wrong type are passed over.
    fn take(&mut self, name: &str, value: HeaderValue) {
        let text = || value.as_text().filter(|text| !text.trim().is_empty());
        match name.to_ascii_lowercase().as_str() {
            "specversion" => {}
            "type" => self.kind = text(),
            "source" => self.source = text(),
            "id" => self.id = text(),
            "time" => self.time = text().and_then(|text| timestamp::parse(&text)),
            trace if TRACE.contains(&trace) => self.others.set(trace, value),
            other => self.others.set(&format!("ce-{other}"), value),
        }
    }

    /// `source` and `id` together name an event (CloudEvents 1.0 §3.1.1).
    fn message_id(&self) -> Option<MessageId> {
        Some(id_from_cloud_event(self.source.as_deref()?, self.id.as_deref()?))
    }

    /// The URN of the event's `type`, which is an exchange's name or a URN.
    fn urn(&self, inbound: &Inbound<'_>) -> Result<String, Undecodable> {
        let kind =
            self.kind.as_deref().ok_or_else(|| undecodable("the CloudEvent has no `type`"))?;
        let named = inbound
            .subscriptions
            .iter()
            .find(|taken| taken.exchange == kind || taken.urn.eq_ignore_ascii_case(kind));
        Ok(match named {
            Some(taken) => taken.urn.clone(),
            None if kind.to_ascii_lowercase().starts_with("urn:") => kind.to_owned(),
            None => TypeName::parse(kind)
                .map_or_else(|_| format!("urn:message:{kind}"), |name| name.urn()),
        })
    }
}

/// Reads an event in its JSON form.
pub(super) fn structured(inbound: &Inbound<'_>, object: &Object<'_>) -> Decoded {
    let mut attributes = Attributes::default();
    for (name, raw) in object.members() {
        let is_data = ["data", "data_base64"].iter().any(|data| data.eq_ignore_ascii_case(name));
        if !is_data && let Ok(value) = serde_json::from_str::<Value>(raw.get()) {
            attributes.take(name, HeaderValue::from_json(&value));
        }
    }
    decoded(inbound, attributes, None, data(object))
}

fn data(object: &Object<'_>) -> Result<Payload, Undecodable> {
    const DATA: &str = "the CloudEvent's `data`";
    if let Some(raw) = object.get("data") {
        return Payload::of(DATA, raw);
    }
    let Some(raw) = object.get("data_base64") else {
        return Err(bad_message("the CloudEvent has no `data`"));
    };
    let bytes = serde_json::from_str::<Text<'_>>(raw.get())
        .ok()
        .and_then(|Text(text)| STANDARD.decode(text.as_bytes()).ok())
        .ok_or_else(|| undecodable("the CloudEvent's `data_base64` is not Base64 text"))?;
    let raw: &RawValue = serde_json::from_str(json::text(&bytes)?)
        .map_err(|error| undecodable(format!("{DATA} is not JSON: {error}")))?;
    Payload::of(DATA, raw)
}

/// Reads an event whose attributes are the headers that begin with `prefix`.
pub(super) fn binary(inbound: &Inbound<'_>, prefix: &str, text: &str) -> Decoded {
    let mut attributes = Attributes::default();
    for (name, value) in &inbound.headers.0 {
        if let Some(attribute) = unprefixed(name, prefix) {
            attributes.take(attribute, value.clone());
        }
    }
    let payload = serde_json::from_str::<&RawValue>(text)
        .map_err(|error| undecodable(format!("the body is not JSON: {error}")))
        .and_then(|raw| Payload::of("the CloudEvent's data", raw));
    decoded(inbound, attributes, Some(prefix), payload)
}

fn unprefixed<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn decoded(
    inbound: &Inbound<'_>,
    attributes: Attributes,
    prefix: Option<&str>,
    payload: Result<Payload, Undecodable>,
) -> Decoded {
    Decoded {
        own_id: attributes.message_id(),
        digest: payload.as_ref().ok().map(|payload| payload.digest),
        content: payload.and_then(|payload| {
            let urn = attributes.urn(inbound)?;
            let mut envelope = raw_json::from_headers(inbound, vec![urn], payload);
            envelope.source_address = envelope.source_address.or(attributes.source);
            envelope.sent_time = attributes.time.or(envelope.sent_time);
            if let Some(prefix) = prefix {
                envelope.headers.0.retain(|name, _| unprefixed(name, prefix).is_none());
            }
            for (name, value) in attributes.others.0 {
                envelope.headers.set(&name, value);
            }
            envelope.headers.drop_deep();
            Ok(envelope)
        }),
    }
}
