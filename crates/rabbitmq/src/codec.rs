//! Between AMQP's properties, headers and field types and our own.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use knarr_model::format::{self, Inbound};
use knarr_model::headers::MAX_DEPTH;
use knarr_model::ports::transport::{Delivery, Receipt, Undecodable};
use knarr_model::topology::ReceiveEndpoint;
use knarr_model::work::Outgoing;
use knarr_model::{Class, HeaderValue, Headers};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};

use crate::deaths::Deaths;
use crate::names::short;

/// What is kept of a body that is too large.
const KEPT: usize = 64 << 10;

/// Stands where a header is nested deeper than is kept.
const TOO_DEEP: &str = "(nested too deep to be kept)";

/// AMQP's own framing of a header frame beside its table: method and fixed properties.
const HEADER_FRAME_REST: usize = 2_048;

/// A delivery of the client's in the words of the model; `dead` for one from the dead queue.
pub(crate) fn inbound(
    endpoint: &ReceiveEndpoint,
    from: lapin::message::Delivery,
    generation: u64,
    received_at: DateTime<Utc>,
    dead: Option<&Deaths>,
) -> Delivery {
    let properties = &from.properties;
    let headers = properties.headers().as_ref().map(headers_in).unwrap_or_default();
    // A message that the broker gave up is named by where it was first published.
    let (exchange, routing_key) = match died_from(&headers) {
        Some(first) if dead.is_some() => first,
        _ => (from.exchange.to_string(), from.routing_key.to_string()),
    };
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let content_type = text(properties.content_type());
    let message_id = text(properties.message_id());
    let correlation_id = text(properties.correlation_id());
    let reply_to = text(properties.reply_to());
    let size = from.data.len();
    let message = Inbound {
        endpoint: &endpoint.name,
        subscriptions: &endpoint.subscriptions,
        content_type: content_type.as_deref(),
        message_id: message_id.as_deref(),
        correlation_id: correlation_id.as_deref(),
        reply_to: reply_to.as_deref(),
        timestamp: *properties.timestamp(),
        headers: &headers,
        exchange: &exchange,
        routing_key: &routing_key,
        body: &from.data,
        from_broker: true,
        without_id: endpoint.without_id,
    };
    let delivery_count = delivered_before(&headers, from.redelivered);
    let is_large = size > endpoint.max_body;
    let read = if is_large {
        let reason = format!("{size} bytes, and the endpoint takes {} at most", endpoint.max_body);
        format::unread(&message, Undecodable { class: Class::TooLarge, reason })
    } else {
        format::read(&message)
    };
    let content = match dead {
        Some(deaths) => Err(deaths.given_up(&endpoint.name, &headers)),
        None => read.content.map(std::sync::Arc::new).map_err(|why| encoded(properties, why)),
    };
    let body = match is_large {
        // A copy, so that the rest is freed.
        true => Bytes::copy_from_slice(&from.data[..KEPT.min(size)]),
        false => Bytes::from(from.data),
    };
    Delivery {
        receipt: Receipt { generation, tag: from.delivery_tag },
        content,
        message_id: read.message_id,
        digest: read.digest,
        without_id: read.without_id,
        delivery_count,
        exchange,
        routing_key,
        content_type,
        headers,
        body,
        size,
        received_at,
    }
}

/// A body that cannot be read and is said to be encoded is told so: nothing is ever unpacked here,
/// so that a small message cannot become a large one.
fn encoded(properties: &BasicProperties, why: Undecodable) -> Undecodable {
    let encoding = properties.content_encoding().as_ref().map(|text| text.as_str().trim());
    let plain = ["", "utf-8", "utf8", "identity"];
    match encoding.filter(|name| !plain.iter().any(|known| name.eq_ignore_ascii_case(known))) {
        Some(name) if why.class == Class::Undecodable => {
            let reason = format!(
                "its content encoding is {name:?}, and encoded bodies are not read here: {}",
                why.reason
            );
            Undecodable { reason, ..why }
        }
        _ => why,
    }
}

