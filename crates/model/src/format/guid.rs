//! GUIDs in every text form that .NET reads, and the time inside a NewId.

use chrono::{DateTime, Utc};
use uuid::{Uuid, Variant};

/// Reads a GUID as .NET's `Guid.TryParse` does: the forms N, D, B, P and X in any case, blanks
/// around it.
#[must_use]
pub fn parse(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let bare = text
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .filter(|inner| inner.len() == 36)
        .unwrap_or(text);
    Uuid::try_parse(bare).ok().or_else(|| hexadecimal(text))
}

/// As [`parse`]; the zero GUID counts as no id, since senders leave it where they set none.
pub(super) fn parse_known(text: &str) -> Option<Uuid> {
    parse(text).filter(|id| !id.is_nil())
}

/// The form X: `{0x00000000,0x0000,0x0000,{0x00,0x00,0x00,0x00,0x00,0x00,0x00,0x00}}`.
fn hexadecimal(text: &str) -> Option<Uuid> {
    fn number(part: &str, digits: usize) -> Option<u32> {
        let part = part.trim();
        let hex = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"))?;
        let fits = !hex.is_empty() && hex.len() <= digits;
        let plain = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fits && plain { u32::from_str_radix(hex, 16).ok() } else { None }
    }
    let inner = text.strip_prefix('{')?.strip_suffix('}')?.trim_end().strip_suffix('}')?;
    let (head, tail) = inner.split_once('{')?;
    let mut head = head.trim_end().strip_suffix(',')?.split(',');
    let a = number(head.next()?, 8)?;
    let b = u16::try_from(number(head.next()?, 4)?).ok()?;
    let c = u16::try_from(number(head.next()?, 4)?).ok()?;
    let mut bytes = [0u8; 8];
    let mut tail = tail.split(',');
    for byte in &mut bytes {
        *byte = u8::try_from(number(tail.next()?, 2)?).ok()?;
    }
    let complete = head.next().is_none() && tail.next().is_none();
    complete.then(|| Uuid::from_fields(a, b, c, &bytes))
}

/// Ticks (100 ns since the year 1) at the start of 1970.
const TICKS_1970: i64 = 621_355_968_000_000_000;
/// NewIds with a time outside of these seconds since 1970 (2010 to 2100) are taken for chance.
const PLAUSIBLE: std::ops::Range<i64> = 1_262_304_000..4_102_444_800;

/// The time at which a NewId was made; `None` for any other id.
///
/// MassTransit has no sent time on raw JSON and reads it from the message id instead
/// (masstransit-wire §11). A NewId keeps its ticks in its last six bytes and the two before.
pub(super) fn new_id_time(id: Uuid) -> Option<DateTime<Utc>> {
    let standard = id.get_variant() == Variant::RFC4122;
    if standard && matches!(id.get_version_num(), 1..=8) {
        return None;
    }
    let b = id.as_bytes();
    let ticks = i64::from_be_bytes([b[10], b[11], b[12], b[13], b[14], b[15], b[8], b[9]]);
    let since_1970 = ticks.checked_sub(TICKS_1970)?;
    let seconds = since_1970.div_euclid(10_000_000);
    let nanos = u32::try_from(since_1970.rem_euclid(10_000_000)).ok()? * 100;
    PLAUSIBLE.contains(&seconds).then(|| DateTime::from_timestamp(seconds, nanos)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dotnet_form_gives_the_same_id() {
        let id = Uuid::from_u128(0x0d1f0f8e_9a61_4c1f_8a35_2f3a1f0c7d11);
        for text in [
            "0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11",
            "0D1F0F8E-9A61-4C1F-8A35-2F3A1F0C7D11",
            "0d1f0f8e9a614c1f8a352f3a1f0c7d11",
            "{0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11}",
            "(0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11)",
            "  0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d11\t",
            "{0xd1f0f8e,0x9a61,0x4c1f,{0x8a,0x35,0x2f,0x3a,0x1f,0xc,0x7d,0x11}}",
            "{0x0d1f0f8e, 0x9a61, 0x4C1F, {0x8a, 0x35, 0x2f, 0x3a, 0x1f, 0x0c, 0x7d, 0x11} }",
        ] {
            assert_eq!(parse(text), Some(id), "{text}");
        }
    }

    #[test]
    fn what_dotnet_refuses_is_refused() {
        for text in [
            "",
            "order-1",
            "0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d1",
            "0d1f0f8e-9a61-4c1f-8a35-2f3a1f0c7d1g",
            "(0d1f0f8e9a614c1f8a352f3a1f0c7d11)",
            "{0xd1f0f8e,0x9a61,0x4c1f,{0x8a,0x35,0x2f,0x3a,0x1f,0xc,0x7d}}",
            "{0xd1f0f8e,0x9a61,0x4c1f,{0x8a,0x35,0x2f,0x3a,0x1f,0xc,0x7d,0x11,0x12}}",
            "{0x+1f0f8e,0x9a61,0x4c1f,{0x8a,0x35,0x2f,0x3a,0x1f,0xc,0x7d,0x11}}",
            "{0xd1f0f8e00,0x9a61,0x4c1f,{0x8a,0x35,0x2f,0x3a,0x1f,0xc,0x7d,0x11}}",
            "{{}}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_new_id_holds_the_time_it_was_made_at() {
        let id = parse("00130000-0698-be52-931e-08df485747fe").expect("a guid");
        let at = new_id_time(id).expect("a time");
        assert_eq!(super::super::timestamp::text(at), "2026-11-22T05:13:01.7120542Z");
        let random = parse("0d1f0f8e-9a61-4c1f-8a35-08df485747fe").expect("a guid");
        assert_eq!(new_id_time(random), None, "version 4 holds no time, whatever its bytes");
        assert_eq!(new_id_time(Uuid::max()), None);
        assert_eq!(new_id_time(Uuid::nil()), None);
    }
}
