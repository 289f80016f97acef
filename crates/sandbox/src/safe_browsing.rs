//! Google Safe Browsing: v5 `hashes:search` (only hash prefixes arrive) and v4 `threatMatches:find`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::hosts::{Behaviour, HOSTS, of_url};
use crate::shared::Desk;

type App = State<Arc<Desk<SafeBrowsing>>>;

/// Prefixes to one v5 request at most.
const MAX_PREFIXES: usize = 1_000;
/// URLs to one v4 request at most.
const MAX_URLS: usize = 500;
/// Requests about `boom.test` that fail before one is answered.
const BOOMS: u32 = 2;

#[derive(Default)]
pub(crate) struct SafeBrowsing {
    booms: Mutex<BTreeMap<String, u32>>,
}

/// An expression that is listed, and as what.
struct Listed {
    expression: &'static str,
    behaviour: Behaviour,
}

/// Expressions whose hashes the service knows.
fn listed() -> impl Iterator<Item = Listed> {
    let test_page = Listed {
        expression: "testsafebrowsing.appspot.com/s/malware.html",
        behaviour: Behaviour::Malicious,
    };
    let hosts = [
        ("malicious.test/", Behaviour::Malicious),
        ("boom.test/", Behaviour::Boom),
        ("deadline.test/", Behaviour::Deadline),
        ("html.test/", Behaviour::Html),
        ("refused.test/", Behaviour::Refused),
        ("future.test/", Behaviour::Future),
        ("collide.test/", Behaviour::Collide),
    ];
    debug_assert!(hosts.iter().all(|(e, _)| HOSTS.iter().any(|(h, _)| e.starts_with(h))));
    hosts
        .into_iter()
        .map(|(expression, behaviour)| Listed { expression, behaviour })
        .chain([test_page])
}

impl SafeBrowsing {
    /// What goes wrong when something that behaves so is asked about.
    fn fails(&self, about: &str, behaviour: Behaviour) -> Option<Answer> {
        match behaviour {
            Behaviour::Boom => {
                let mut booms = self.booms.lock();
                let count = booms.entry(about.to_owned()).or_default();
                *count += 1;
                (*count <= BOOMS).then(|| {
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    Answer::google(status, "UNAVAILABLE", "The service is unavailable.", json!([]))
                })
            }
            Behaviour::Deadline => Some(Answer::google(
                StatusCode::GATEWAY_TIMEOUT,
                "DEADLINE_EXCEEDED",
                "Deadline exceeded.",
                json!([]),
            )),
            Behaviour::Html => Some(Answer::page()),
            Behaviour::Refused => Some(Answer::google(
                StatusCode::FORBIDDEN,
                "PERMISSION_DENIED",
                "Requests to this API are blocked.",
                json!([reason("API_KEY_SERVICE_BLOCKED")]),
            )),
            _ => None,
        }
    }

    fn search(&self, prefixes: &[Vec<u8>], cache: &str) -> Answer {
        let mut hashes = Vec::new();
        for listed in listed() {
            let hash: [u8; 32] = Sha256::digest(listed.expression.as_bytes()).into();
            if !prefixes.iter().any(|prefix| hash.starts_with(prefix)) {
                continue;
            }
            if let Some(answer) = self.fails(listed.expression, listed.behaviour) {
                return answer;
            }
            let (hash, threat) = match listed.behaviour {
                Behaviour::Malicious => (hash, "MALWARE"),
                Behaviour::Future => (hash, "THREAT_OF_TOMORROW"),
                Behaviour::Collide => {
                    let mut other = hash;
                    other[31] ^= 0xff;
                    (other, "MALWARE")
                }
                _ => continue,
            };
            hashes.push(json!({
                "fullHash": STANDARD.encode(hash),
                "fullHashDetails": [{ "threatType": threat }],
            }));
        }
        let mut answer = json!({ "cacheDuration": cache });
        if !hashes.is_empty() {
            answer["fullHashes"] = Value::Array(hashes);
        }
        Answer::ok(&answer)
    }