/// Quorum queues count; of others it is known whether there was a delivery before.
fn delivered_before(headers: &Headers, redelivered: bool) -> u32 {
    match headers.get("x-delivery-count").and_then(HeaderValue::as_i64) {
        Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
        None => u32::from(redelivered),
    }
}

/// Exchange and routing key of the publish, from the header that the broker adds to dead letters.
fn died_from(headers: &Headers) -> Option<(String, String)> {
    let HeaderValue::List(deaths) = headers.get("x-death")? else { return None };
    // The latest death comes first.
    let HeaderValue::Table(first) = deaths.last()? else { return None };
    let exchange = first.get("exchange").and_then(HeaderValue::as_text)?;
    let key = match first.get("routing-keys") {
        Some(HeaderValue::List(keys)) => keys.first().and_then(HeaderValue::as_text),
        _ => None,
    };
    Some((exchange, key.unwrap_or_default()))
}

/// A table of header fields, each with its type.
pub(crate) fn headers_in(table: &FieldTable) -> Headers {
    Headers(table_in(table, MAX_DEPTH))
}

fn table_in(table: &FieldTable, left: usize) -> BTreeMap<String, HeaderValue> {
    table.into_iter().map(|(name, value)| (name.to_string(), value_in(value, left))).collect()
}

/// A value with at most so many levels of lists and tables: a row with more could not be read back.
fn value_in(value: &AMQPValue, left: usize) -> HeaderValue {
    match value {
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if left == 0 => {
            HeaderValue::from(TOO_DEEP)
        }
        AMQPValue::Boolean(value) => HeaderValue::Bool(*value),
        AMQPValue::ShortShortInt(value) => HeaderValue::I8(*value),
        AMQPValue::ShortShortUInt(value) => HeaderValue::U8(*value),
        AMQPValue::ShortInt(value) => HeaderValue::I16(*value),
        // The two unsigned kinds have no place of their own: the next wider one holds them.
        AMQPValue::ShortUInt(value) => HeaderValue::I32(i32::from(*value)),
        AMQPValue::LongInt(value) => HeaderValue::I32(*value),
        AMQPValue::LongUInt(value) => HeaderValue::I64(i64::from(*value)),
        AMQPValue::LongLongInt(value) => HeaderValue::I64(*value),
        AMQPValue::Float(value) => HeaderValue::F32(*value),
        AMQPValue::Double(value) => HeaderValue::F64(*value),
        AMQPValue::DecimalValue(value) => {
            HeaderValue::Decimal { scale: value.scale, unscaled: value.value.cast_signed() }
        }
        AMQPValue::ShortString(text) => HeaderValue::Text(text.to_string()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Bytes(text.as_bytes().to_vec()),
        },
        AMQPValue::FieldArray(items) => HeaderValue::List(
            items.as_slice().iter().map(|item| value_in(item, left - 1)).collect(),
        ),
        AMQPValue::Timestamp(seconds) => HeaderValue::Timestamp(seconds.cast_signed()),
        AMQPValue::FieldTable(table) => HeaderValue::Table(table_in(table, left - 1)),
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(bytes.as_slice().to_vec()),
        AMQPValue::Void => HeaderValue::Null,
    }
}

