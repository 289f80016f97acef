//! Where a signal is sent: the collector's address and headers, and one request to it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};

/// As much of an answer as is read: it says little.
const MAX_ANSWER: usize = 64 * 1024;

/// One signal's address, and what goes with every request to it.
#[derive(Clone)]
pub(crate) struct Target {
    url: Url,
    /// They may hold a key.
    headers: HeaderMap,
    client: Client,
}

/// Why the collector did not take something.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) why: String,
    /// Whether it may take the same later.
    pub(super) passes: bool,
}

impl Target {
    /// # Errors
    /// What is wrong with the address, without repeating it: it may hold a password.
    pub(crate) fn new(
        url: &str,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> Result<Target, String> {
        let url = Url::parse(url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some_and(|it| !it.is_empty())
        });
        let url = url.ok_or("is no address such as http://collector:4318")?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(name.as_str());
            let value = HeaderValue::try_from(value.as_str());
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err("holds a header that cannot be sent".to_owned());
            };
            value.set_sensitive(true);
            map.insert(name, value);
        }
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = client(&url, timeout)?;
        Ok(Target { url, headers: map, client })
    }

    /// Host and port, for people.
    pub(super) fn told(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        format!("{host}:{}", self.url.port_or_known_default().unwrap_or_default())
    }

    /// Sends one request; the body of the answer.
    pub(super) async fn send(&self, body: Bytes) -> Result<Bytes, Trouble> {
        let broken = |error: reqwest::Error| Trouble {
            passes: !error.is_builder(),
            why: innermost(&error.without_url()),
        };
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        let mut answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        if !status.is_success() {
            // As OTLP says; anything else is for good.
            let passes = matches!(status.as_u16(), 429 | 502 | 503 | 504);
            return Err(Trouble { why: format!("the collector answered {status}"), passes });
        }
        let mut read = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if read.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read.into())
    }
}

/// What lies behind an error of the client, which only says that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[expect(clippy::disallowed_methods, reason = "an operator names the collector; no message does")]
fn client(url: &Url, timeout: Duration) -> Result<Client, String> {
    let builder = Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    // A machine without any certificates can still speak plain HTTP.
    let builder = match url.scheme() {
        "http" => builder.tls_certs_only([]),
        _ => builder,
    };
    builder.build().map_err(|error| innermost(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, headers: &[(&str, &str)]) -> Result<Target, String> {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Target::new(url, &headers, Duration::from_secs(1))
    }

    #[test]
    fn an_address_or_header_that_cannot_be_used_is_told_without_repeating_it() {
        assert_eq!(target("http://c:4318/v1/traces", &[]).expect("fine").told(), "c:4318");
        for bad in ["secret:4318", "grpc://secret:4317", "http://", "secret"] {
            let why = target(bad, &[]).map(|_| ()).expect_err(bad);
            assert!(!why.contains("secret") && why.contains("4318"), "{why}");
        }
        let why = target("http://c", &[("a b", "secret")]).map(|_| ()).expect_err("a name");
        assert!(!why.contains("secret"), "{why}");
    }

    #[test]
    fn a_key_among_the_headers_is_not_shown() {
        let target = target("http://c", &[("api-key", "hunter2")]).expect("fine");
        assert!(!format!("{:?}", target.headers).contains("hunter2"));
    }
}
