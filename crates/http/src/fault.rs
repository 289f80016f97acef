//! Classes what went wrong on the way: nothing later has to guess.

use std::error::Error;
use std::io;
use std::time::Duration;

use chrono::DateTime;
use knarr_model::Failure;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::resolve::Unresolved;
use crate::ssrf::Refused;

/// A failure after which the request may have been carried out: tried again only if that is
/// harmless, else its outcome is not known.
pub(crate) fn lost(repeatable: bool, class: &str, reason: impl std::fmt::Display) -> Failure {
    if repeatable {
        Failure::transient(class, reason)
    } else {
        Failure::unknown(class, format!("{reason}; the request may have been carried out"))
    }
}

/// What a broken exchange means.
pub(crate) fn of_transport(error: &reqwest::Error, repeatable: bool) -> Failure {
    let causes = causes(error);
    if let Some(refused) = causes.iter().find_map(|at| at.downcast_ref::<Refused>()) {
        return Failure::permanent("forbidden-address", refused);
    }
    if let Some(unresolved) = causes.iter().find_map(|at| at.downcast_ref::<Unresolved>()) {
        return Failure::transient("dns", unresolved);
    }
    if let Some(why) = causes.iter().find_map(|at| bad_certificate(*at)) {
        return Failure::permanent("tls", format!("the server's certificate is refused: {why}"));
    }
    if error.is_builder() {
        return Failure::permanent("bad-request", innermost(error));
    }
    let connecting = error.is_connect();
    match (connecting, error.is_timeout()) {
        (true, true) => Failure::transient("connect", "no connection in time"),
        (true, false) => Failure::transient("connect", innermost(error)),
        (false, true) => lost(repeatable, "timeout", "the server said nothing for too long"),
        (false, false) => lost(repeatable, "broken", innermost(error)),
    }
}

/// The error and its causes, outermost first.
fn causes(error: &reqwest::Error) -> Vec<&(dyn Error + 'static)> {
    let mut at: &(dyn Error + 'static) = error;
    let mut causes = vec![at];
    while let Some(cause) = at.source() {
        causes.push(cause);
        at = cause;
    }
    causes
}

/// The innermost cause in words: the outer ones name the address, whose query may hold a key.
fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// What is wrong with the server's certificate, if that is the error; it may be wrapped as I/O.
fn bad_certificate(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(rustls::Error::InvalidCertificate(why)) = error.downcast_ref() {
        return Some(why.to_string());
    }
    bad_certificate(error.downcast_ref::<io::Error>()?.get_ref()?)
}

/// How long the server asks to wait: seconds, or a date, which is measured against the server's
/// own `Date` so that clocks need not agree. Nonsense counts as nothing said.
pub(crate) fn retry_after(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        // More digits than fit are longer than any bound.
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let then = DateTime::parse_from_rfc2822(text).ok()?;
        let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
        (then - now).to_std().unwrap_or_default()
    };
    Some(wait.min(longest))
}

/// What a status other than success means. `code` is the service's own word for it.
pub(crate) fn of_status(
    status: u16,
    code: Option<&str>,
    reason: &str,
    after: Option<Duration>,
    repeatable: bool,
) -> Failure {
    let class = code.map_or_else(|| format!("http-{status}"), str::to_owned);
    let failure = match status {
        // Not taken on, all of them: repeating does no harm.
        408 | 425 | 429 | 503 => Failure::transient(class, reason),
        500..=599 => lost(repeatable, &class, reason),
        300..=399 => Failure::permanent(class, format!("{reason}; redirects are not followed")),
        _ => Failure::permanent(class, reason),
    };
    match after {
        Some(after) if matches!(status, 429 | 503) => failure.after(after),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use knarr_model::FailureKind::{Permanent, Transient, Unknown};

    use super::*;

    fn headers(retry_after: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after.parse().expect("a header"));
        if let Some(date) = date {
            headers.insert(DATE, date.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn row_100_retry_after_is_read_as_seconds_or_date_and_capped() {
        let longest = Duration::from_secs(3600);
        let read = |text, date| retry_after(&headers(text, date), longest).map(|d| d.as_secs());
        assert_eq!(read("7", None), Some(7));
        assert_eq!(read("0", None), Some(0));
        assert_eq!(read("99999", None), Some(3600));
        assert_eq!(read("99999999999999999999999", None), Some(3600));
        let now = Some("Wed, 01 Jul 2026 12:00:00 GMT");
        assert_eq!(read("Wed, 01 Jul 2026 12:01:30 GMT", now), Some(90));
        assert_eq!(read("Wed, 01 Jul 2026 11:00:00 GMT", now), Some(0));
        assert_eq!(read("Wed, 01 Jul 2099 12:00:00 GMT", now), Some(3600));
        for (text, date) in [
            ("-5", None),
            ("soon", None),
            ("", None),
            ("1.5", None),
            ("Wed, 01 Jul 2026 12:01:30 GMT", None),
            ("Wed, 01 Jul 2026 12:01:30 GMT", Some("yesterday")),
        ] {
            assert_eq!(read(text, date), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), longest), None);
    }

    #[test]
    fn statuses_are_classed_and_an_unrepeatable_request_is_never_called_transient_blindly() {
        let of = |status, repeatable| of_status(status, None, "x", None, repeatable).kind;
        for status in [408, 425, 429, 503] {
            assert_eq!(of(status, false), Transient, "{status}");
        }
        for status in [500, 502, 504] {
            assert_eq!((of(status, true), of(status, false)), (Transient, Unknown), "{status}");
        }
        for status in [301, 302, 400, 401, 403, 404, 409, 410, 422] {
            assert_eq!(of(status, true), Permanent, "{status}");
        }
        let wait = Some(Duration::from_secs(3));
        assert_eq!(of_status(429, Some("Quota"), "x", wait, true).after, wait);
        assert_eq!(of_status(400, Some("Quota"), "x", wait, true).after, None);
        assert_eq!(of_status(400, Some("Quota"), "x", wait, true).class, "Quota");
        assert_eq!(of_status(404, None, "x", None, true).class, "http-404");
    }
}
