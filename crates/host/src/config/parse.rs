//! Texts of settings as values; each error says what is expected.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// `host:port`, the host an IP address or `localhost`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let plain = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    plain.parse().map_err(|_| {
        format!("`{text}` is no address and port; write for example 127.0.0.1:7300 or 0.0.0.0:7300")
    })
}

/// A whole number within bounds.
pub(crate) fn number<T>(text: &str, within: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    text.parse().ok().filter(|number| within.contains(number)).ok_or_else(|| {
        format!("`{text}` is no whole number from {} to {}", within.start(), within.end())
    })
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("`{text}` is none of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_numbers_and_words_are_read_or_refused_with_what_is_expected() {
        assert_eq!(address("localhost:1").expect("an address").to_string(), "127.0.0.1:1");
        assert!(address("[::1]:7300").expect("an address").ip().is_loopback());
        for bad in ["7300", ":7300", "127.0.0.1", "example.org:80", "1.2.3.4:99999"] {
            assert!(address(bad).expect_err(bad).contains("127.0.0.1:7300"));
        }
        assert_eq!(number("5", 1..=9), Ok(5u8));
        assert!(number("0", 1..=9u8).expect_err("too small").contains("from 1 to 9"));
        assert!(number::<u8>("x", 1..=9).is_err());
        assert_eq!(one_of("b", &[("a", 1), ("b", 2)]), Ok(2));
        assert_eq!(one_of("c", &[("a", 1), ("b", 2)]), Err("`c` is none of `a`, `b`".to_owned()));
    }
}
