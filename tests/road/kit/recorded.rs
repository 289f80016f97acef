//! Messages as a real MassTransit wrote them, and what we write held against them.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_model::format::{self, Inbound};
use knarr_model::ports::transport::{Delivery, Receipt};
use knarr_model::topology::{Subscription, WithoutId};
use knarr_model::{HeaderValue, Headers};
use knarr_tests::source;
use serde_json::Value;

use super::wire::Sent;

/// One recorded message.
pub(crate) struct Recorded {
    pub(crate) exchange: String,
    properties: Value,
    /// AMQP headers but the one in which .NET counts its confirms.
    headers: Headers,
    pub(crate) body: Value,
    bytes: Bytes,
}

impl Recorded {
    /// Reads `messages/<name>.json`.
    pub(crate) fn read(name: &str) -> Recorded {
        let path = source::root().join(format!("tests/fixtures/masstransit/messages/{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let file: Value = serde_json::from_str(&text).expect("a recorded message");
        let headers = file["headers"].as_object().expect("headers").iter();
        let header = |(name, value): (&String, &Value)| -> (String, HeaderValue) {
            (name.clone(), serde_json::from_value(value.clone()).expect("a header value"))
        };
        let mut headers = Headers(headers.map(header).collect());
        headers.0.remove("x-dotnet-pub-seq-no");
        let text = |name: &str| file[name].as_str().expect("text").to_owned();
        let body = text("body");
        Recorded {
            exchange: text("exchange"),
            properties: file["properties"].clone(),
            headers,
            body: serde_json::from_str(&body).expect("an envelope"),
            bytes: body.into(),
        }
    }

    /// The message as a broker hands it to the endpoint that takes these types.
    pub(super) fn delivery(
        &self,
        endpoint: &str,
        subscriptions: &[Subscription],
        now: DateTime<Utc>,
    ) -> Delivery {
        let property = |name: &str| self.properties[name].as_str();
        let read = format::read(&Inbound {
            endpoint,
            subscriptions,
            content_type: property("content_type"),
            message_id: property("message_id"),
            correlation_id: property("correlation_id"),
            reply_to: property("reply_to"),
            timestamp: None,
            headers: &self.headers,
            exchange: &self.exchange,
            routing_key: "",
            body: &self.bytes,
            from_broker: true,
            without_id: WithoutId::Digest,
        });
        Delivery {
            receipt: Receipt { generation: 0, tag: 0 },
            content: read.content.map(Arc::new),
            message_id: read.message_id,
            digest: read.digest,
            without_id: read.without_id,
            delivery_count: 0,
            exchange: self.exchange.clone(),
            routing_key: String::new(),
            content_type: property("content_type").map(str::to_owned),
            headers: self.headers.clone(),
            size: self.bytes.len(),
            body: self.bytes.clone(),
            received_at: now,
        }
    }

    /// Holds a message of ours against this one, member by member. Those in `own` differ: ids,
    /// times, and who the sender is; they must be there all the same. Those in `one_sided` only one
    /// of the two has.
    pub(crate) fn must_equal(&self, ours: &Sent, own: &[&str], one_sided: &[&str]) {
        let body: Value = serde_json::from_slice(&ours.outgoing.body).expect("an envelope");
        let mut check = Check { own, one_sided, used: BTreeSet::new(), wrong: Vec::new() };
        let exchange = [&ours.outgoing.exchange, &self.exchange].map(|name| name.as_str().into());
        check.compare("exchange", &exchange[0], &exchange[1]);
        check.compare("body", &body, &self.body);
        for (name, value) in [
            ("message_id", Some(ours.outgoing.id.to_string())),
            ("correlation_id", ours.outgoing.correlation_id.map(|id| id.to_string())),
            ("content_type", Some(ours.outgoing.content_type.clone())),
            ("expiration", ours.outgoing.expires_at.map(|at| at.to_rfc3339())),
        ] {
            let value = value.map_or(Value::Null, Value::from);
            check.compare(&format!("properties.{name}"), &value, &self.properties[name]);
        }
        let shown = |headers: &Headers| serde_json::to_value(headers).expect("headers");
        check.compare("headers", &shown(&ours.outgoing.headers), &shown(&self.headers));
        let all = own.iter().chain(one_sided);
        let idle: Vec<_> = all.filter(|path| !check.used.contains(**path)).collect();
        assert!(idle.is_empty(), "they do not differ in {idle:?}");
        assert!(check.wrong.is_empty(), "{}", check.wrong.join("\n"));
    }
}

struct Check<'a> {
    own: &'a [&'a str],
    one_sided: &'a [&'a str],
    used: BTreeSet<&'a str>,
    wrong: Vec<String>,
}

impl Check<'_> {
    fn compare(&mut self, path: &str, ours: &Value, theirs: &Value) {
        if let Some(own) = self.own.iter().find(|own| covers(own, path)) {
            if ours != theirs {
                self.used.insert(own);
            }
            return;
        }
        match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => {
                let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
                for name in names {
                    let path = format!("{path}.{name}");
                    match (ours.get(name), theirs.get(name)) {
                        (Some(ours), Some(theirs)) => self.compare(&path, ours, theirs),
                        (here, _) => self.lacks(&path, here.is_some()),
                    }
                }
            }
            (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
                for (n, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                    self.compare(&format!("{path}.{n}"), ours, theirs);
                }
            }
            _ if ours == theirs => {}
            _ => self.wrong.push(format!("{path}: ours is {ours}, theirs {theirs}")),
        }
    }
    fn lacks(&mut self, path: &str, ours_has: bool) {
        match self.one_sided.iter().find(|known| **known == path) {
            Some(known) => drop(self.used.insert(known)),
            None if ours_has => self.wrong.push(format!("{path} is only in ours")),
            None => self.wrong.push(format!("{path} is missing in ours")),
        }
    }
}

/// `a.*` stands for every member of `a`.
fn covers(own: &str, path: &str) -> bool {
    let below = |of: &str| {
        let rest = path.strip_prefix(of).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|member| !member.contains('.'))
    };
    own == path || own.strip_suffix(".*").is_some_and(below)
}
