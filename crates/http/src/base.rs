//! Where a service lives: scheme and authority, nothing else, so that paths are the client's own.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// A service's address without a path: `https://www.virustotal.com`, `http://127.0.0.1:7301`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// Why a text is no base address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no base address: {why}; write scheme and authority, such as \
         `https://api.example.com`"
)]
pub struct BadBase {
    /// What was given, without credentials.
    text: String,
    /// What is wrong with it.
    why: &'static str,
}

impl BaseUrl {
    /// The address of `path` (and query, if any) below it.
    pub fn join(&self, path: &str) -> String {
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{self}{slash}{path}")
    }

    /// The host.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for BaseUrl {
    type Err = BadBase;

    fn from_str(text: &str) -> Result<Self, BadBase> {
        let text = text.trim();
        let bad = |why| Err(BadBase { text: text.to_owned(), why });
        let Ok(url) = Url::parse(text) else { return bad("it is no URL") };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadBase { text: "…@…".to_owned(), why: "it holds credentials" });
        }
        if !matches!(url.scheme(), "http" | "https") {
            return bad("its scheme is neither http nor https");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return bad("it has no host");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return bad("it has a path, a query or a fragment");
        }
        Ok(BaseUrl(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_authority_are_taken_and_everything_more_is_refused() {
        let base: BaseUrl = " https://API.example.com:8443/ ".parse().expect("a base");
        assert_eq!(base.to_string(), "https://api.example.com:8443");
        assert_eq!(base.join("/v5/x?a=b"), "https://api.example.com:8443/v5/x?a=b");
        assert_eq!(base.join("v5"), "https://api.example.com:8443/v5");
        assert_eq!(base.host(), "api.example.com");
        for (text, why) in [
            ("https://a.example/api/v3", "it has a path"),
            ("https://a.example?x=1", "it has a path, a query"),
            ("https://user:pass@a.example", "credentials"),
            ("ftp://a.example", "neither http nor https"),
            ("a.example", "no URL"),
            ("localhost:7301", "neither http nor https"),
        ] {
            let error = text.parse::<BaseUrl>().expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("pass"), "{error}");
        }
    }
}
