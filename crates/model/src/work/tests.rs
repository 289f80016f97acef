//! Chunks keep order, bounds and bodies; damaged rows are errors.

use super::*;
use crate::headers::HeaderValue;

fn outgoing(n: u128, bytes: usize) -> Outgoing {
    let mut headers = Headers::new();
    headers.set("n", HeaderValue::I64(9_007_199_254_740_993));
    headers.set("float", HeaderValue::F32(0.1));
    headers.set("nan", HeaderValue::F64(f64::INFINITY));
    headers.set("list", HeaderValue::List(vec![HeaderValue::Null, HeaderValue::U8(1)]));
    Outgoing {
        id: MessageId(Uuid::from_u128(n)),
        sequence: Some(Sequence { instance: InstanceId(Uuid::max()), run: 2, n: i64::MAX }),
        exchange: "Shop:Order".to_owned(),
        routing_key: String::new(),
        addressing: Addressing::Publish { bases: vec!["Shop:Event".to_owned()] },
        content_type: "application/json".to_owned(),
        correlation_id: None,
        headers,
        expires_at: DateTime::from_timestamp(1_767_323_045, 123_456_789),
        priority: Some(3),
        body: Bytes::from(vec![u8::try_from(n % 251).unwrap_or(0); bytes]),
    }
}

fn split(sizes: &[usize]) -> Vec<Chunk> {
    let messages = (0..).zip(sizes).map(|(n, bytes)| outgoing(n, *bytes)).collect();
    let mut id = 0;
    Chunk::split(&"orders".into(), messages, || {
        id += 1;
        RowId(Uuid::from_u128(id))
    })
}

fn lengths(chunks: &[Chunk]) -> Vec<usize> {
    chunks.iter().map(|chunk| chunk.messages.len()).collect()
}

#[test]
fn chunks_keep_their_order_and_stay_within_their_bounds() {
    assert_eq!(lengths(&split(&[])), [0; 0]);
    assert_eq!(lengths(&split(&[0; CHUNK_MESSAGES])), [CHUNK_MESSAGES]);
    let many = split(&[1; 2 * CHUNK_MESSAGES + 1]);
    assert_eq!(lengths(&many), [CHUNK_MESSAGES, CHUNK_MESSAGES, 1]);
    let ids: Vec<_> =
        many.iter().flat_map(|chunk| &chunk.messages).map(|message| message.id).collect();
    assert!(ids.is_sorted());
    assert_eq!(many[2].id, RowId(Uuid::from_u128(3)));

    let half = CHUNK_BYTES / 2;
    assert_eq!(lengths(&split(&[half, half, 1])), [2, 1]);
    assert_eq!(lengths(&split(&[1, CHUNK_BYTES + 1, 1])), [1, 1, 1]);
    assert_eq!(lengths(&split(&[CHUNK_BYTES + 1, 0, 1])), [1, 2]);
}

#[test]
fn a_chunk_comes_back_from_its_row_as_it_was() {
    let chunk = split(&[3, 0, 700]).remove(0);
    let (directory, bodies) = chunk.encode().expect("storable");
    assert_eq!(bodies.len(), 703);
    let again = Chunk::decode(chunk.id, chunk.endpoint.clone(), &directory, bodies.clone())
        .expect("readable");
    assert_eq!(again.messages.len(), 3);
    for (one, other) in chunk.messages.iter().zip(&again.messages) {
        assert_eq!(one.body, other.body);
        assert_eq!(one.headers, other.headers);
        assert_eq!(one.sequence, other.sequence);
        assert_eq!(one.addressing, other.addressing);
    }
    assert_eq!(again.encode().expect("storable"), (directory, bodies));
}

#[test]
fn pe_001_a_damaged_row_is_an_error_and_never_a_shifted_body() {
    let chunk = split(&[3, 4]).remove(0);
    let (directory, bodies) = chunk.encode().expect("storable");
    let decode = |directory: &str, bodies: &[u8]| {
        Chunk::decode(chunk.id, chunk.endpoint.clone(), directory, bodies.to_vec())
    };
    let refused = |directory: &str, bodies: &[u8]| {
        let error = decode(directory, bodies).expect_err("damaged");
        assert!(error.contains(&chunk.id.to_string()), "{error}");
    };
    assert!(decode(&directory, &bodies).is_ok());
    refused(&directory, &bodies[..6]);
    refused(&directory, &[&bodies[..], b"x"].concat());
    refused(&directory[..directory.len() - 1], &bodies);
    refused("{}", &bodies);
    let huge = directory.replace("\"bytes\":4", "\"bytes\":18446744073709551615");
    assert_ne!(huge, directory);
    refused(&huge, &bodies);
}

#[test]
fn only_a_publish_may_find_no_queue() {
    let mut message = outgoing(1, 0);
    assert!(!message.is_mandatory());
    for addressing in [Addressing::Queue, Addressing::Exchange, Addressing::Answer] {
        message.addressing = addressing;
        assert!(message.is_mandatory());
    }
}

#[test]
fn reasons_to_park_are_read_as_they_are_written() {
    for (text, blocks) in [
        ("retry", true),
        ("missing", false),
        ("deferred", false),
        ("held", true),
        ("suspect", true),
    ] {
        let reason: ParkedReason = text.parse().expect("a reason");
        assert_eq!((reason.to_string().as_str(), reason.blocks()), (text, blocks));
    }
    assert!("asleep".parse::<ParkedReason>().is_err());
}