    fn find(&self, urls: &[String], cache: &str) -> Answer {
        let mut matches = Vec::new();
        for url in urls {
            let behaviour = of_url(url);
            if let Some(answer) = self.fails(url, behaviour) {
                return answer;
            }
            let threat = match behaviour {
                Behaviour::Malicious => "MALWARE",
                Behaviour::Future => "THREAT_OF_TOMORROW",
                _ => continue,
            };
            matches.push(json!({
                "threatType": threat,
                "platformType": "ANY_PLATFORM",
                "threatEntryType": "URL",
                "threat": { "url": url },
                "cacheDuration": cache,
            }));
        }
        if matches.is_empty() {
            Answer::ok(&json!({}))
        } else {
            Answer::ok(&json!({ "matches": matches }))
        }
    }
}

fn reason(reason: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": { "service": "safebrowsing.googleapis.com" },
    })
}

fn invalid(text: &str) -> Answer {
    Answer::google(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", text, json!([]))
}

/// What is wrong with the key, if anything. It may stand in the query or in a header.
fn refuses(uri: &Uri, headers: &HeaderMap) -> Option<Answer> {
    let in_query = pairs(uri).find(|(name, _)| name == "key").map(|(_, value)| value);
    let in_header =
        headers.get("x-goog-api-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    match in_header.or(in_query).as_deref() {
        Some("ok-key" | "premium-key") => None,
        Some("no-quota-key") => {
            let retry = json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"
            });
            Some(Answer::google(
                StatusCode::TOO_MANY_REQUESTS,
                "RESOURCE_EXHAUSTED",
                "Quota exceeded.",
                json!([retry]),
            ))
        }
        None | Some("") => Some(Answer::google(
            StatusCode::FORBIDDEN,
            "PERMISSION_DENIED",
            "Method doesn't allow unregistered callers.",
            json!([]),
        )),
        Some(_) => Some(Answer::google(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            json!([reason("API_KEY_INVALID")]),
        )),
    }
}

fn pairs(uri: &Uri) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned()
}

/// Base64 in any of its four forms: query strings carry all of them.
fn decode(text: &str) -> Option<Vec<u8>> {
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD]
        .into_iter()
        .find_map(|engine| engine.decode(text).ok())
}

pub(crate) fn routes(desk: Arc<Desk<SafeBrowsing>>) -> Router {
    Router::new()
        .route("/v5/hashes:search", get(search))
        .route("/v4/threatMatches:find", post(find))
        .with_state(desk)
}

async fn search(State(shared): App, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let answer = || {
        if let Some(refused) = refuses(&uri, &headers) {
            return refused;
        }
        let mut prefixes = Vec::new();
        for (_, value) in pairs(&uri).filter(|(name, _)| name == "hashPrefixes") {
            match decode(&value) {
                Some(prefix) if prefix.len() == 4 => prefixes.push(prefix),
                _ => return invalid("Each hash prefix must have exactly 4 bytes."),
            }
        }
        if prefixes.is_empty() || prefixes.len() > MAX_PREFIXES {
            return invalid("There must be 1 to 1000 hash prefixes.");
        }
        shared.service.search(&prefixes, &cache(&shared))
    };
    shared.answer((method, uri.clone(), headers.clone()), None, answer).await
}

async fn find(
    State(shared): App,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let parsed: Option<Value> = serde_json::from_slice(&body).ok();
    let urls: Option<Vec<String>> =
        parsed.as_ref().and_then(|body| body["threatInfo"]["threatEntries"].as_array()).map(
            |entries| entries.iter().filter_map(|e| e["url"].as_str().map(str::to_owned)).collect(),
        );
    let about = urls.as_ref().and_then(|urls| urls.first().cloned());
    let answer = || {
        if let Some(refused) = refuses(&uri, &headers) {
            return refused;
        }
        match &urls {
            None => invalid("threatInfo.threatEntries is missing."),
            Some(urls) if urls.is_empty() || urls.len() > MAX_URLS => {
                invalid("There must be 1 to 500 threat entries.")
            }
            Some(urls) => shared.service.find(urls, &cache(&shared)),
        }
    };
    shared.answer((method, uri.clone(), headers.clone()), about, answer).await
}

/// A duration as Google writes it: seconds with a closing `s`.
fn cache(shared: &Desk<SafeBrowsing>) -> String {
    format!("{}s", shared.settings.cache_duration.as_secs_f64())
}
