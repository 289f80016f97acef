//! One message as it travels: its ids, addresses, types, headers and payload.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::headers::Headers;
use crate::ids::MessageId;
use crate::trace::TraceParent;

/// The W3C's header for trace contexts.
pub const TRACE_PARENT: &str = "traceparent";
/// MassTransit's.
pub const ACTIVITY_ID: &str = "MT-Activity-Id";

/// A message in the terms of MassTransit's envelope, whatever body format it came in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The message's identity for the journal.
    pub message_id: MessageId,
    /// What a request client matches its answer on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// The business id that the sender gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// Shared by everything that one first message caused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<Uuid>,
    /// The correlation (else request) id of the message that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator_id: Option<Uuid>,
    /// Who sent it, as an address URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// Where it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_address: Option<String>,
    /// Where an answer goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_address: Option<String>,
    /// Where a fault goes; else to the response address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_address: Option<String>,
    /// URNs of the type and its base types, the concrete type first.
    pub message_types: Vec<String>,
    /// The payload, not decoded.
    pub message: Arc<RawValue>,
    /// After this instant the message is of no use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<DateTime<Utc>>,
    /// When the sender sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_time: Option<DateTime<Utc>>,
    /// Headers with their AMQP types.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// The AMQP `reply_to`, for requesters that use direct reply-to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Whether custom headers travel on: yes for envelopes, no for raw JSON (behaviours 10).
    #[serde(default)]
    pub propagates_headers: bool,
}

impl Envelope {
    /// An envelope with an id, a type and a payload, and nothing else.
    pub fn new(message_id: MessageId, message_type: String, message: Arc<RawValue>) -> Self {
        Envelope {
            message_id,
            request_id: None,
            correlation_id: None,
            conversation_id: None,
            initiator_id: None,
            source_address: None,
            destination_address: None,
            response_address: None,
            fault_address: None,
            message_types: vec![message_type],
            message,
            expiration_time: None,
            sent_time: None,
            headers: Headers::new(),
            reply_to: None,
            propagates_headers: true,
        }
    }

    /// Whether `urn` is among the message's types, in any case (masstransit-wire §3).
    pub fn is_of_type(&self, urn: &str) -> bool {
        self.message_types.iter().any(|have| have.eq_ignore_ascii_case(urn))
    }

    /// What everything caused by this message carries on.
    pub fn context(&self) -> Context {
        let trace_parent = self.trace_parent();
        let trace_state = trace_parent.as_ref().and_then(|_| self.headers.text("tracestate"));
        Context {
            conversation_id: self.conversation_id.or(Some(self.message_id.0)),
            initiator_id: self.correlation_id.or(self.request_id),
            headers: if self.propagates_headers {
                self.headers.propagated()
            } else {
                Headers::new()
            },
            trace_parent,
            trace_state,
            baggage: self.headers.text("baggage"),
        }
    }

    /// The sender's trace context: the W3C's header, else MassTransit's. What cannot be read counts
    /// as absent, and goes no further.
    pub fn trace_parent(&self) -> Option<String> {
        let valid = |text: &String| text.parse::<TraceParent>().is_ok();
        let header = |name: &str| self.headers.text(name).filter(valid);
        header(TRACE_PARENT).or_else(|| header(ACTIVITY_ID))
    }
}

/// What a cause hands on to its effects, kept on every row that waits (engine.md, "Context that waits").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Copied unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<Uuid>,
    /// Correlation id of the consumed message, else its request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator_id: Option<Uuid>,
    /// Custom headers that travel on.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// W3C trace context of the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_parent: Option<String>,
    /// W3C trace state of the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_state: Option<String>,
    /// W3C baggage of the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baggage: Option<String>,
}

impl Context {
    /// Writes the trace context for those who read the W3C's header and for those who read
    /// MassTransit's.
    pub fn write_trace(&self, headers: &mut Headers) {
        if let Some(parent) = &self.trace_parent {
            headers.set(TRACE_PARENT, parent.clone());
            headers.set(ACTIVITY_ID, parent.clone());
        }
        for (name, value) in [("tracestate", &self.trace_state), ("baggage", &self.baggage)] {
            if let Some(value) = value {
                headers.set(name, value.clone());
            }
        }
    }
}
