//! The HTTP server that both stand-ins share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::answer::Answer;
use crate::quota::Quota;
use crate::requests::{Request, Requests};
use crate::safe_browsing::{self, SafeBrowsing};
use crate::virus_total::{self, VirusTotal};

/// Where the stand-ins get the time from.
pub type Now = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How the stand-ins behave.
#[derive(Clone)]
pub struct Settings {
    /// VirusTotal requests that `ok-key` has: so many in each window.
    pub quota: Vec<(u32, Duration)>,
    /// How long Safe Browsing says that an answer holds.
    pub cache_duration: Duration,
    /// How long every answer takes.
    pub latency: Duration,
    /// The time.
    pub now: Now,
}

impl Default for Settings {
    /// A public key's quota (4 a minute, 500 a day), answers that hold five minutes, no latency.
    fn default() -> Self {
        Settings {
            quota: vec![(4, Duration::from_secs(60)), (500, Duration::from_secs(86_400))],
            cache_duration: Duration::from_secs(300),
            latency: Duration::ZERO,
            now: Arc::new(wall_clock),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-in is no part of the engine: its own clock")]
fn wall_clock() -> DateTime<Utc> {
    Utc::now()
}

/// What the routes share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) requests: Requests,
    pub(crate) virus_total: VirusTotal,
    pub(crate) safe_browsing: SafeBrowsing,
}

impl Shared {
    pub(crate) fn now(&self) -> DateTime<Utc> {
        (self.settings.now)()
    }

    /// Answers one request, notes it, and notices when its client goes away first.
    pub(crate) async fn answer(
        &self,
        (method, uri, headers): (Method, Uri, HeaderMap),
        about: Option<String>,
        answer: impl FnOnce() -> Answer,
    ) -> Response {
        let open = self.requests.begin();
        if !self.settings.latency.is_zero() {
            wait(self.settings.latency).await;
        }
        let answer = answer();
        open.answered();
        self.requests.note(Request {
            method: method.to_string(),
            path: without_key(&uri),
            about,
            status: answer.status.as_u16(),
        });
        answer.into_response(&headers)
    }
}

#[expect(clippy::disallowed_methods, reason = "a stand-in is no part of the engine: its own clock")]
async fn wait(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn without_key(uri: &Uri) -> String {
    let query: Vec<_> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.is_empty() && !part.starts_with("key="))
        .collect();
    if query.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{}", uri.path(), query.join("&"))
    }
}

/// Running stand-ins. Dropping it stops them.
pub struct Sandbox {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<tokio::task::JoinHandle<()>>,
}

impl Sandbox {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: SocketAddr, settings: Settings) -> std::io::Result<Sandbox> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            virus_total: VirusTotal::new(Quota::new(settings.quota.clone())),
            safe_browsing: SafeBrowsing::default(),
            requests: Requests::default(),
            settings,
        });
        let router = Router::new()
            .route("/_log", get(log))
            .route("/_open", get(open))
            .merge(virus_total::routes())
            .merge(safe_browsing::routes())
            .with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async {
            // An error means that the sandbox was dropped: it stops too.
            let _ = stopped.await;
        });
        let ended = tokio::spawn(async {
            // Serving ends only by the signal above.
            let _ = serving.await;
        });
        Ok(Sandbox { address, shared, stop: Some(stop), ended: Some(ended) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Scheme and authority: the base URL of both services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, oldest first (the last 10 000).
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.all()
    }

    /// Requests being answered now.
    pub fn open(&self) -> usize {
        self.shared.requests.open()
    }

    /// Requests whose client went away before the answer.
    pub fn gone(&self) -> usize {
        self.shared.requests.gone()
    }

    /// Stops; requests being answered are answered.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

async fn log(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    Json(shared.requests.all())
}

async fn open(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    Json(json!({ "open": shared.requests.open(), "gone": shared.requests.gone() }))
}
