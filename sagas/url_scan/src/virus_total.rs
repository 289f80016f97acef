//! Asks VirusTotal (API v3): the report first, an analysis only where there is none or it is old.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use knarr_http::{ApiError, Auth, Client, Response};
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::messages::{AskVirusTotal, Finding, Verdict};
use crate::policy::refusal;
use crate::settings::VirusTotalSettings;

/// The name of the purse that all nodes draw requests from.
const PURSE: &str = "virus-total";
/// Longer URLs go straight to the analysis: their id would not fit into a request's first line.
const MAX_REPORT_URL: usize = 2_048;
/// How long an exceeded quota is given where neither it nor the server says.
const SHORTEST_WINDOW: Duration = Duration::from_secs(60);

/// Answers [`AskVirusTotal`].
pub struct VirusTotal {
    settings: VirusTotalSettings,
    web: Client,
}

/// Where a call stands; between attempts it is the memo, so nothing waits in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "next", rename_all = "kebab-case")]
enum Next {
    /// Look whether there is a fresh report.
    Report,
    /// Ask for an analysis.
    Submit,
    /// Look whether the analysis is done.
    Poll {
        /// Its id, opaque.
        analysis: String,
    },
}

impl Next {
    fn of(memo: Option<&Value>) -> Next {
        memo.and_then(|memo| Next::deserialize(memo).ok()).unwrap_or(Next::Report)
    }

    /// Due again in `after`, here.
    fn again(&self, after: Duration) -> Failure {
        Failure::again(after, self.memo())
    }

