//! A message that a person sends: its type and JSON checked, and written out for the wire.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use knarr_model::format::masstransit::{self, Host};
use knarr_model::format::{MASS_TRANSIT, amqp_headers};
use knarr_model::names::check_entity_name;
use knarr_model::topology::is_reserved;
use knarr_model::work::{Addressing, Outgoing};
use knarr_model::{Envelope, Headers, MessageId, TypeName};
use serde_json::value::RawValue;

/// A message by the name of its type, not yet published.
#[derive(Clone, Debug)]
pub struct Draft {
    name: TypeName,
    message: Arc<RawValue>,
    headers: Headers,
}

/// Why a message cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadDraft(String);

impl Draft {
    /// A message of type `name` (`Namespace:Name` or its URN) with a JSON object as its payload.
    ///
    /// # Errors
    /// A sentence that names the wrong part.
    pub fn new(name: &str, message: &RawValue, headers: Headers) -> Result<Draft, BadDraft> {
        let typed = TypeName::parse(name).map_err(|bad| BadDraft(bad.to_string()))?;
        check_entity_name(&typed.exchange())
            .map_err(|why| BadDraft(format!("`{name}` is not a message type name: {why}")))?;
        if is_reserved(&typed.urn()) {
            return Err(BadDraft(format!("`{name}` is reserved: it never travels")));
        }
        if !message.get().trim_start().starts_with('{') {
            return Err(BadDraft("the message must be a JSON object".to_owned()));
        }
        if let Some(own) = headers.0.keys().find(|header| is_own(header)) {
            return Err(BadDraft(format!("the header `{own}` is Knarr's own and cannot be set")));
        }
        Ok(Draft { name: typed, message: Arc::from(message.to_owned()), headers })
    }

    /// The type's URN.
    #[must_use]
    pub fn urn(&self) -> String {
        self.name.urn()
    }

    /// The exchange that it goes to.
    #[must_use]
    pub fn exchange(&self) -> String {
        self.name.exchange()
    }

    /// The message as MassTransit's envelope. It is mandatory: a person who sends a message wants
    /// to hear that nobody takes it.
    #[must_use]
    pub fn outgoing(self, id: MessageId, now: DateTime<Utc>, host: &Host) -> Outgoing {
        let mut envelope = Envelope::new(id, self.name.urn(), self.message);
        envelope.conversation_id = Some(id.0);
        envelope.sent_time = Some(now);
        envelope.headers = self.headers;
        // Whoever reads traces in MassTransit's header finds it there too.
        envelope.context().write_trace(&mut envelope.headers);
        let headers = amqp_headers(&envelope.headers);
        Outgoing {
            id,
            sequence: None,
            exchange: self.name.exchange(),
            routing_key: String::new(),
            addressing: Addressing::Exchange,
            content_type: MASS_TRANSIT.to_owned(),
            correlation_id: None,
            headers,
            expires_at: None,
            priority: None,
            body: masstransit::encode(&envelope, host),
        }
    }
}

fn is_own(header: &str) -> bool {
    header.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("knarr-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, message: &str) -> Result<Draft, BadDraft> {
        let message = RawValue::from_string(message.to_owned()).expect("JSON");
        Draft::new(name, &message, Headers::new())
    }

    #[test]
    fn a_type_may_be_given_by_name_or_urn() {
        for name in ["Shop.Orders:SubmitOrder", "urn:message:Shop.Orders:SubmitOrder"] {
            let draft = draft(name, r#"{"a":1}"#).expect(name);
            assert_eq!(draft.urn(), "urn:message:Shop.Orders:SubmitOrder");
            let id = MessageId(uuid::Uuid::from_u128(7));
            let message = draft.outgoing(id, DateTime::UNIX_EPOCH, &Host::default());
            assert_eq!(message.exchange, "Shop.Orders:SubmitOrder");
            assert!(message.is_mandatory());
            let body: serde_json::Value = serde_json::from_slice(&message.body).expect("JSON");
            assert_eq!(body["message"]["a"], 1);
            assert_eq!(body["messageId"], id.to_string());
        }
    }

    #[test]
    fn what_cannot_travel_is_named() {
        for (name, message, expected) in [
            ("SubmitOrder", "{}", "no namespace"),
            ("Shop Orders:Submit", "{}", "allowed are"),
            ("Knarr.Internal:Timer", "{}", "reserved"),
            ("Shop:Submit", "[1]", "must be a JSON object"),
        ] {
            let why = draft(name, message).expect_err(name).to_string();
            assert!(why.contains(expected), "{name}: {why}");
        }
        let headers = Headers([("knarr-sequence".to_owned(), "1,1".into())].into());
        let message = RawValue::from_string("{}".to_owned()).expect("JSON");
        let why = Draft::new("Shop:Submit", &message, headers).expect_err("reserved header");
        assert!(why.to_string().contains("`knarr-sequence`"), "{why}");
    }
}
