//! Asks Safe Browsing: by prefixes of hashes (v5), or with the URL itself (v4).

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use knarr_http::{ApiError, Auth, Client, Response};
use knarr_saga::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::canonical::canonicalize;
use crate::hash_cache::{HashCache, Listed};
use crate::hashes::{self, Prefix, prefix_of};
use crate::messages::{AskSafeBrowsing, Finding};
use crate::policy::refusal;
use crate::settings::{SafeBrowsingSettings, SafeBrowsingVersion};
use crate::threats::{Threat, finding};

/// Prefixes remembered; about 100 bytes each.
const REMEMBERED: usize = 20_000;
/// How long an exceeded quota is given where the server says nothing.
const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// No wait that the server asks for counts for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Answers [`AskSafeBrowsing`].
pub struct SafeBrowsing {
    settings: SafeBrowsingSettings,
    web: Client,
    cache: HashCache,
}

impl Activity<AskSafeBrowsing> for SafeBrowsing {
    async fn run(&self, call: &AskSafeBrowsing, attempt: &Attempt) -> Result<Finding, Failure> {
        if let Some(reason) = refusal(&call.url) {
            return Err(Failure::permanent("refused", reason));
        }
        let threats = match self.settings.version {
            SafeBrowsingVersion::V5 => self.by_hashes(&call.url, attempt.started_at).await?,
            SafeBrowsingVersion::V4 => self.by_url(&call.url).await?,
        };
        Ok(finding(&threats))
    }
}

impl SafeBrowsing {
    /// An activity that goes out through `web`.
    pub fn new(settings: SafeBrowsingSettings, web: Client) -> Self {
        SafeBrowsing { settings, web, cache: HashCache::new(REMEMBERED) }
    }

    fn auth(&self) -> Result<Auth, Failure> {
        match &self.settings.key {
            Some(key) => Ok(Auth::header("x-goog-api-key", key.clone())),
            None => Err(Failure::permanent("no-key", "SAFE_BROWSING_API_KEY is not set")),
        }
    }

    /// v5 `hashes:search`: only what the cache does not know is asked, four bytes of each hash.
    async fn by_hashes(&self, url: &str, now: DateTime<Utc>) -> Result<BTreeSet<Threat>, Failure> {
        // As a browser reads it, then as Google writes it.
        let read = Url::parse(url).map_or_else(|_| url.to_owned(), String::from);
        let Some(canonical) = canonicalize(&read) else {
            return Err(Failure::permanent("refused", "it names no host"));
        };
        let wanted = hashes::hashes(&canonical);
        let mut listed = Listed::new();
        let mut unknown: Vec<Prefix> = Vec::new();
        for prefix in wanted.keys() {
            match self.cache.get(prefix, now) {
                Some(known) => listed.extend(known),
                None => unknown.push(*prefix),
            }
        }
        if !unknown.is_empty() {
            listed.extend(self.search(&unknown, now).await?);
        }
        let ours = listed.iter().filter(|(hash, _)| {
            wanted.get(&prefix_of(hash)).is_some_and(|hashes| hashes.contains(hash))
        });
        Ok(ours.flat_map(|(_, threats)| threats.iter().copied()).collect())
    }

    async fn search(&self, prefixes: &[Prefix], now: DateTime<Utc>) -> Result<Listed, Failure> {
        let auth = self.auth()?;
        let mut request = self.web.get(self.settings.base.join("/v5/hashes:search"));
        for prefix in prefixes {
            request = request.query("hashPrefixes", &hashes::encode(prefix));
        }
        let answer = request.header("accept", "application/json").auth(&auth).send().await?;
        expect(&answer)?;
        let found: Found = answer.json()?;
        let listed = found.listed();
        // The duration counts for every prefix asked about, found or not.
        let kept = found.cache_duration.as_deref().and_then(duration).unwrap_or_default();
        let until = TimeDelta::from_std(kept).ok().and_then(|kept| now.checked_add_signed(kept));
        let until = until.unwrap_or(DateTime::<Utc>::MAX_UTC);
        for prefix in prefixes {
            let of = listed.iter().filter(|(hash, _)| prefix_of(hash) == *prefix);
            self.cache.put(*prefix, of.cloned().collect(), until, now);
        }
        Ok(listed)
    }

    /// v4 `threatMatches:find`.
    async fn by_url(&self, url: &str) -> Result<BTreeSet<Threat>, Failure> {
        let auth = self.auth()?;
        let names = Threat::ALL.map(Threat::name);
        let body = json!({
            "client": { "clientId": "knarr", "clientVersion": env!("CARGO_PKG_VERSION") },
            "threatInfo": {
                "threatTypes": names,
                "platformTypes": ["ANY_PLATFORM"],
                "threatEntryTypes": ["URL"],
                "threatEntries": [{ "url": url }],
            },
        });
        let path = self.settings.base.join("/v4/threatMatches:find");
        // A question, though it is a POST.
        let request = self.web.post_json(path, &body).repeatable();
        let answer = request.header("accept", "application/json").auth(&auth).send().await?;
        expect(&answer)?;
        let found: Matches = answer.json()?;
        Ok(found.matches.iter().filter_map(|found| Threat::of_name(&found.threat_type)).collect())
    }
}

