//! JSON bodies, read once: members in any case, the last duplicate counting, values left raw.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::guid;
use super::inbound::{bad_message, undecodable};
use crate::digest::Digest;
use crate::fault::cut;
use crate::ports::transport::Undecodable;

/// The longest piece of a body that a reason quotes, in bytes.
const QUOTED: usize = 100;

/// The body as text; a byte order mark is passed over.
pub(super) fn text(body: &[u8]) -> Result<&str, Undecodable> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(undecodable("the body is empty"));
    }
    std::str::from_utf8(body)
        .map_err(|error| undecodable(format!("the body is not UTF-8 text: {error}")))
}

/// Text that borrows from the body where it holds no escapes.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Borrowing)
    }
}

/// The members of a JSON object, in the order they stand.
pub(super) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // A MassTransit envelope has 15 members.
                let mut members = Vec::with_capacity(16);
                while let Some(Text(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Object { members })
            }
        }
        from.deserialize_map(Members)
    }
}

impl<'a> Object<'a> {
    /// Reads an object and leaves its members' values raw.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value of `name` in any case; the last one where it stands twice; `null` counts as
    /// absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.members
            .iter()
            .rev()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
            .filter(|value| value.get() != "null")
    }

    /// Every member.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The value of `name` as text; blank text counts as absent.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Undecodable> {
        let Some(raw) = self.get(name) else { return Ok(None) };
        let Text(text) = serde_json::from_str(raw.get()).map_err(|_| {
            undecodable(format!("`{name}` must be text, this is {}", cut(raw.get(), QUOTED)))
        })?;
        Ok(if text.trim().is_empty() { None } else { Some(text) })
    }

    /// The value of `name` as a GUID; blank text and the zero GUID count as absent.
    pub(super) fn guid(&self, name: &str) -> Result<Option<Uuid>, Undecodable> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match guid::parse(&text) {
            Some(id) => Ok(Some(id).filter(|id| !id.is_nil())),
            None => Err(undecodable(format!("`{name}` is no GUID: {:?}", cut(&text, QUOTED)))),
        }
    }
}

/// A payload: a JSON object that the saga's type is read from later, and its digest.
pub(super) struct Payload {
    pub(super) message: Arc<RawValue>,
    pub(super) digest: Digest,
}

impl Payload {
    /// Takes `raw` for a payload; `what` names it in the reason.
    ///
    /// Every message is an object. A list is refused here, since a type's members could otherwise
    /// be read from it by position. This is also where serde_json's limit on depth applies: values
    /// left raw are not counted by it.
    pub(super) fn of(what: &str, raw: &RawValue) -> Result<Payload, Undecodable> {
        if !raw.get().starts_with('{') {
            return Err(bad_message(format!(
                "{what} must be a JSON object, not {}",
                kind(raw.get())
            )));
        }
        let value: Value = serde_json::from_str(raw.get())
            .map_err(|error| undecodable(format!("{what} cannot be read: {}", told(&error))))?;
        Ok(Payload { message: Arc::from(raw.to_owned()), digest: Digest::of_value(&value) })
    }
}

/// What is wrong with a piece of JSON, for people.
pub(super) fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("recursion limit exceeded") {
        Some(place) => format!("it is nested deeper than 127 levels{place}"),
        None => text,
    }
}

/// What a piece of JSON is, for a reason.
pub(super) fn kind(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "text",
        Some(b't' | b'f') => "a truth value",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The text without comments and without commas before a closing bracket, as .NET reads it;
/// `None` when it holds neither, or a comment that does not end.
pub(super) fn relaxed(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut last, mut changed) = (0, b'[', false);
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        match byte {
            b'"' => at = string_end(bytes, at),
            b'/' => {
                at = comment_end(bytes, at)?;
                out.push(b' ');
                changed = true;
                continue;
            }
            b',' if !matches!(last, b'[' | b'{' | b',') && closes(bytes, at + 1) => {
                at += 1;
                changed = true;
                continue;
            }
            _ => at += 1,
        }
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
        out.extend_from_slice(&bytes[start..at]);
    }
    // Whole comments and single commas were left out, so what remains is still UTF-8.
    changed.then(|| String::from_utf8(out).ok()).flatten()
}

/// The place behind the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// The place behind the comment that begins at `at`.
fn comment_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        return Some(length.map_or(bytes.len(), |length| at + length));
    }
    if rest.starts_with(b"/*") {
        let length = rest[2..].windows(2).position(|pair| pair == b"*/")?;
        return Some(at + length + 4);
    }
    None
}

/// Whether a closing bracket is next, blanks and comments aside.
fn closes(bytes: &[u8], mut at: usize) -> bool {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'}' | b']' => return true,
            b'/' => match comment_end(bytes, at) {
                Some(end) => at = end,
                None => return false,
            },
            _ if byte.is_ascii_whitespace() => at += 1,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_taken_out_and_strings_left_alone() {
        for (given, left) in [
            (r#"{/* c */"a":[1,],}"#, Some(r#"{ "a":[1]}"#)),
            ("{\"a\":1, // x\n }", Some("{\"a\":1  \n }")),
            (r#"{"a":"/* æ */,]","b":[1,/* x */]}"#, Some(r#"{"a":"/* æ */,]","b":[1 ]}"#)),
            (r#"{"a":"\",}"}"#, None),
            ("[,]", None),
            ("[1,,]", None),
            ("{,}", None),
            ("{/* never ends", None),
            ("{\"a\":1/2}", None),
            ("{\"never ends", None),
            ("\"\\", None),
        ] {
            assert_eq!(relaxed(given).as_deref(), left, "{given}");
        }
    }

    #[test]
    fn the_last_of_two_members_counts_in_any_case() {
        let object = Object::parse(r#"{"a":1,"\u0041":2,"b":null,"B":"","c":"x"}"#).expect("json");
        assert_eq!(object.get("a").map(RawValue::get), Some("2"));
        assert!(object.text("b").expect("text").is_none());
        assert!(object.guid("c").is_err());
        assert!(object.text("a").is_err());
    }

    #[test]
    fn a_payload_nested_too_deep_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        let raw: &RawValue = serde_json::from_str(&deep).expect("left raw");
        assert!(Payload::of("the message", raw).is_err());
    }
}
