//! Headers of a message, with the AMQP type of each value kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One header value; the letter in brackets is the AMQP 0-9-1 field type that it travels as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HeaderValue {
    /// A long string (`S`).
    #[serde(rename = "S")]
    Text(String),
    /// A boolean (`t`).
    #[serde(rename = "t")]
    Bool(bool),
    /// A signed byte (`b`).
    #[serde(rename = "b")]
    I8(i8),
    /// An unsigned byte (`B`).
    #[serde(rename = "B")]
    U8(u8),
    /// A short integer (`s`).
    #[serde(rename = "s")]
    I16(i16),
    /// A 32-bit integer (`I`).
    #[serde(rename = "I")]
    I32(i32),
    /// A 64-bit integer (`l`).
    #[serde(rename = "l")]
    I64(i64),
    /// A 32-bit float (`f`).
    #[serde(rename = "f", with = "float")]
    F32(f32),
    /// A 64-bit float (`d`).
    #[serde(rename = "d", with = "float")]
    F64(f64),
    /// A decimal (`D`): the value is `unscaled / 10^scale`.
    #[serde(rename = "D")]
    Decimal {
        /// Digits after the point.
        scale: u8,
        /// The digits.
        unscaled: i32,
    },
    /// Seconds since 1970 (`T`).
    #[serde(rename = "T")]
    Timestamp(i64),
    /// Raw bytes (`x`), also text that is not UTF-8.
    #[serde(rename = "x")]
    Bytes(Vec<u8>),
    /// A list (`A`).
    #[serde(rename = "A")]
    List(Vec<HeaderValue>),
    /// A table (`F`).
    #[serde(rename = "F")]
    Table(BTreeMap<String, HeaderValue>),
    /// No value (`V`).
    #[serde(rename = "V")]
    Null,
}

