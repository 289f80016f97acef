//! The HTTP server that both stand-ins share.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::quota::Quota;
use crate::requests::{Request, Requests};
use crate::safe_browsing::{self, SafeBrowsing};
use crate::settings::Settings;
use crate::shared::Desk;
use crate::virus_total::{self, VirusTotal};

/// Running stand-ins. Dropping it stops them.
pub struct Sandbox {
    address: SocketAddr,
    requests: Arc<Requests>,
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
        let requests = Arc::new(Requests::default());
        let quota = Quota::new(settings.quota.clone());
        let virus_total = desk(&settings, &requests, VirusTotal::new(quota));
        let safe_browsing = desk(&settings, &requests, SafeBrowsing::default());
        let router = Router::new()
            .route("/_log", get(log))
            .route("/_open", get(open))
            .with_state(requests.clone())
            .merge(virus_total::routes(virus_total))
            .merge(safe_browsing::routes(safe_browsing));
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async {
            // An error means that the sandbox was dropped: it stops too.
            let _ = stopped.await;
        });
        let ended = tokio::spawn(async {
            // Serving ends only by the signal above.
            let _ = serving.await;
        });
        Ok(Sandbox { address, requests, stop: Some(stop), ended: Some(ended) })
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
        self.requests.all()
    }

    /// Requests being answered now.
    pub fn open(&self) -> usize {
        self.requests.open()
    }

    /// Requests whose client went away before the answer.
    pub fn gone(&self) -> usize {
        self.requests.gone()
    }

    /// Stops; requests being answered are answered.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
    }
}

fn desk<T>(settings: &Settings, requests: &Arc<Requests>, service: T) -> Arc<Desk<T>> {
    Arc::new(Desk { settings: settings.clone(), requests: requests.clone(), service })
}

async fn log(State(requests): State<Arc<Requests>>) -> impl IntoResponse {
    Json(requests.all())
}

async fn open(State(requests): State<Arc<Requests>>) -> impl IntoResponse {
    Json(json!({ "open": requests.open(), "gone": requests.gone() }))
}
