//! The demo itself: sandbox and orchestrator up, URLs in, verdicts out, everything down again.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use knarr::records::{PageRequest, QuarantineFilter, Records};
use knarr::{Clock, Inbox, Server};
use knarr_sandbox::{Sandbox, Settings};
use knarr_url_scan::{SubmitUrl, SubmittedUrl, UrlScanned, Verdict};

use super::expected::{Scan, Scans};
use super::show::Show;
use super::urls::{End, SAMPLES, Sample};
use crate::sagas;

/// VirusTotal's public quota with seconds for minutes.
const QUOTA: (u32, Duration) = (4, Duration::from_secs(1));
/// A scan that gets no answer ends after this.
const DEADLINE: &str = "15s";
/// How long the demo waits for the last scan.
const PATIENCE: Duration = Duration::from_secs(50);
/// How often the quarantine is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Everything that the demo runs.
pub(super) struct Stage {
    sandbox: Sandbox,
    pub(super) server: Server,
}

/// Starts sandbox and orchestrator on loopback, state in `data_dir`.
pub(super) async fn start(data_dir: &Path) -> anyhow::Result<Stage> {
    let settings = Settings { quota: vec![QUOTA], ..Settings::default() };
    let sandbox = Sandbox::start(([127, 0, 0, 1], 0).into(), settings)
        .await
        .context("the sandbox cannot listen on loopback")?;
    let url = sandbox.url();
    let data_dir = data_dir.to_str().context("the data directory's name is not text")?;
    let app = sagas::app()
        .alone()
        .set("KNARR_BROKER", "embedded:")
        .set("KNARR_DATA_DIR", data_dir)
        .set("KNARR_LISTEN", "127.0.0.1:0")
        .set("KNARR_HTTP_ALLOW", "127.0.0.1")
        .set("VIRUSTOTAL_URL", &url)
        .set("VIRUSTOTAL_API_KEY", "ok-key")
        .set("VIRUSTOTAL_QUOTA", format!("{}/s", QUOTA.0))
        .set("VIRUSTOTAL_POLL_INTERVAL", "1s")
        .set("SAFE_BROWSING_URL", &url)
        .set("SAFE_BROWSING_API_KEY", "ok-key")
        .set("URL_SCAN_DEADLINE", DEADLINE);
    let server = app.start().await?;
    server.ready().await;
    Ok(Stage { sandbox, server })
}

impl Stage {
    /// Submits every sample and waits for what comes of it.
    pub(super) async fn play(&self, show: &mut Show) -> anyhow::Result<Scans> {
        let clock = self.server.clock();
        let mut verdicts = self.server.subscribe::<UrlScanned>("knarr-demo").await?;
        let mut scans = Scans::default();
        // What fails for good stops the queue: it comes when the others are through.
        let (last, others): (Vec<_>, Vec<_>) =
            SAMPLES.iter().partition(|sample| sample.end == End::Failed);
        let began = clock.monotonic();
        let records = self.server.records();
        for samples in [others, last] {
            self.submit(&samples, &mut scans, show).await?;
            let left = PATIENCE.saturating_sub(clock.monotonic().saturating_sub(began));
            let watch = watch(&mut scans, &mut verdicts, &*records, &clock, show);
            tokio::select! {
                biased;
                ended = watch => ended?,
                () = clock.sleep(left) => break,
            }
        }
        verdicts.close().await;
        Ok(scans)
    }

    async fn submit(
        &self,
        samples: &[&Sample],
        scans: &mut Scans,
        show: &mut Show,
    ) -> anyhow::Result<()> {
        let clock = self.server.clock();
        for sample in samples {
            let id = clock.new_id();
            let url = SubmittedUrl::try_from(sample.url).map_err(anyhow::Error::msg)?;
            let scan = Scan { id, sample: **sample, submitted: clock.monotonic(), ended: None };
            show.begun(&scan);
            scans.add(scan);
            self.server.publish(&SubmitUrl { scan_id: id, url }).await?;
        }
        Ok(())
    }

    /// Takes everything down again.
    pub(super) async fn stop(self) {
        self.server.stop().await;
        self.sandbox.stop().await;
    }
}

/// Notes ends until every scan has one: verdicts as they are published, failed runs as they appear
/// in quarantine.
async fn watch(
    scans: &mut Scans,
    verdicts: &mut Inbox<UrlScanned>,
    records: &dyn Records,
    clock: &Arc<dyn Clock>,
    show: &mut Show,
) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    while !scans.have_ended() {
        let verdict = tokio::select! {
            biased;
            verdict = verdicts.next() => Some(verdict?),
            () = clock.sleep(LOOK) => None,
        };
        let now = clock.monotonic();
        match verdict {
            // A message that is published twice bears its id twice.
            Some(received) if !seen.insert(received.id) => {}
            Some(received) => {
                let scanned = received.message;
                let said = detail(&scanned);
                if let Some(scan) = scans.end(scanned.scan_id, end(scanned.verdict), said, now) {
                    show.ended(scan)?;
                }
            }
            None => {
                let page = PageRequest { limit: 100, cursor: None };
                let held = records.quarantine(&QuarantineFilter::default(), &page).await?;
                for row in held.items {
                    let Some(id) = row.instance.map(|id| id.0) else { continue };
                    if !scans.is_open(id) {
                        continue;
                    }
                    let why = format!("in quarantine, {}: {}", row.class, row.reason);
                    if let Some(scan) = scans.end(id, End::Failed, why, now) {
                        show.ended(scan)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn end(verdict: Verdict) -> End {
    match verdict {
        Verdict::Clean => End::Clean,
        Verdict::Malicious => End::Malicious,
        Verdict::Suspicious => End::Suspicious,
        Verdict::Unknown => End::Unknown,
    }
}

/// What each source said.
fn detail(scanned: &UrlScanned) -> String {
    let said = scanned.sources.iter().map(|source| format!("{}: {}", source.name, source.detail));
    said.collect::<Vec<_>>().join("; ")
}
