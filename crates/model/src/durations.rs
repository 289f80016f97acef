//! Durations as people write them in settings: `200ms`, `20s`, `30m`, `12h`, `7d`.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The units, longest name first where one begins with another.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The last instant that everything can write and read again: JSON, SQL, people.
pub const LAST_INSTANT: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(instant) => instant,
    None => DateTime::UNIX_EPOCH,
};

/// The instant `delay` after `at`, but never after [`LAST_INSTANT`].
///
/// ```
/// use std::time::Duration;
/// use knarr_model::durations::{LAST_INSTANT, later};
/// assert_eq!(later(LAST_INSTANT, Duration::MAX).to_rfc3339(), "9999-12-31T23:59:59+00:00");
/// ```
pub fn later(at: DateTime<Utc>, delay: Duration) -> DateTime<Utc> {
    checked_later(at, delay).unwrap_or(LAST_INSTANT)
}

/// The instant `delay` after `at`, if there is one not after [`LAST_INSTANT`].
pub fn checked_later(at: DateTime<Utc>, delay: Duration) -> Option<DateTime<Utc>> {
    let later = TimeDelta::from_std(delay).ok().and_then(|delay| at.checked_add_signed(delay));
    later.filter(|later| *later <= LAST_INSTANT)
}

/// Reads a duration: a whole number and one of the units `ms`, `s`, `m`, `h`, `d`.
///
/// ```
/// use std::time::Duration;
/// use knarr_model::durations::parse_duration;
/// assert_eq!(parse_duration("20s"), Ok(Duration::from_secs(20)));
/// assert!(parse_duration("20").unwrap_err().contains("no unit"));
/// ```
///
/// # Errors
/// What is wrong with it, for people; a bare number is refused, for nobody knows what it counts.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let example = "write for example `200ms`, `20s`, `30m`, `12h` or `7d`";
    if number.is_empty() {
        return Err(format!("`{text}` is no duration: {example}"));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit: {example}"));
    }
    let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{unit}` is no unit of time: {example}"));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*millis))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_everything_else_is_refused() {
        let read = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(read("200ms"), Ok(200));
        assert_eq!(read(" 20s "), Ok(20_000));
        assert_eq!(read("30m"), Ok(1_800_000));
        assert_eq!(read("12h"), Ok(43_200_000));
        assert_eq!(read("7d"), Ok(604_800_000));
        assert_eq!(read("0s"), Ok(0));
        for (text, why) in [
            ("20", "no unit"),
            ("", "no duration"),
            ("-1s", "no duration"),
            ("1.5s", "no unit of time"),
            ("1 s", "no unit of time"),
            ("5min", "no unit of time"),
            ("18446744073709551615d", "too long"),
            ("99999999999999999999s", "too long"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