fn value_out(value: &HeaderValue) -> Result<AMQPValue, String> {
    Ok(match value {
        HeaderValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
        HeaderValue::Bool(value) => AMQPValue::Boolean(*value),
        HeaderValue::I8(value) => AMQPValue::ShortShortInt(*value),
        HeaderValue::U8(value) => AMQPValue::ShortShortUInt(*value),
        HeaderValue::I16(value) => AMQPValue::ShortInt(*value),
        HeaderValue::I32(value) => AMQPValue::LongInt(*value),
        HeaderValue::I64(value) => AMQPValue::LongLongInt(*value),
        HeaderValue::F32(value) => AMQPValue::Float(*value),
        HeaderValue::F64(value) => AMQPValue::Double(*value),
        HeaderValue::Decimal { scale, unscaled } => {
            let value = unscaled.cast_unsigned();
            AMQPValue::DecimalValue(DecimalValue { scale: *scale, value })
        }
        HeaderValue::Timestamp(seconds) => AMQPValue::Timestamp(seconds.cast_unsigned()),
        HeaderValue::Bytes(bytes) => AMQPValue::ByteArray(bytes.clone().into()),
        HeaderValue::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(value_out).collect();
            AMQPValue::FieldArray(FieldArray::from(items?))
        }
        HeaderValue::Table(table) => AMQPValue::FieldTable(table_out(table)?),
        HeaderValue::Null => AMQPValue::Void,
    })
}

fn table_out(table: &BTreeMap<String, HeaderValue>) -> Result<FieldTable, String> {
    let mut fields = FieldTable::default();
    for (name, value) in table {
        fields.insert(short("a header's name", name)?, value_out(value)?);
    }
    Ok(fields)
}

/// The headers of a message that goes out. Those of the broker and of clients (`x-…`) stay here.
pub(crate) fn headers_out(headers: &Headers) -> Result<FieldTable, String> {
    let ours = |name: &str| !name.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("x-"));
    let mut fields = FieldTable::default();
    for (name, value) in headers.0.iter().filter(|(name, _)| ours(name)) {
        fields.insert(short("a header's name", name)?, value_out(value)?);
    }
    Ok(fields)
}

/// Bytes of a field's value on the wire, its type letter included.
fn width(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(items) => 4 + items.as_slice().iter().map(width).sum::<usize>(),
        AMQPValue::FieldTable(table) => table_width(table),
    }
}

fn table_width(table: &FieldTable) -> usize {
    let fields = table.into_iter().map(|(name, value)| 1 + name.as_str().len() + width(value));
    4 + fields.sum::<usize>()
}

