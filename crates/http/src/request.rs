//! A request while it is written.

use knarr_model::Failure;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::auth::Auth;
use crate::client::Client;
use crate::draft::Draft;
use crate::response::Response;

/// A request; what is wrong with it comes out when it is sent.
#[must_use = "nothing happens until .send()"]
pub struct Request<'c> {
    client: &'c Client,
    draft: Draft,
    wrong: Option<Failure>,
}

impl Client {
    /// Asks for something. Repeatable.
    pub fn get(&self, url: impl AsRef<str>) -> Request<'_> {
        Request::new(self, Method::GET, url.as_ref())
    }

    /// Sends a form. Not taken as repeatable unless [`Request::repeatable`] says so.
    pub fn post_form(&self, url: impl AsRef<str>, fields: &[(&str, &str)]) -> Request<'_> {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        Request::new(self, Method::POST, url.as_ref())
            .body("application/x-www-form-urlencoded", body.into_bytes())
    }

    /// Sends JSON. Not taken as repeatable unless [`Request::repeatable`] says so.
    pub fn post_json<T: Serialize + ?Sized>(&self, url: impl AsRef<str>, value: &T) -> Request<'_> {
        let request = Request::new(self, Method::POST, url.as_ref());
        match serde_json::to_vec(value) {
            Ok(body) => request.body("application/json", body),
            Err(error) => request.wrong(format!("the body cannot be written as JSON: {error}")),
        }
    }
}

impl<'c> Request<'c> {
    fn new(client: &'c Client, method: Method, url: &str) -> Self {
        let (url, wrong) = match Url::parse(url) {
            Ok(url) => (url, None),
            // The text is not shown: it may hold a key.
            Err(error) => (nowhere(), Some(bad(format!("the address is no URL: {error}")))),
        };
        let repeatable = method == Method::GET;
        let (headers, body, secrets) = (HeaderMap::new(), Vec::new(), Vec::new());
        let draft = Draft { method, url, headers, body, repeatable, secrets };
        Request { client, draft, wrong }
    }

    fn wrong(mut self, reason: String) -> Self {
        self.wrong.get_or_insert(bad(reason));
        self
    }

    fn body(mut self, media: &'static str, body: Vec<u8>) -> Self {
        self.draft.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        self.draft.body = body;
        self
    }

    /// Sets a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => {
                self.draft.headers.insert(name, value);
                self
            }
            _ => self.wrong(format!("header `{name}` cannot be sent")),
        }
    }

    /// Adds a query parameter, written as it must be.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.draft.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Says who asks. The secret is in no log and no error.
    pub fn auth(mut self, auth: &Auth) -> Self {
        self.draft.secrets.push(auth.secret().clone());
        match auth {
            Auth::Query { name, key } => self.query(name, key.expose()),
            Auth::Header { name, key } => self.sensitive(name, key.expose()),
            Auth::Bearer(token) => {
                self.sensitive("authorization", &format!("Bearer {}", token.expose()))
            }
        }
    }

    fn sensitive(self, name: &str, value: &str) -> Self {
        let mut request = self.header(name, value);
        if let Some(value) = request.draft.headers.get_mut(name) {
            value.set_sensitive(true);
        }
        request
    }

    /// Says that sending it twice does no harm, so that a lost answer counts as transient and not
    /// as unknown.
    pub fn repeatable(mut self) -> Self {
        self.draft.repeatable = true;
        self
    }

    /// Sends it and waits for the whole answer, whatever its status. Dropping the future closes
    /// the connection.
    ///
    /// # Errors
    /// - permanent: `forbidden-address`, `tls`, `too-large`, `bad-request`
    /// - transient: `dns`, `connect`, and where repeating does no harm `timeout` and `broken`
    /// - unknown: `timeout` and `broken` where the request may have been carried out and must not
    ///   be repeated
    pub async fn send(self) -> Result<Response, Failure> {
        match self.wrong {
            Some(failure) => Err(failure),
            None => self.client.exchange(self.draft).await,
        }
    }
}

fn bad(reason: String) -> Failure {
    Failure::permanent("bad-request", reason)
}

/// Stands in for an address that cannot be read; nothing is ever sent there.
fn nowhere() -> Url {
    Url::parse("http://invalid.invalid/").expect("it is a URL")
}
