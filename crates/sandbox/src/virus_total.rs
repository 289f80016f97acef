//! VirusTotal v3: reports, submissions, analyses, keys and quotas.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::hosts::{Behaviour, of_url};
use crate::quota::Quota;
use crate::shared::Desk;

type App = State<Arc<Desk<VirusTotal>>>;

/// Requests that `boom.test` fails before it answers.
const BOOMS: u32 = 2;
/// Submissions remembered.
const KEPT: usize = 100_000;

pub(crate) struct VirusTotal {
    quota: Quota,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Submitted URLs by their id.
    urls: BTreeMap<String, Submitted>,
    booms: BTreeMap<String, u32>,
}

struct Submitted {
    url: String,
    analysis: String,
    polls: u32,
    at: DateTime<Utc>,
}

impl VirusTotal {
    pub(crate) fn new(quota: Quota) -> Self {
        VirusTotal { quota, state: Mutex::default() }
    }

    /// What is wrong with the key, if anything.
    fn refuses(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Option<Answer> {
        let unauthorized =
            |code, text| Some(Answer::virus_total(StatusCode::UNAUTHORIZED, code, text));
        let exceeded = || {
            Answer::virus_total(
                StatusCode::TOO_MANY_REQUESTS,
                "QuotaExceededError",
                "Quota exceeded",
            )
        };
        match headers.get("x-apikey").and_then(|key| key.to_str().ok()) {
            None | Some("") => {
                unauthorized("AuthenticationRequiredError", "X-Apikey header is missing")
            }
            Some("premium-key") => None,
            Some("ok-key") => self.quota.take(now).err().map(|wait| exceeded().retry_after(wait)),
            Some("no-quota-key") => Some(exceeded()),
            Some("inactive-key") => unauthorized("UserNotActiveError", "User is not active"),
            Some(_) => unauthorized("WrongCredentialsError", "Wrong API key"),
        }
    }

    /// What goes wrong with this URL, if anything.
    fn fails(&self, url: &str) -> Option<Answer> {
        match of_url(url) {
            Behaviour::Boom => {
                let mut known = self.state.lock();
                let booms = known.booms.entry(url.to_owned()).or_default();
                *booms += 1;
                (*booms <= BOOMS).then(|| {
                    let status = StatusCode::SERVICE_UNAVAILABLE;
                    Answer::virus_total(status, "TransientError", "Transient server error")
                })
            }
            Behaviour::Deadline => Some(Answer::virus_total(
                StatusCode::GATEWAY_TIMEOUT,
                "DeadlineExceededError",
                "The operation took too long",
            )),
            Behaviour::Html => Some(Answer::page()),
            Behaviour::Refused => Some(Answer::virus_total(
                StatusCode::FORBIDDEN,
                "ForbiddenError",
                "You are not authorized to perform the requested operation",
            )),
            _ => None,
        }
    }

    fn submit(&self, url: &str, now: DateTime<Utc>) -> Answer {
        if url::Url::parse(url).is_err() {
            let text = format!("Unable to canonicalize url \"{url}\"");
            return Answer::virus_total(StatusCode::BAD_REQUEST, "InvalidArgumentError", &text);
        }
        if let Some(answer) = self.fails(url) {
            return answer;
        }
        let id = sha256(url);
        let analysis = format!("u-{id}-{}", now.timestamp());
        let mut known = self.state.lock();
        if known.urls.len() >= KEPT {
            known.urls.pop_first();
        }
        let submitted =
            Submitted { url: url.to_owned(), analysis: analysis.clone(), polls: 0, at: now };
        known.urls.insert(id, submitted);
        let link = format!("https://www.virustotal.com/api/v3/analyses/{analysis}");
        Answer::ok(&json!({
            "data": { "type": "analysis", "id": analysis, "links": { "self": link } }
        }))
    }

    fn analysis(&self, id: &str) -> Answer {
        let mut known = self.state.lock();
        let hash = id.split('-').nth(1).unwrap_or_default().to_owned();
        let Some(submitted) = known.urls.get_mut(&hash) else {
            let text = format!("Analysis \"{id}\" not found");
            return Answer::virus_total(StatusCode::NOT_FOUND, "NotFoundError", &text);
        };
        submitted.polls += 1;
        let status = match (of_url(&submitted.url), submitted.polls) {
            (Behaviour::Never, _) | (Behaviour::Slow, 1..=2) => "queued",
            (Behaviour::Slow, 3) => "in-progress",
            _ => "completed",
        };
        let done = status == "completed";
        let found = if done { of_url(&submitted.url) } else { Behaviour::Unknown };
        Answer::ok(&json!({
            "meta": { "url_info": { "id": hash, "url": submitted.url } },
            "data": {
                "type": "analysis",
                "id": submitted.analysis,
                "attributes": {
                    "date": submitted.at.timestamp(),
                    "status": status,
                    "stats": if done { stats(found) } else { stats_of(0, 0, 0) },
                    "results": if done { results(found) } else { json!({}) },
                }
            }
        }))
    }

    fn report(&self, id: &str, now: DateTime<Utc>) -> Answer {
        let url = self.url_of(id);
        let Some(url) = url else { return not_found(id) };
        if let Some(answer) = self.fails(&url) {
            return answer;
        }
        let hash = sha256(&url);
        let behaviour = of_url(&url);
        let hidden = matches!(behaviour, Behaviour::Unknown | Behaviour::Slow | Behaviour::Never);
        let known = self.state.lock();
        let submitted = known.urls.get(&hash);
        let finished = submitted.is_some_and(|submitted| match behaviour {
            Behaviour::Slow => submitted.polls > 3,
            Behaviour::Never => false,
            _ => submitted.polls > 0,
        });
        if hidden && !finished {
            return not_found(id);
        }
        let at = submitted.map_or(now, |submitted| submitted.at).timestamp();
        Answer::ok(&json!({
            "data": {
                "type": "url",
                "id": hash,
                "links": { "self": format!("https://www.virustotal.com/api/v3/urls/{hash}") },
                "attributes": {
                    "url": url,
                    "last_final_url": url,
                    "first_submission_date": at,
                    "last_submission_date": at,
                    "last_analysis_date": at,
                    "times_submitted": 1,
                    "last_analysis_stats": stats(behaviour),
                    "last_analysis_results": results(behaviour),
                    "reputation": 0,
                    "total_votes": { "harmless": 0, "malicious": 0 },
                    "tags": [],
                }
            }
        }))
    }

    /// The URL that an id of either form names.
    fn url_of(&self, id: &str) -> Option<String> {
        if let Some(submitted) = self.state.lock().urls.get(id) {
            return Some(submitted.url.clone());
        }
        let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        String::from_utf8(bytes).ok().filter(|url| url::Url::parse(url).is_ok())
    }
}

fn not_found(id: &str) -> Answer {
    let text = format!("URL \"{id}\" not found");
    Answer::virus_total(StatusCode::NOT_FOUND, "NotFoundError", &text)
}

fn stats(behaviour: Behaviour) -> Value {
    match behaviour {
        Behaviour::Malicious => stats_of(12, 1, 55),
        Behaviour::Suspicious => stats_of(0, 3, 65),
        _ => stats_of(0, 0, 68),
    }
}

fn stats_of(malicious: u32, suspicious: u32, harmless: u32) -> Value {
    json!({
        "malicious": malicious, "suspicious": suspicious, "harmless": harmless,
        "undetected": 0, "timeout": 0
    })
}

fn results(behaviour: Behaviour) -> Value {
    let (category, result) = match behaviour {
        Behaviour::Malicious => ("malicious", "malware"),
        Behaviour::Suspicious => ("suspicious", "suspicious"),
        _ => ("harmless", "clean"),
    };
    json!({
        "Sandbox": {
            "category": category, "engine_name": "Sandbox", "method": "blacklist", "result": result
        }
    })
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn routes(desk: Arc<Desk<VirusTotal>>) -> Router {
    Router::new()
        .route("/api/v3/urls", post(submit))
        .route("/api/v3/urls/{id}", get(report))
        .route("/api/v3/urls/{id}/analyse", post(analyse))
        .route("/api/v3/analyses/{id}", get(analysis))
        .with_state(desk)
}

async fn submit(State(shared): App, request: Request) -> Response {
    let asked = (request.method().clone(), request.uri().clone(), request.headers().clone());
    let url = submitted_url(request).await;
    let now = shared.now();
    let answer = || {
        shared.service.refuses(&asked.2, now).unwrap_or_else(|| match &url {
            Some(url) => shared.service.submit(url, now),
            None => Answer::virus_total(
                StatusCode::BAD_REQUEST,
                "BadRequestError",
                "Missing required parameter \"url\"",
            ),
        })
    };
    shared.answer(asked.clone(), url.clone(), answer).await
}

/// The form field `url`, in either encoding: official clients send both.
async fn submitted_url(request: Request) -> Option<String> {
    let content_type = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?.to_owned();
    if content_type.starts_with("multipart/form-data") {
        let mut form = Multipart::from_request(request, &()).await.ok()?;
        while let Ok(Some(field)) = form.next_field().await {
            if field.name() == Some("url") {
                return field.text().await.ok();
            }
        }
        return None;
    }
    let body = Bytes::from_request(request, &()).await.ok()?;
    url::form_urlencoded::parse(&body)
        .find(|(name, _)| name == "url")
        .map(|(_, value)| value.into_owned())
}

async fn report(
    State(shared): App,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let now = shared.now();
    let about = shared.service.url_of(&id);
    let refused = shared.service.refuses(&headers, now);
    let answer = || refused.unwrap_or_else(|| shared.service.report(&id, now));
    shared.answer((method, uri, headers), about, answer).await
}

async fn analyse(
    State(shared): App,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let now = shared.now();
    let about = shared.service.url_of(&id);
    let refused = shared.service.refuses(&headers, now);
    let url = about.clone();
    let answer = || {
        refused.unwrap_or_else(|| match &url {
            Some(url) => shared.service.submit(url, now),
            None => not_found(&id),
        })
    };
    shared.answer((method, uri, headers), about, answer).await
}

async fn analysis(
    State(shared): App,
    Path(id): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let now = shared.now();
    let refused = shared.service.refuses(&headers, now);
    let answer = || refused.unwrap_or_else(|| shared.service.analysis(&id));
    shared.answer((method, uri, headers), None, answer).await
}