/// Takes a success, and classes everything else: by the reason in the details first, then by the
/// status in words, then by the code.
fn expect(answer: &Response) -> Result<(), Failure> {
    if answer.is_success() {
        return Ok(());
    }
    let error = serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| refusal.error);
    let Some(error) = error else { return Err(answer.failure(None)) };
    let reason = error.detail("reason");
    let retry_delay = error.detail("retryDelay").and_then(|text| duration(&text));
    let code = reason.clone().unwrap_or_else(|| error.status.clone());
    let mut failure = answer.failure(Some(ApiError { code, message: error.message.clone() }));
    match (answer.status, reason.as_deref()) {
        (429, _) => {
            let wait = retry_delay.or(failure.after).unwrap_or(QUOTA_WAIT).min(LONGEST_WAIT);
            return Err(Failure::again(wait, Value::Null));
        }
        (_, Some("API_KEY_INVALID")) | (401 | 403, _) => {
            failure.reason = format!("{} ({})", failure.reason, failure.class);
            failure.class = "wrong-key".to_owned();
        }
        _ => {}
    }
    Err(failure)
}

/// A duration as protobuf's JSON writes it: `300s`, `41.500s`.
fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(default)]
    full_hashes: Vec<Hash>,
    cache_duration: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hash {
    full_hash: String,
    #[serde(default)]
    full_hash_details: Vec<Detail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    /// A name, or a number that this version has no name for.
    #[serde(default)]
    threat_type: Value,
    #[serde(default)]
    attributes: Vec<Value>,
}

impl Found {
    fn listed(&self) -> Listed {
        let hash = |hash: &Hash| {
            let threats = hash.full_hash_details.iter().filter_map(Detail::threat).collect();
            hashes::decode(&hash.full_hash).map(|full| (full, threats))
        };
        self.full_hashes.iter().filter_map(hash).collect()
    }
}

impl Detail {
    /// The threat, if it is to be enforced. A detail with any value that this version does not
    /// know is dropped as a whole; canaries and lists for frames only do not count for a page.
    fn threat(&self) -> Option<Threat> {
        if !self.attributes.is_empty() {
            return None;
        }
        Threat::of_name(self.threat_type.as_str()?)
    }
}

#[derive(Deserialize)]
struct Matches {
    #[serde(default)]
    matches: Vec<Match>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    #[serde(default)]
    threat_type: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalBody,
}

#[derive(Deserialize)]
struct RefusalBody {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Value>,
}

impl RefusalBody {
    /// The first detail of that name.
    fn detail(&self, name: &str) -> Option<String> {
        self.details.iter().find_map(|detail| detail.get(name)?.as_str()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threats(detail: Value) -> Option<Threat> {
        let detail: Detail = serde_json::from_value(detail).expect("a detail");
        detail.threat()
    }

    #[test]
    fn details_with_unknown_values_canaries_and_frames_are_not_enforced() {
        assert_eq!(threats(json!({ "threatType": "MALWARE" })), Some(Threat::Malware));
        let social = json!({ "threatType": "SOCIAL_ENGINEERING", "attributes": [] });
        assert_eq!(threats(social), Some(Threat::SocialEngineering));
        for detail in [
            json!({ "threatType": "THREAT_TYPE_UNSPECIFIED" }),
            json!({ "threatType": "QUANTUM_WORM" }),
            json!({ "threatType": 9 }),
            json!({}),
            json!({ "threatType": "MALWARE", "attributes": ["CANARY"] }),
            json!({ "threatType": "MALWARE", "attributes": ["FRAME_ONLY"] }),
            json!({ "threatType": "MALWARE", "attributes": ["SOMETHING_NEW"] }),
            json!({ "threatType": "MALWARE", "attributes": [7] }),
        ] {
            assert_eq!(threats(detail.clone()), None, "{detail}");
        }
    }

    #[test]
    fn durations_are_read_as_protobuf_writes_them() {
        assert_eq!(duration("300s"), Some(Duration::from_secs(300)));
        assert_eq!(duration("0.500s"), Some(Duration::from_millis(500)));
        for text in ["300", "s", "-1s", "NaNs", "infs", ""] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn answers_without_hashes_list_nothing() {
        for text in [r#"{}"#, r#"{"fullHashes":[],"cacheDuration":"300s"}"#] {
            let found: Found = serde_json::from_str(text).expect("an answer");
            assert_eq!(found.listed(), Listed::new());
        }
        let odd =
            r#"{"fullHashes":[{"fullHash":"AAAA","fullHashDetails":[{"threatType":"MALWARE"}]}]}"#;
        let found: Found = serde_json::from_str(odd).expect("an answer");
        assert_eq!(found.listed(), Listed::new(), "three bytes are no hash");
    }
}