impl HeaderValue {
    /// The value as JSON, as it stands in a MassTransit envelope's `headers`.
    pub fn to_json(&self) -> Value {
        match self {
            HeaderValue::Text(text) => Value::from(text.as_str()),
            HeaderValue::Bool(value) => Value::from(*value),
            HeaderValue::I8(value) => Value::from(*value),
            HeaderValue::U8(value) => Value::from(*value),
            HeaderValue::I16(value) => Value::from(*value),
            HeaderValue::I32(value) => Value::from(*value),
            HeaderValue::I64(value) => Value::from(*value),
            HeaderValue::F32(value) => Value::from(widened(*value)),
            HeaderValue::F64(value) => Value::from(*value),
            HeaderValue::Decimal { scale, unscaled } => Value::from(decimal(*scale, *unscaled)),
            HeaderValue::Timestamp(seconds) => {
                match chrono::DateTime::from_timestamp(*seconds, 0) {
                    Some(at) => Value::from(at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
                    None => Value::from(*seconds),
                }
            }
            HeaderValue::Bytes(bytes) => Value::from(String::from_utf8_lossy(bytes)),
            HeaderValue::List(items) => items.iter().map(HeaderValue::to_json).collect(),
            HeaderValue::Table(table) => {
                table.iter().map(|(k, v)| (k.clone(), v.to_json())).collect()
            }
            HeaderValue::Null => Value::Null,
        }
    }

    /// The value from an envelope's `headers`; numbers become the smallest type .NET would use.
    pub fn from_json(value: &Value) -> HeaderValue {
        match value {
            Value::Null => HeaderValue::Null,
            Value::Bool(value) => HeaderValue::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => match i32::try_from(whole) {
                    Ok(small) => HeaderValue::I32(small),
                    Err(_) => HeaderValue::I64(whole),
                },
                None => HeaderValue::F64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => HeaderValue::Text(text.clone()),
            Value::Array(items) => {
                HeaderValue::List(items.iter().map(HeaderValue::from_json).collect())
            }
            Value::Object(members) => HeaderValue::Table(
                members.iter().map(|(k, v)| (k.clone(), HeaderValue::from_json(v))).collect(),
            ),
        }
    }

    /// The value as text, where it has one: text, numbers, booleans.
    pub fn as_text(&self) -> Option<String> {
        match self {
            HeaderValue::Text(text) => Some(text.clone()),
            HeaderValue::Bytes(bytes) => String::from_utf8(bytes.clone()).ok(),
            HeaderValue::Null | HeaderValue::List(_) | HeaderValue::Table(_) => None,
            HeaderValue::Decimal { scale, unscaled } => Some(decimal(*scale, *unscaled)),
            other => match other.to_json() {
                Value::String(text) => Some(text),
                value => Some(value.to_string()),
            },
        }
    }

    /// The value as a whole number, where it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            HeaderValue::I8(value) => Some(i64::from(*value)),
            HeaderValue::U8(value) => Some(i64::from(*value)),
            HeaderValue::I16(value) => Some(i64::from(*value)),
            HeaderValue::I32(value) => Some(i64::from(*value)),
            HeaderValue::I64(value) => Some(*value),
            HeaderValue::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// How deep lists and tables may be nested in a header. Each level is two in a stored row, which is
/// JSON, of which 128 levels can be read.
pub const MAX_DEPTH: usize = 32;

impl HeaderValue {
    fn is_shallow(&self, left: usize) -> bool {
        match self {
            HeaderValue::List(items) => {
                left > 0 && items.iter().all(|item| item.is_shallow(left - 1))
            }
            HeaderValue::Table(table) => {
                left > 0 && table.values().all(|item| item.is_shallow(left - 1))
            }
            _ => true,
        }
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        HeaderValue::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        HeaderValue::Text(text)
    }
}

/// The double that prints as the float does: 0.1 stays 0.1, as .NET writes it.
fn widened(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Floats in stored rows: JSON has no infinities and no NaN, so these are kept as text.
mod float {
    use std::fmt::{self, Display};
    use std::marker::PhantomData;
    use std::str::FromStr;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::{Serialize, Serializer};

    pub(super) fn serialize<T, S>(value: &T, to: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Display + Into<f64> + Serialize,
        S: Serializer,
    {
        let wide: f64 = (*value).into();
        if wide.is_finite() { value.serialize(to) } else { to.collect_str(value) }
    }

    pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
    where
        T: FromStr,
        D: Deserializer<'de>,
    {
        struct Number<T>(PhantomData<T>);
        impl<T: FromStr> Visitor<'_> for Number<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or text for one that JSON does not have")
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                text.parse().map_err(|_| E::custom(format_args!("`{text}` is no number")))
            }
        }
        from.deserialize_any(Number(PhantomData))
    }
}

fn decimal(scale: u8, unscaled: i32) -> String {
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, part) = digits.split_at(digits.len() - usize::from(scale));
    let sign = if unscaled < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// Headers by name; names are looked up without regard to case, as MassTransit does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, HeaderValue>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, whatever its case.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.0
            .get(name)
            .or_else(|| self.0.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }

    /// The value of `name` as text; empty text counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(HeaderValue::as_text).filter(|text| !text.is_empty())
    }

    /// Sets `name`, replacing a header of the same name in any case.
    pub fn set(&mut self, name: &str, value: impl Into<HeaderValue>) {
        self.0.retain(|key, _| !key.eq_ignore_ascii_case(name) || key == name);
        self.0.insert(name.to_owned(), value.into());
    }

