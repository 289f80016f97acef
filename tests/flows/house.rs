//! A house to try things in: the url-scan saga on a SQLite file, its services played by the sandbox.

use std::path::Path;
use std::time::Duration;

use knarr::{App, Error, Inbox, Server, Values, Wrong};
use knarr_sandbox::Sandbox;
use knarr_url_scan::{UrlScanSettings, UrlScanned, url_scan};
use serde_json::{Value, json};
use uuid::Uuid;

/// No wait here takes longer on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running house.
pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) verdicts: Inbox<UrlScanned>,
    web: reqwest::Client,
}

fn with_url_scan(app: App, values: &Values) -> Result<App, Wrong> {
    let settings = UrlScanSettings::from_lookup(|name| values.lookup(name))
        .map_err(|bad| Wrong::new(bad.name, bad.why))?;
    let (saga, activities) = url_scan(&settings, &values.web()?);
    Ok(app.saga_definition(saga).erased_activities(activities))
}

/// Settings that url-scan reads.
const NAMES: [&str; 9] = [
    "VIRUSTOTAL_API_KEY",
    "VIRUSTOTAL_URL",
    "VIRUSTOTAL_QUOTA",
    "VIRUSTOTAL_POLL_INTERVAL",
    "VIRUSTOTAL_FRESH_FOR",
    "SAFE_BROWSING_API_KEY",
    "SAFE_BROWSING_URL",
    "SAFE_BROWSING_VERSION",
    "URL_SCAN_DEADLINE",
];

/// The application on this folder, alone: nothing of the machine's environment counts.
pub(crate) fn app(folder: &Path, sandbox: &Sandbox) -> App {
    let settings = NAMES.map(|name| knarr::Setting::unset(name, "As in our own binary."));
    App::new("flows")
        .settings(&settings)
        .configured(with_url_scan)
        .alone()
        .set("KNARR_DATA_DIR", folder.to_str().expect("text"))
        .set("KNARR_LISTEN", "127.0.0.1:0")
        .set("KNARR_HTTP_ALLOW", "127.0.0.1")
        .set("VIRUSTOTAL_URL", sandbox.url())
        .set("VIRUSTOTAL_API_KEY", "premium-key")
        .set("VIRUSTOTAL_QUOTA", "unlimited")
        .set("VIRUSTOTAL_POLL_INTERVAL", "200ms")
        .set("SAFE_BROWSING_URL", sandbox.url())
        .set("SAFE_BROWSING_API_KEY", "premium-key")
        .set("URL_SCAN_DEADLINE", "30s")
}

/// The stand-ins, on a port of their own.
pub(crate) async fn sandbox() -> Sandbox {
    let settings = knarr_sandbox::Settings::default();
    Sandbox::start(([127, 0, 0, 1], 0).into(), settings).await.expect("a free port")
}

impl House {
    pub(crate) async fn open(app: App) -> Result<House, Error> {
        let server = app.start().await?;
        server.ready().await;
        let verdicts = server.subscribe("verdicts").await?;
        Ok(House { server, verdicts, web: reqwest::Client::new() })
    }

    /// Status and body of an answer of the admin API.
    pub(crate) async fn ask(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let request = request.bearer_auth(self.server.token());
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.server.url());
        let (status, body) = self.ask(self.web.get(url)).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// What is no JSON.
    pub(crate) async fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.server.url());
        let response = self.web.get(url).send().await.expect("an answer");
        response.text().await.expect("text")
    }

    /// Sends a message over the API.
    pub(crate) async fn send(&self, name: &str, message: Value) {
        self.send_with(name, message, json!({})).await;
    }

    /// Sends a message with headers over the API.
    pub(crate) async fn send_with(&self, name: &str, message: Value, headers: Value) {
        let url = format!("{}/api/v1/messages", self.server.url());
        let body = json!({ "type": name, "message": message, "headers": headers });
        let (status, body) = self.ask(self.web.post(url).json(&body)).await;
        assert_eq!(status, 200, "{body}");
    }

    pub(crate) async fn submit(&self, url: &str) -> Uuid {
        let id = Uuid::new_v4();
        self.send("Knarr.UrlScan:SubmitUrl", json!({ "scanId": id, "url": url })).await;
        id
    }

    /// The next verdict that is published.
    pub(crate) async fn verdict(&mut self) -> UrlScanned {
        let next = tokio::time::timeout(PATIENCE, self.verdicts.next()).await;
        next.expect("a verdict in time").expect("the queue is there").message
    }

    /// Asks until the answer fits.
    pub(crate) async fn until(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let body = self.get(path).await;
                if fits(&body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{path} never fits"))
    }

    pub(crate) async fn close(self) {
        self.verdicts.close().await;
        self.server.stop().await;
    }
}
