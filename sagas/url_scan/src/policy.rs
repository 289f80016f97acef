//! Which URLs are scanned at all: what is asked of these services becomes known to others.

use url::Url;

/// Why policy refuses a URL; `None` when it may be scanned.
///
/// Whatever is submitted to VirusTotal becomes part of a public data set, so a URL that holds
/// credentials is never passed on.
pub fn refusal(url: &str) -> Option<&'static str> {
    let Ok(read) = Url::parse(url) else { return Some("it is no URL") };
    if !matches!(read.scheme(), "http" | "https") {
        return Some("its scheme is neither http nor https");
    }
    if !read.username().is_empty() || read.password().is_some() {
        return Some("it holds credentials, which would become public");
    }
    if read.host_str().is_none_or(str::is_empty) {
        return Some("it names no host");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_without_credentials_are_scanned() {
        for url in ["http://a.test", "HTTPS://A.test:8443/x?y#z", "http://[2001:db8::1]/"] {
            assert_eq!(refusal(url), None, "{url}");
        }
        for (url, why) in [
            ("", "no URL"),
            ("a.test/x", "no URL"),
            ("http://", "no URL"),
            ("ftp://a.test/x", "scheme"),
            ("javascript:alert(1)", "scheme"),
            ("mailto:ann@a.test", "scheme"),
            ("https://ann:secret@a.test/", "credentials"),
            ("https://ann@a.test/", "credentials"),
            ("https://:secret@a.test/", "credentials"),
        ] {
            assert!(refusal(url).is_some_and(|said| said.contains(why)), "{url}");
        }
    }
}
