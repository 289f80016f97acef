//! Traces in words: where a span stands (W3C trace context), and what is told of one that has ended.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use chrono::{DateTime, Utc};

/// Where a span stands, as the header `traceparent` says it: its trace, itself, and whether the
/// trace is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Shared by all spans of a trace.
    pub trace: NonZeroU128,
    /// The span's own id.
    pub span: NonZeroU64,
    /// Whether spans of this trace are recorded.
    pub sampled: bool,
}

/// No `traceparent` of the W3C (<https://www.w3.org/TR/trace-context/#traceparent-header>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no W3C trace context")]
pub struct NoTraceParent;

impl TraceParent {
    /// The trace's id as 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's id as 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        /// Bytes of version 00; later versions may add something behind a dash.
        const LENGTH: usize = 55;
        let bytes = text.as_bytes();
        let dashed = |at: usize| bytes.get(at) == Some(&b'-');
        let hex = |from: usize, to: usize| {
            let part = text.get(from..to)?;
            let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.bytes().all(lower).then_some(part)
        };
        let parsed = || {
            let whole = match hex(0, 2)? {
                "ff" => return None,
                "00" => bytes.len() == LENGTH,
                _ => bytes.len() == LENGTH || dashed(LENGTH),
            };
            let (trace, span) = (hex(3, 35)?, hex(36, 52)?);
            let flags = u8::from_str_radix(hex(53, 55)?, 16).ok()?;
            let trace = NonZeroU128::new(u128::from_str_radix(trace, 16).ok()?)?;
            let span = NonZeroU64::new(u64::from_str_radix(span, 16).ok()?)?;
            let dashes = dashed(2) && dashed(35) && dashed(52);
            let sampled = flags & 1 == 1;
            (whole && dashes).then_some(TraceParent { trace, span, sampled })
        };
        parsed().ok_or(NoTraceParent)
    }
}

/// A span's part in a conversation between programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Within this process.
    Internal,
    /// A request to somebody who answers.
    Client,
    /// A message sent.
    Producer,
    /// A message taken.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

impl From<&str> for Told {
    fn from(text: &str) -> Self {
        Told::Text(text.to_owned())
    }
}

impl From<String> for Told {
    fn from(text: String) -> Self {
        Told::Text(text)
    }
}

impl From<i64> for Told {
    fn from(number: i64) -> Self {
        Told::Number(number)
    }
}

/// A span that has ended, as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Where it stands.
    pub place: TraceParent,
    /// The span that caused it.
    pub parent: Option<TraceParent>,
    /// The vendors' part of the trace context, handed on unchanged.
    pub state: Option<String>,
    /// From a small set: a verb and a name that a person gave.
    pub name: String,
    /// Its part in a conversation.
    pub kind: SpanKind,
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Attributes; the names are those of OpenTelemetry's semantic conventions, else `knarr.…`.
    pub attributes: Vec<(&'static str, Told)>,
    /// Spans of other traces that belong to it.
    pub links: Vec<TraceParent>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Span {
    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Told>) {
        self.attributes.push((name, value.into()));
    }

    /// Adds an attribute that may be missing.
    pub fn set_some(&mut self, name: &'static str, value: Option<impl Into<Told>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&Told> {
        self.attributes.iter().find(|(of, _)| *of == name).map(|(_, told)| told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn mt_369_a_trace_context_is_read_and_written_as_the_w3c_says() {
        let parent: TraceParent = SEEN.parse().expect("valid");
        assert_eq!(parent.to_string(), SEEN);
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id(), "b7ad6b7169203331");
        assert!(parent.sampled);
        let dropped: TraceParent = SEEN.replace("-01", "-00").parse().expect("valid");
        assert!(!dropped.sampled);
        let later = format!("{}-more", SEEN.replacen("00", "cc", 1));
        let later: TraceParent = later.parse().expect("a later version is read as far as known");
        assert_eq!(later, parent);
        let flags: TraceParent = SEEN.replace("-01", "-03").parse().expect("flags of later drafts");
        assert!(flags.sampled);
    }

    #[test]
    fn what_is_no_trace_context_is_refused() {
        let long = format!("{SEEN}-more");
        let wrong = [
            "",
            "00-1-2-01",
            &long,
            &SEEN.to_uppercase(),
            &SEEN.replacen("00", "ff", 1),
            &SEEN.replace('-', "_"),
            &SEEN.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &SEEN.replace("b7ad6b7169203331", &"0".repeat(16)),
            &SEEN.replace("0af7", "+af7"),
            &SEEN.replace("0af7", "ä×"),
            // Ids of .NET's older form.
            "|7e4d2a1c-4f5b1b2c3d4e5f60.1.",
        ];
        for text in wrong {
            assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent), "{text}");
        }
    }
}
