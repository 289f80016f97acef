//! What comes in, what goes out, and what is asked of the two services.

use chrono::{DateTime, Utc};
use knarr_saga::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Asks for a scan; starts an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.UrlScan", correlation = "scan_id")]
#[serde(rename_all = "camelCase")]
pub struct SubmitUrl {
    /// The scan; chosen by whoever asks.
    pub scan_id: Uuid,
    /// What to scan.
    pub url: SubmittedUrl,
}

/// Ends a scan without a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.UrlScan", correlation = "scan_id")]
#[serde(rename_all = "camelCase")]
pub struct CancelScan {
    /// The scan.
    pub scan_id: Uuid,
    /// Why, for people.
    pub reason: String,
}

/// A scan is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.UrlScan", correlation = "scan_id")]
#[serde(rename_all = "camelCase")]
pub struct UrlScanned {
    /// The scan.
    pub scan_id: Uuid,
    /// What was scanned, as it was submitted.
    pub url: String,
    /// The verdict over both sources.
    pub verdict: Verdict,
    /// What each service said: first `virus-total`, then `safe-browsing`.
    pub sources: Vec<Source>,
    /// When the verdict was reached.
    pub completed_at: DateTime<Utc>,
}

/// A URL is not scanned, because policy refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(namespace = "Knarr.UrlScan", correlation = "scan_id")]
#[serde(rename_all = "camelCase")]
pub struct UrlScanFailed {
    /// The scan.
    pub scan_id: Uuid,
    /// What was submitted.
    pub url: String,
    /// Why it is not scanned.
    pub reason: String,
}

/// What is thought of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody holds anything against it.
    Clean,
    /// Somebody says that it harms.
    Malicious,
    /// Somebody finds it doubtful, nobody worse.
    Suspicious,
    /// Somebody gave no answer, and nobody holds anything against it.
    Unknown,
}

/// What one service said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `virus-total` or `safe-browsing`.
    pub name: String,
    /// Its verdict; unknown when it gave none.
    pub verdict: Verdict,
    /// In words: what it found, or why there is no answer.
    pub detail: String,
}

/// Asks VirusTotal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Call)]
#[call(output = Finding)]
pub struct AskVirusTotal {
    /// About what.
    pub url: String,
}

/// Asks Safe Browsing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Call)]
#[call(output = Finding)]
pub struct AskSafeBrowsing {
    /// About what.
    pub url: String,
}

/// What a service found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its verdict.
    pub verdict: Verdict,
    /// In words.
    pub detail: String,
}

/// A text that may be a URL: bounded and readable. Whether it is scanned is for the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SubmittedUrl(String);

impl SubmittedUrl {
    /// No longer text is taken, in characters.
    pub const MAX: usize = 8_192;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SubmittedUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.chars().count() > Self::MAX {
            return Err(format!("it is longer than {} characters", Self::MAX));
        }
        if text.chars().any(char::is_control) {
            return Err("it holds control characters".to_owned());
        }
        Ok(SubmittedUrl(text))
    }
}

impl TryFrom<&str> for SubmittedUrl {
    type Error = String;

    fn try_from(text: &str) -> Result<Self, String> {
        SubmittedUrl::try_from(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn names_on_the_wire_are_those_of_the_contract() {
        assert_eq!(SubmitUrl::urn(), "urn:message:Knarr.UrlScan:SubmitUrl");
        assert_eq!(UrlScanned::exchange(), "Knarr.UrlScan:UrlScanned");
        let scanned = UrlScanned {
            scan_id: Uuid::from_u128(7),
            url: "http://a.test/".to_owned(),
            verdict: Verdict::Malicious,
            sources: vec![Source {
                name: "virus-total".to_owned(),
                verdict: Verdict::Unknown,
                detail: "no answer".to_owned(),
            }],
            completed_at: DateTime::from_timestamp(1_767_225_600, 0).expect("a time"),
        };
        let expected = json!({
            "scanId": "00000000-0000-0000-0000-000000000007",
            "url": "http://a.test/",
            "verdict": "malicious",
            "sources": [{ "name": "virus-total", "verdict": "unknown", "detail": "no answer" }],
            "completedAt": "2026-01-01T00:00:00Z"
        });
        assert_eq!(serde_json::to_value(&scanned).expect("JSON"), expected);
        assert_eq!(scanned.conventional_id(), Some(scanned.scan_id));
    }

    #[test]
    fn a_text_too_long_or_with_control_characters_is_no_message() {
        let submit = |url: String| {
            from_value::<SubmitUrl>(json!({ "scanId": Uuid::from_u128(1), "url": url }))
                .map(|submit| submit.url.as_str().len())
                .map_err(|error| error.to_string())
        };
        assert_eq!(submit("ü".repeat(8_192)), Ok(16_384), "characters count, not bytes");
        let long = submit("a".repeat(8_193)).expect_err("too long");
        assert!(long.contains("longer than 8192 characters"), "{long}");
        for text in ["http://a\n", "\u{0}", "a\tb", "\u{7f}", "\u{85}"] {
            assert!(submit(text.to_owned()).is_err_and(|e| e.contains("control")), "{text:?}");
        }
        assert!(from_value::<SubmitUrl>(json!({ "scanId": "seven", "url": "a" })).is_err());
        assert!(from_value::<SubmitUrl>(json!({ "scanId": Uuid::nil() })).is_err());
        assert!(from_value::<CancelScan>(json!({ "scanId": Uuid::from_u128(1) })).is_err());
    }
}
