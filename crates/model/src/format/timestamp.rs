//! Dates as .NET reads and writes them: a zone or none, and at most seven digits of a second.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SubsecRound, Timelike, Utc};

/// Reads an ISO 8601 date; one without a zone is taken for UTC, finer parts than a .NET tick
/// (100 ns) are dropped.
#[must_use]
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let at = DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc())
        })
        .ok()
        .or_else(|| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            Some(day.and_hms_opt(0, 0, 0)?.and_utc())
        })?;
    Some(at.trunc_subsecs(7))
}

/// Writes a date as MassTransit does: UTC with `Z`, up to seven digits of a second.
#[must_use]
pub fn text(at: DateTime<Utc>) -> String {
    let whole = at.format("%Y-%m-%dT%H:%M:%S");
    match (at.nanosecond() % 1_000_000_000) / 100 {
        0 => format!("{whole}Z"),
        ticks => format!("{whole}.{}Z", format!("{ticks:07}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_with_and_without_zone_and_written_as_dotnet_does() {
        for (given, written) in [
            ("2026-11-22T05:13:03.9992644Z", "2026-11-22T05:13:03.9992644Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
            ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.5", "2026-01-02T03:04:05.5Z"),
            ("2026-01-02T03:04:05.123456789Z", "2026-01-02T03:04:05.1234567Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("1969-01-02T03:04:05.25Z", "1969-01-02T03:04:05.25Z"),
        ] {
            assert_eq!(parse(given).map(text).as_deref(), Some(written), "{given}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for given in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-02T25:00:00", "7"] {
            assert_eq!(parse(given), None, "{given}");
        }
    }
}