    fn memo(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Activity<AskVirusTotal> for VirusTotal {
    async fn run(&self, call: &AskVirusTotal, attempt: &Attempt) -> Result<Finding, Failure> {
        if let Some(reason) = refusal(&call.url) {
            return Err(Failure::permanent("refused", reason));
        }
        let mut next = Next::of(attempt.memo.as_ref());
        if next == Next::Report && call.url.len() > MAX_REPORT_URL {
            next = Next::Submit;
        }
        if next == Next::Report {
            if let Some(finding) = self.report(&call.url, attempt).await? {
                return Ok(finding);
            }
            next = Next::Submit;
        }
        match next {
            Next::Poll { analysis } => self.poll(analysis, attempt).await,
            Next::Report | Next::Submit => {
                let analysis = self.submit(&call.url, attempt).await?;
                Err(Next::Poll { analysis }.again(self.settings.poll_interval))
            }
        }
    }

    /// Two requests fit, each as long as the way out allows.
    fn deadline(&self) -> Duration {
        seconds(60)
    }
}

impl VirusTotal {
    /// An activity that goes out through `web`.
    pub fn new(settings: VirusTotalSettings, web: Client) -> Self {
        VirusTotal { settings, web }
    }

    /// What the report says, if it is fresh.
    async fn report(&self, url: &str, attempt: &Attempt) -> Result<Option<Finding>, Failure> {
        let id = URL_SAFE_NO_PAD.encode(url);
        let answer = self.get(&format!("/api/v3/urls/{id}"), Next::Report, attempt).await?;
        match answer.status {
            // Unknown to it, or (rarely) an id that some front end finds too long.
            404 | 414 => return Ok(None),
            _ => self.expect(&answer, &Next::Report)?,
        }
        let report: Answer<Attributes<Report>> = answer.json()?;
        Ok(report.data.attributes.fresh(attempt.started_at, self.settings.fresh_for))
    }

    /// Asks for an analysis; gives its id.
    async fn submit(&self, url: &str, attempt: &Attempt) -> Result<String, Failure> {
        let auth = self.permitted(&Next::Submit, attempt).await?;
        let path = self.settings.base.join("/api/v3/urls");
        // Submitted twice it is analysed twice, which costs a request and harms nobody.
        let request = self.web.post_form(path, &[("url", url)]).repeatable();
        let answer = request.header("accept", "application/json").auth(&auth).send().await?;
        self.expect(&answer, &Next::Submit)?;
        let submitted: Answer<Named> = answer.json()?;
        match submitted.data.id {
            id if id.is_empty() => {
                Err(Failure::transient("bad-answer", "VirusTotal named no analysis"))
            }
            id => Ok(id),
        }
    }

    /// What the analysis found, once it is done.
    async fn poll(&self, analysis: String, attempt: &Attempt) -> Result<Finding, Failure> {
        let id: String = byte_serialize(analysis.as_bytes()).collect();
        let next = Next::Poll { analysis };
        let path = format!("/api/v3/analyses/{id}");
        let answer = self.get(&path, next.clone(), attempt).await?;
        if answer.status == 404 {
            // It knew the analysis a moment ago; not all of its servers do at once.
            let reason = "VirusTotal does not know its own analysis (yet)";
            return Err(Failure::transient("NotFoundError", reason));
        }
        self.expect(&answer, &next)?;
        let analysis: Answer<Attributes<Analysis>> = answer.json()?;
        let analysis = analysis.data.attributes;
        if analysis.status == "completed" {
            Ok(finding(&analysis.stats))
        } else {
            Err(next.again(self.settings.poll_interval))
        }
    }

    async fn get(&self, path: &str, next: Next, attempt: &Attempt) -> Result<Response, Failure> {
        let auth = self.permitted(&next, attempt).await?;
        let request = self.web.get(self.settings.base.join(path));
        request.header("accept", "application/json").auth(&auth).send().await
    }

    /// The key, once a request may be made; else the call is due again, here, when it may.
    async fn permitted(&self, next: &Next, attempt: &Attempt) -> Result<Auth, Failure> {
        let Some(key) = &self.settings.key else {
            return Err(Failure::permanent("no-key", "VIRUSTOTAL_API_KEY is not set"));
        };
        if !self.settings.quota.is_empty() {
            let here = Attempt { memo: Some(next.memo()), ..attempt.clone() };
            here.permit(PURSE, &self.settings.quota).await?;
        }
        Ok(Auth::header("x-apikey", key.clone()))
    }

    /// Takes a success, and classes everything else.
    fn expect(&self, answer: &Response, next: &Next) -> Result<(), Failure> {
        if answer.is_success() {
            return Ok(());
        }
        // Not every error comes from the API itself; a front end answers with a page.
        let api = serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| refusal.error);
        let code = api.as_ref().map_or("", |api| api.code.as_str()).to_owned();
        let api = api.map(|api| ApiError { code: api.code, message: api.message });
        let mut failure = answer.failure(api);
        match (answer.status, code.as_str()) {
            (429, _) => Err(next.again(failure.after.unwrap_or_else(|| self.window()))),
            (_, "NotAvailableYet") => Err(next.again(self.settings.poll_interval)),
            (401 | 403, _) => {
                failure.reason = format!("{} ({})", failure.reason, failure.class);
                failure.class = "wrong-key".to_owned();
                Err(failure)
            }
            _ => Err(failure),
        }
    }

    /// The shortest window of the quota: the one that most likely was exceeded.
    fn window(&self) -> Duration {
        let windows = self.settings.quota.iter().map(|quota| quota.window);
        windows.min().unwrap_or(SHORTEST_WINDOW)
    }
}

#[derive(Deserialize)]
struct Answer<D> {
    data: D,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: String,
}

#[derive(Deserialize)]
struct Attributes<A> {
    attributes: A,
}

/// Engines by what they say; categories may be absent.
type Stats = BTreeMap<String, u64>;

#[derive(Deserialize)]
struct Report {
    /// Unix seconds; 0 or absent: never analysed.
    #[serde(default)]
    last_analysis_date: i64,
    #[serde(default)]
    last_analysis_stats: Stats,
}

impl Report {
    fn fresh(&self, now: DateTime<Utc>, fresh_for: Duration) -> Option<Finding> {
        let analysed = DateTime::from_timestamp(self.last_analysis_date, 0)?;
        // An analysis of the future (clocks differ) is as fresh as can be.
        let age = (now - analysed).to_std().unwrap_or_default();
        let usable = self.last_analysis_date > 0 && engines(&self.last_analysis_stats) > 0;
        (usable && age <= fresh_for).then(|| finding(&self.last_analysis_stats))
    }
}

#[derive(Deserialize)]
struct Analysis {
    #[serde(default)]
    status: String,
    #[serde(default)]
    stats: Stats,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    code: String,
    #[serde(default)]
    message: String,
}

fn engines(stats: &Stats) -> u64 {
    stats.values().fold(0, |sum, count| sum.saturating_add(*count))
}

fn finding(stats: &Stats) -> Finding {
    let count = |category: &str| stats.get(category).copied().unwrap_or_default();
    let (malicious, suspicious, all) = (count("malicious"), count("suspicious"), engines(stats));
    let verdict = match (malicious, suspicious) {
        (0, 0) => Verdict::Clean,
        (0, _) => Verdict::Suspicious,
        _ => Verdict::Malicious,
    };
    let detail = format!("of {all} engines, {malicious} say malicious and {suspicious} suspicious");
    Finding { verdict, detail }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;

    fn stats(malicious: u64, suspicious: u64, harmless: u64) -> Stats {
        let all = [("malicious", malicious), ("suspicious", suspicious), ("harmless", harmless)];
        all.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn one_engine_is_enough_for_a_verdict_and_the_worst_counts() {
        assert_eq!(finding(&stats(0, 0, 90)).verdict, Verdict::Clean);
        assert_eq!(finding(&stats(0, 1, 90)).verdict, Verdict::Suspicious);
        assert_eq!(finding(&stats(1, 0, 90)).verdict, Verdict::Malicious);
        let both = finding(&stats(2, 3, 90));
        assert_eq!(both.verdict, Verdict::Malicious);
        assert_eq!(both.detail, "of 95 engines, 2 say malicious and 3 suspicious");
        assert_eq!(finding(&Stats::new()).verdict, Verdict::Clean);
    }

    #[test]
    fn a_report_counts_only_while_it_is_fresh_and_says_something() {
        let now = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
        let report = |age: i64, stats| Report {
            last_analysis_date: (now - TimeDelta::seconds(age)).timestamp(),
            last_analysis_stats: stats,
        };
        let hour = Duration::from_secs(3_600);
        let is_fresh = |report: Report| report.fresh(now, hour).is_some();
        assert!(is_fresh(report(3_600, stats(0, 0, 1))));
        assert!(!is_fresh(report(3_601, stats(0, 0, 1))));
        assert!(is_fresh(report(-60, stats(0, 0, 1))));
        assert!(!is_fresh(report(60, stats(0, 0, 0))), "nobody has looked at it yet");
        assert!(!is_fresh(Report { last_analysis_date: 0, last_analysis_stats: stats(0, 0, 1) }));
    }

    #[test]
    fn the_memo_tells_where_a_call_stands_and_a_strange_one_begins_anew() {
        for next in [Next::Report, Next::Submit, Next::Poll { analysis: "u-1".to_owned() }] {
            assert_eq!(Next::of(Some(&next.memo())), next);
        }
        assert_eq!(Next::of(None), Next::Report);
        assert_eq!(Next::of(Some(&json!({ "next": "dance" }))), Next::Report);
        assert_eq!(Next::of(Some(&Value::Null)), Next::Report);
    }
}
