//! The client of the admin API that all operating verbs share: they need no database.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use knarr_admin::Token;
use knarr_http::BaseUrl;
pub(super) use reqwest::Method;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use super::flags::Flags;
use crate::app::App;
use crate::config::Values;
use crate::error::Error;
use crate::{out, token_file};

/// Flags of every operating verb.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Reach {
    /// The server to talk to [KNARR_SERVER]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The token to show it [KNARR_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// One JSON object a line, and nothing else
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Reach {
    /// The flags as settings.
    pub(crate) fn settings(&self) -> std::collections::BTreeMap<String, String> {
        let mut settings = self.flags.settings();
        let named = [("KNARR_SERVER", &self.server), ("KNARR_TOKEN", &self.token)];
        for (name, value) in named {
            if let Some(value) = value {
                settings.insert(name.to_owned(), value.clone());
            }
        }
        settings
    }

    /// Begins to log.
    pub(crate) fn begin_log(&self, app: &App) -> Result<(), Error> {
        self.flags.begin_log(app, false)
    }

    /// The server that these flags and the settings name.
    pub(crate) fn open(&self, app: &App) -> Result<Api, Error> {
        self.begin_log(app)?;
        Api::open(&app.values(&self.settings())?)
    }
}

/// A server of ours.
pub(crate) struct Api {
    base: BaseUrl,
    token: Token,
    client: reqwest::Client,
}

impl Api {
    pub(crate) fn open(values: &Values) -> Result<Api, Error> {
        const NAME: &str = "KNARR_SERVER";
        let text = match values.text(NAME) {
            Some(text) => text.to_owned(),
            None => reached_at(values.required("KNARR_LISTEN")?),
        };
        let base: BaseUrl = text.parse().map_err(|error| Error::wrong(NAME, error))?;
        let token = token(values, &base)?;
        Ok(Api { base, token, client: client()? })
    }

    /// GET of one object.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Error> {
        self.ask(self.request(Method::GET, path).query(query)).await
    }

    /// POST of one object.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(self.request(Method::POST, path).json(body)).await
    }

    /// An order, under a key if one is given.
    pub(crate) async fn order(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        key: Option<&str>,
        body: &Value,
    ) -> Result<Value, Error> {
        let mut request = self.request(method, path).query(query).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.ask(request).await
    }

    /// Every row of a list, page by page, or the first `limit` of them.
    pub(crate) async fn rows(
        &self,
        path: &str,
        query: &[(&str, String)],
        limit: Option<usize>,
        mut each: impl FnMut(Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        /// Rows asked for at once: the longest page that every server gives.
        const PAGE: usize = 500;
        let mut left = limit.unwrap_or(usize::MAX);
        let mut cursor: Option<String> = None;
        while left > 0 {
            let mut query = query.to_vec();
            query.push(("limit", left.min(PAGE).to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                return Err(Error::Server(format!("{}{path} answered no list", self.base)));
            };
            left = left.saturating_sub(items.len());
            for item in items {
                each(item)?;
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// A list as JSON lines or as a table, as the flags say.
    pub(crate) async fn print(
        &self,
        list: List<'_>,
        json: bool,
        cells: impl Fn(&Value) -> Vec<String>,
    ) -> Result<(), Error> {
        let List { path, query, limit, head } = list;
        if json {
            return self.rows(path, query, limit, |row| out::json(&row)).await;
        }
        let mut rows = Vec::new();
        self.rows(path, query, limit, |row| {
            rows.push(cells(&row));
            Ok(())
        })
        .await?;
        match rows.is_empty() {
            true => {
                out::say("(none)");
                Ok(())
            }
            false => out::table(head, rows),
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.base.join(path)).bearer_auth(self.token.reveal())
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, Error> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        match (status.is_success(), value) {
            (true, Some(value)) => Ok(value),
            (_, value) => Err(self.refused(status, value.as_ref())),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut why = error.to_string();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(inner) = cause {
            why = inner.to_string();
            cause = inner.source();
        }
        Error::Server(format!(
            "cannot reach {}: {why}. Is the server running? --server names another one",
            self.base
        ))
    }

    fn refused(&self, status: StatusCode, problem: Option<&Value>) -> Error {
        let told = |name: &str| problem?.get(name)?.as_str();
        match (told("title"), told("detail")) {
            (Some(title), Some(detail)) => Error::Server(format!("{title}: {detail}")),
            _ => Error::Server(format!(
                "{} answered {status}, which is no answer of ours",
                self.base
            )),
        }
    }
}

/// A list to print.
pub(crate) struct List<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(&'a str, String)],
    pub(crate) limit: Option<usize>,
    pub(crate) head: &'a [&'a str],
}

#[expect(clippy::disallowed_methods, reason = "the operator's client speaks to our own API only")]
fn client() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(60))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| Error::Server(error.to_string()))
}

/// The token that is set; for a server on this machine also the one in the data directory.
fn token(values: &Values, base: &BaseUrl) -> Result<Token, Error> {
    for name in ["KNARR_TOKEN", "KNARR_ADMIN_TOKEN"] {
        if let Some(text) = values.text(name) {
            return Token::new(text).map_err(|why| Error::wrong(name, why));
        }
    }
    let data_dir = PathBuf::from(values.required("KNARR_DATA_DIR")?);
    if is_here(base.host())
        && let Some(token) = token_file::read(&data_dir)?
    {
        return Ok(token);
    }
    Err(Error::wrong(
        "KNARR_TOKEN",
        format!("is not set, and {} holds none for {base}", token_file::path(&data_dir).display()),
    ))
}

/// Where a server that listens on `address` is reached from this machine.
fn reached_at(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(all) if all.ip().is_unspecified() => format!("http://127.0.0.1:{}", all.port()),
        _ => format!("http://{address}"),
    }
}

/// Whether a host is this machine: a token of ours goes to no other unasked.
fn is_here(host: &str) -> bool {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || plain.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

/// A member as a cell: text plainly, nothing as a dash.
pub(crate) fn cell(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A time to the second, as a cell.
pub(crate) fn time(row: &Value, name: &str) -> String {
    let text = cell(row, name);
    match chrono::DateTime::parse_from_rfc3339(&text) {
        Ok(at) => at.format("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_gets_the_token_of_the_data_directory() {
        for here in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_here(here), "{here}");
        }
        for there in ["10.0.0.1", "localhost.example.org", "example.org", "0.0.0.0"] {
            assert!(!is_here(there), "{there}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_over_loopback() {
        assert_eq!(reached_at("0.0.0.0:7300"), "http://127.0.0.1:7300");
        assert_eq!(reached_at("[::]:1"), "http://127.0.0.1:1");
        assert_eq!(reached_at("10.0.0.1:7300"), "http://10.0.0.1:7300");
        assert_eq!(reached_at("localhost:7300"), "http://localhost:7300");
    }

    #[test]
    fn a_segment_stays_one_segment() {
        assert_eq!(segment("url-scan"), "url-scan");
        assert_eq!(segment("a/b?c d"), "a%2Fb%3Fc%20d");
    }
}