    /// The headers that travel on to what a message causes: those of people, not of transports.
    pub fn propagated(&self) -> Headers {
        Headers(
            self.0
                .iter()
                .filter(|(name, _)| !is_reserved(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// Drops values nested deeper than [`MAX_DEPTH`]: a stored row could not be read back.
    pub fn drop_deep(&mut self) {
        self.0.retain(|_, value| value.is_shallow(MAX_DEPTH));
    }

    /// Whether there is no header.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a header belongs to a transport or to Knarr and is therefore never copied on.
fn is_reserved(name: &str) -> bool {
    const PREFIXES: [&str; 4] = ["mt-", "knarr-", "x-", "rabbitmq-"];
    const NAMES: [&str; 10] = [
        "messageid",
        "correlationid",
        "conversationid",
        "requestid",
        "content-type",
        "contenttype",
        "publishid",
        "traceparent",
        "tracestate",
        "baggage",
    ];
    let name = name.to_ascii_lowercase();
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!(decimal(2, 1250), "12.50");
        assert_eq!(decimal(0, -7), "-7");
        assert_eq!(decimal(3, -5), "-0.005");
    }

    #[test]
    fn reserved_headers_do_not_travel_on() {
        let mut headers = Headers::new();
        for name in ["MT-Redelivery-Count", "x-death", "Knarr-Sequence", "MessageId", "tenant"] {
            headers.set(name, "v");
        }
        assert_eq!(headers.propagated().0.keys().collect::<Vec<_>>(), ["tenant"]);
    }

    fn one_of_each() -> Vec<HeaderValue> {
        vec![
            HeaderValue::from("text æ"),
            HeaderValue::Bool(true),
            HeaderValue::I8(-7),
            HeaderValue::U8(200),
            HeaderValue::I16(-300),
            HeaderValue::I32(70_000),
            HeaderValue::I64(9_007_199_254_740_993),
            HeaderValue::F32(0.1),
            HeaderValue::F64(-2.0),
            HeaderValue::Decimal { scale: 2, unscaled: -1250 },
            HeaderValue::Timestamp(-1),
            HeaderValue::Bytes(vec![0, 159, 255]),
            HeaderValue::List(vec![HeaderValue::Null, HeaderValue::from("a")]),
            HeaderValue::Table(BTreeMap::from([("k".to_owned(), HeaderValue::U8(1))])),
            HeaderValue::Null,
        ]
    }

    #[test]
    fn pe_003_every_kind_of_value_comes_back_from_storage_as_itself() {
        for value in one_of_each() {
            let stored = serde_json::to_string(&value).expect("storable");
            let again: HeaderValue = serde_json::from_str(&stored).expect(&stored);
            assert_eq!(again, value, "{stored}");
        }
        for value in [f64::INFINITY, f64::NEG_INFINITY] {
            let stored = serde_json::to_string(&HeaderValue::F64(value)).expect("storable");
            assert_eq!(
                serde_json::from_str::<HeaderValue>(&stored).ok(),
                Some(HeaderValue::F64(value))
            );
        }
        let stored = serde_json::to_string(&HeaderValue::F32(f32::NAN)).expect("storable");
        let again: HeaderValue = serde_json::from_str(&stored).expect("readable");
        assert!(matches!(again, HeaderValue::F32(value) if value.is_nan()), "{again:?}");
    }

    #[test]
    fn values_have_the_json_and_the_text_that_dotnet_gives_them() {
        assert_eq!(HeaderValue::F32(0.1).to_json(), serde_json::json!(0.1));
        assert_eq!(HeaderValue::Timestamp(1_767_323_045).to_json(), "2026-01-02T03:04:05Z");
        assert_eq!(HeaderValue::F64(f64::NAN).to_json(), Value::Null);
        let texts: Vec<_> = one_of_each().iter().map(HeaderValue::as_text).collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(texts[..3], [text("text æ"), text("true"), text("-7")]);
        assert_eq!(texts[9..12], [text("-12.50"), text("1969-12-31T23:59:59Z"), None]);
        assert_eq!(HeaderValue::from("12").as_i64(), Some(12));
        assert_eq!(HeaderValue::F64(12.0).as_i64(), None);
    }

    #[test]
    fn names_are_found_and_replaced_in_any_case() {
        let mut headers = Headers::new();
        headers.set("Tenant", "south");
        headers.set("TENANT", "north");
        assert_eq!(headers.0.len(), 1);
        assert_eq!(headers.text("tenant").as_deref(), Some("north"));
        headers.set("empty", "");
        assert_eq!(headers.text("empty"), None);
    }

    #[test]
    fn values_too_deep_to_come_back_from_storage_are_dropped() {
        let nested =
            |depth| (0..depth).fold(HeaderValue::Null, |inner, _| HeaderValue::List(vec![inner]));
        let mut headers = Headers::new();
        headers.0.insert("kept".to_owned(), nested(MAX_DEPTH));
        headers.0.insert("dropped".to_owned(), nested(MAX_DEPTH + 1));
        headers.drop_deep();
        assert_eq!(headers.0.keys().collect::<Vec<_>>(), ["kept"]);
        let stored = serde_json::to_string(&headers).expect("storable");
        assert_eq!(serde_json::from_str::<Headers>(&stored).ok(), Some(headers));
    }
}
