//! Values that cases share: hard text, every header type, and what a commit answered.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use knarr_model::commit::{CommitOutcome, Key};
use knarr_model::headers::{HeaderValue, Headers};
use knarr_model::ids::InstanceId;
use knarr_model::work::Chunk;
use serde_json::value::RawValue;

/// JSON text as it stands.
pub fn raw(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).expect("the text is JSON").into()
}

/// A key of the machine.
pub fn key(name: &str, value: &str) -> Key {
    Key { name: name.to_owned(), value: value.to_owned() }
}

/// Expects a commit of which nothing was lost, and returns its chunks.
pub fn kept(outcome: CommitOutcome) -> Vec<Chunk> {
    match outcome {
        CommitOutcome::Committed { lost, chunks } => {
            assert!(lost.is_empty(), "slices were lost: {lost:?}");
            chunks
        }
        other => panic!("not committed: {other:?}"),
    }
}

/// Expects a commit, and returns which slices were lost.
pub fn lost(outcome: CommitOutcome) -> Vec<InstanceId> {
    match outcome {
        CommitOutcome::Committed { lost, .. } => lost,
        other => panic!("not committed: {other:?}"),
    }
}

/// Text that stores have been seen to spoil: several scripts, quotes, a combining accent.
pub const HARD_NAME: &str = " 'q\"\\ % _ e\u{301} שלום 日本 🐟 \u{feff}\u{202e}end \r\n\t";
/// The like with a NUL: whatever comes from messages and errors may hold one.
pub const HARD_TEXT: &str = "blank \u{0} 'q\"\\ % _ e\u{301} שלום 日本 🐟 \u{feff}\u{202e}end";

/// Gives other threads a moment of real time, whatever the store's clock says.
#[expect(clippy::disallowed_methods, reason = "threads are waited for, not the store's time")]
pub async fn real_pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Runs two futures at the same time, on threads of their own where there are some.
pub async fn at_once<T: Send + 'static>(
    one: impl Future<Output = T> + Send + 'static,
    two: impl Future<Output = T> + Send + 'static,
) -> (T, T) {
    let (one, two) = (tokio::spawn(one), tokio::spawn(two));
    (one.await.expect("the first did not panic"), two.await.expect("the second did not panic"))
}

/// One header of each AMQP type.
pub fn every_header() -> Headers {
    let table = BTreeMap::from([
        ("inner".to_owned(), HeaderValue::I16(-7)),
        ("empty".to_owned(), HeaderValue::Table(BTreeMap::new())),
    ]);
    let values = [
        ("text", HeaderValue::Text(HARD_TEXT.to_owned())),
        ("bool", HeaderValue::Bool(true)),
        ("i8", HeaderValue::I8(i8::MIN)),
        ("u8", HeaderValue::U8(u8::MAX)),
        ("i16", HeaderValue::I16(i16::MIN)),
        ("i32", HeaderValue::I32(i32::MIN)),
        ("i64", HeaderValue::I64(i64::MIN)),
        ("f32", HeaderValue::F32(1.5)),
        ("f64", HeaderValue::F64(-2.25e300)),
        ("decimal", HeaderValue::Decimal { scale: 3, unscaled: -12_500 }),
        ("timestamp", HeaderValue::Timestamp(1_767_225_600)),
        ("bytes", HeaderValue::Bytes(vec![0, 255, 128])),
        ("list", HeaderValue::List(vec![HeaderValue::Null, HeaderValue::U8(1)])),
        ("table", HeaderValue::Table(table)),
        ("null", HeaderValue::Null),
        ("Größe", HeaderValue::Text(String::new())),
    ];
    Headers(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