/// The properties of a message that goes out, or why it can never go.
pub(crate) fn properties(
    message: &Outgoing,
    now: DateTime<Utc>,
    frame_max: u32,
) -> Result<BasicProperties, String> {
    let headers = headers_out(&message.headers)?;
    // A header frame cannot be split, and a longer one costs the whole connection.
    let most = usize::try_from(frame_max).unwrap_or(usize::MAX).saturating_sub(HEADER_FRAME_REST);
    let wide = table_width(&headers);
    if wide > most {
        return Err(format!("its headers have {wide} bytes, and the broker takes {most} at most"));
    }
    let mut properties = BasicProperties::default()
        .with_message_id(message.id.to_string().into())
        .with_content_type(short("the content type", &message.content_type)?)
        .with_delivery_mode(2)
        .with_headers(headers);
    if let Some(id) = message.correlation_id {
        properties = properties.with_correlation_id(id.to_string().into());
    }
    if let Some(priority) = message.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(at) = message.expires_at {
        let left = (at - now).num_milliseconds().clamp(1, i64::from(u32::MAX));
        properties = properties.with_expiration(left.to_string().into());
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Headers {
        let table = BTreeMap::from([("deep".to_owned(), HeaderValue::Null)]);
        let values = [
            HeaderValue::from("é 𝕊"),
            HeaderValue::Bool(true),
            HeaderValue::I8(-8),
            HeaderValue::U8(200),
            HeaderValue::I16(-1600),
            HeaderValue::I32(-32),
            HeaderValue::I64(1 << 40),
            HeaderValue::F32(1.5),
            HeaderValue::F64(-2.25),
            HeaderValue::Decimal { scale: 2, unscaled: -1250 },
            HeaderValue::Timestamp(-5),
            HeaderValue::Bytes(vec![0, 255]),
            HeaderValue::List(vec![HeaderValue::from("a"), HeaderValue::Table(table.clone())]),
            HeaderValue::Table(table),
            HeaderValue::Null,
        ];
        let named = values.into_iter().enumerate().map(|(n, value)| (format!("h{n}"), value));
        Headers(named.collect())
    }

    #[test]
    fn pe_003_every_field_type_survives_both_ways() {
        let table = headers_out(&every_kind()).expect("all can be written");
        assert_eq!(headers_in(&table), every_kind());
    }

    #[test]
    fn text_that_is_not_utf_8_stays_bytes() {
        let value = AMQPValue::LongString(vec![0xff, 0xfe].into());
        assert_eq!(value_in(&value, 1), HeaderValue::Bytes(vec![0xff, 0xfe]));
    }

    #[test]
    fn row_077_tables_in_tables_are_kept_to_the_depth_that_a_row_can_hold() {
        for depth in [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 500] {
            let mut value = AMQPValue::LongString("bottom".into());
            for level in 0..depth {
                value = if level % 2 == 0 {
                    AMQPValue::FieldArray(FieldArray::from(vec![value]))
                } else {
                    let mut table = FieldTable::default();
                    table.insert("t".into(), value);
                    AMQPValue::FieldTable(table)
                };
            }
            let mut table = FieldTable::default();
            table.insert("deep".into(), value);
            let headers = headers_in(&table);
            let mut shallow = headers.clone();
            shallow.drop_deep();
            assert_eq!(shallow, headers, "depth {depth}: a stored row could not be read back");
            let text = format!("{headers:?}");
            assert_eq!(text.contains("bottom"), depth <= MAX_DEPTH, "depth {depth}: {text}");
            assert_eq!(text.contains(TOO_DEEP), depth > MAX_DEPTH, "depth {depth}: {text}");
        }
    }

    #[test]
    fn row_072_an_encoded_body_is_told_as_what_it_is_and_a_plain_one_is_not() {
        let why = |class| Undecodable { class, reason: "the body is not JSON".to_owned() };
        let told = |name: &str, class| {
            let properties = BasicProperties::default().with_content_encoding(name.into());
            encoded(&properties, why(class)).reason
        };
        for name in ["gzip", "br", "x\r\ny"] {
            let told = told(name, Class::Undecodable);
            assert!(told.contains(&format!("{name:?}")) && told.contains("not JSON"), "{told}");
            assert_eq!(told.lines().count(), 1);
        }
        for name in ["", "utf-8", "UTF8", "identity"] {
            assert_eq!(told(name, Class::Undecodable), "the body is not JSON");
        }
        assert_eq!(told("gzip", Class::UnknownType), "the body is not JSON");
        assert_eq!(
            encoded(&BasicProperties::default(), why(Class::Undecodable)),
            why(Class::Undecodable)
        );
    }

    #[test]
    fn headers_of_the_broker_do_not_go_out_and_long_names_are_refused() {
        let mut headers = Headers::new();
        headers.set("X-Death", "no");
        headers.set("x-dotnet-pub-seq-no", "no");
        headers.set("xylophone", "yes");
        let table = headers_out(&headers).expect("fine");
        assert_eq!(headers_in(&table).0.keys().collect::<Vec<_>>(), ["xylophone"]);
        headers.set(&"n".repeat(256), "v");
        assert!(headers_out(&headers).is_err());
    }

    #[test]
    fn a_dead_letter_is_named_by_its_first_publish() {
        let death = |exchange: &str, key: &str| {
            let keys = HeaderValue::List(vec![HeaderValue::from(key)]);
            HeaderValue::Table(BTreeMap::from([
                ("exchange".to_owned(), HeaderValue::from(exchange)),
                ("routing-keys".to_owned(), keys),
            ]))
        };
        let deaths = HeaderValue::List(vec![death("later", "b"), death("first", "a")]);
        let headers = Headers(BTreeMap::from([("x-death".to_owned(), deaths)]));
        assert_eq!(died_from(&headers), Some(("first".to_owned(), "a".to_owned())));
    }
}
