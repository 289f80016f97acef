//! What can be set, read through a lookup so that flags, environment and files all work.

use std::time::Duration;

use knarr_http::{BaseUrl, Secret};
use knarr_saga::{Quota, days, minutes, parse_duration, seconds};

use crate::quota::parse_quotas;

/// Everything that can be set about url-scan.
#[derive(Clone, Debug)]
pub struct UrlScanSettings {
    /// How VirusTotal is asked.
    pub virus_total: VirusTotalSettings,
    /// How Safe Browsing is asked.
    pub safe_browsing: SafeBrowsingSettings,
    /// How long a scan waits for its services (`URL_SCAN_DEADLINE`, default 30 minutes).
    pub deadline: Duration,
}

/// How VirusTotal is asked.
#[derive(Clone, Debug)]
pub struct VirusTotalSettings {
    /// The API key (`VIRUSTOTAL_API_KEY`). Without one the service is not asked, and the scan
    /// goes on without its answer.
    pub key: Option<Secret>,
    /// Where it lives (`VIRUSTOTAL_URL`).
    pub base: BaseUrl,
    /// How many requests all nodes together may make (`VIRUSTOTAL_QUOTA`, default
    /// `4/min,500/day`); empty is unlimited.
    pub quota: Vec<Quota>,
    /// How long to wait between two looks at an analysis (`VIRUSTOTAL_POLL_INTERVAL`, default 20 s).
    pub poll_interval: Duration,
    /// How old a report may be before the URL is analysed anew (`VIRUSTOTAL_FRESH_FOR`, default
    /// one day).
    pub fresh_for: Duration,
}

/// How Safe Browsing is asked.
#[derive(Clone, Debug)]
pub struct SafeBrowsingSettings {
    /// The API key (`SAFE_BROWSING_API_KEY`). Without one the service is not asked.
    pub key: Option<Secret>,
    /// Where it lives (`SAFE_BROWSING_URL`).
    pub base: BaseUrl,
    /// Which of its interfaces (`SAFE_BROWSING_VERSION`, `v5` by default).
    pub version: SafeBrowsingVersion,
}

/// Safe Browsing's two interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SafeBrowsingVersion {
    /// `hashes:search`: only the first four bytes of hashes leave the house; answers are cached.
    #[default]
    V5,
    /// `threatMatches:find`: the URL itself is sent.
    V4,
}

/// A setting that cannot be used, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct BadSetting {
    /// Its name.
    pub name: &'static str,
    /// What is wrong with it.
    pub why: String,
}

impl Default for UrlScanSettings {
    fn default() -> Self {
        UrlScanSettings {
            virus_total: VirusTotalSettings {
                key: None,
                base: "https://www.virustotal.com".parse().expect("it is a base address"),
                quota: parse_quotas("4/min,500/day").expect("it is a quota"),
                poll_interval: seconds(20),
                fresh_for: days(1),
            },
            safe_browsing: SafeBrowsingSettings {
                key: None,
                base: "https://safebrowsing.googleapis.com".parse().expect("it is a base address"),
                version: SafeBrowsingVersion::V5,
            },
            deadline: minutes(30),
        }
    }
}

impl UrlScanSettings {
    /// Reads the settings. `lookup` gives a setting's text by its name; names that end in
    /// `_FILE` are its business, not ours. Empty texts count as not set.
    ///
    /// ```
    /// use knarr_url_scan::UrlScanSettings;
    /// let set = |name: &str| (name == "URL_SCAN_DEADLINE").then(|| "90".to_owned());
    /// let error = UrlScanSettings::from_lookup(set).unwrap_err();
    /// assert!(error.to_string().starts_with("URL_SCAN_DEADLINE: `90` has no unit"));
    /// ```
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, BadSetting> {
        let reader = Reader(&lookup);
        let mut settings = UrlScanSettings::default();
        let virus_total = &mut settings.virus_total;
        virus_total.key = reader.secret("VIRUSTOTAL_API_KEY")?;
        reader.read("VIRUSTOTAL_URL", &mut virus_total.base, base)?;
        reader.read("VIRUSTOTAL_QUOTA", &mut virus_total.quota, parse_quotas)?;
        reader.read("VIRUSTOTAL_POLL_INTERVAL", &mut virus_total.poll_interval, some_time)?;
        reader.read("VIRUSTOTAL_FRESH_FOR", &mut virus_total.fresh_for, parse_duration)?;
        let safe_browsing = &mut settings.safe_browsing;
        safe_browsing.key = reader.secret("SAFE_BROWSING_API_KEY")?;
        reader.read("SAFE_BROWSING_URL", &mut safe_browsing.base, base)?;
        reader.read("SAFE_BROWSING_VERSION", &mut safe_browsing.version, version)?;
        reader.read("URL_SCAN_DEADLINE", &mut settings.deadline, some_time)?;
        Ok(settings)
    }
}

struct Reader<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn read<T>(
        &self,
        name: &'static str,
        into: &mut T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(), BadSetting> {
        if let Some(text) = self.text(name) {
            *into = parse(&text).map_err(|why| BadSetting { name, why })?;
        }
        Ok(())
    }

    /// A key is sent as a header, so it must be able to stand in one; it is not shown.
    fn secret(&self, name: &'static str) -> Result<Option<Secret>, BadSetting> {
        match self.text(name) {
            Some(text) if !text.chars().all(|c| c.is_ascii_graphic()) => {
                let why = "it holds characters that no key has (blanks, line breaks, letters \
                           beyond ASCII)";
                Err(BadSetting { name, why: why.to_owned() })
            }
            text => Ok(text.map(Secret::new)),
        }
    }
}

fn base(text: &str) -> Result<BaseUrl, String> {
    text.parse().map_err(|error: knarr_http::BadBase| error.to_string())
}

fn some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time at all")),
        duration => Ok(duration),
    }
}

fn version(text: &str) -> Result<SafeBrowsingVersion, String> {
    match text {
        "v5" => Ok(SafeBrowsingVersion::V5),
        "v4" => Ok(SafeBrowsingVersion::V4),
        _ => Err(format!("`{text}` is neither `v5` nor `v4`")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<UrlScanSettings, String> {
        let set: BTreeMap<_, _> = set.iter().copied().collect();
        UrlScanSettings::from_lookup(|name| set.get(name).map(|text| (*text).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let settings = read(&[("VIRUSTOTAL_API_KEY", " ")]).expect("defaults");
        assert_eq!(settings.deadline, minutes(30));
        assert_eq!(settings.virus_total.poll_interval, seconds(20));
        assert_eq!(settings.virus_total.quota.len(), 2);
        assert_eq!(settings.virus_total.key, None);
        assert_eq!(settings.virus_total.base.to_string(), "https://www.virustotal.com");
        let base = settings.safe_browsing.base.to_string();
        assert_eq!(base, "https://safebrowsing.googleapis.com");
    }

    #[test]
    fn everything_can_be_set() {
        let settings = read(&[
            ("VIRUSTOTAL_API_KEY", "vt-key\n"),
            ("VIRUSTOTAL_URL", "http://127.0.0.1:7301"),
            ("VIRUSTOTAL_QUOTA", "unlimited"),
            ("VIRUSTOTAL_POLL_INTERVAL", "200ms"),
            ("VIRUSTOTAL_FRESH_FOR", "0s"),
            ("SAFE_BROWSING_API_KEY", "sb-key"),
            ("SAFE_BROWSING_URL", "http://127.0.0.1:7301/"),
            ("SAFE_BROWSING_VERSION", "v4"),
            ("URL_SCAN_DEADLINE", "8s"),
        ])
        .expect("all good");
        assert_eq!(settings.virus_total.key.as_ref().map(Secret::expose), Some("vt-key"));
        assert!(settings.virus_total.quota.is_empty());
        assert_eq!(settings.virus_total.poll_interval, Duration::from_millis(200));
        assert_eq!(settings.safe_browsing.version, SafeBrowsingVersion::V4);
        assert_eq!(settings.safe_browsing.base.to_string(), "http://127.0.0.1:7301");
        assert_eq!(settings.deadline, seconds(8));
        assert!(!format!("{settings:?}").contains("-key"));
    }

    #[test]
    fn a_wrong_value_is_one_line_that_names_the_setting_and_shows_no_key() {
        for (name, text, why) in [
            ("VIRUSTOTAL_URL", "https://www.virustotal.com/api/v3", "has a path"),
            ("SAFE_BROWSING_URL", "safebrowsing", "no URL"),
            ("VIRUSTOTAL_QUOTA", "many", "no quota"),
            ("VIRUSTOTAL_POLL_INTERVAL", "20", "no unit"),
            ("VIRUSTOTAL_POLL_INTERVAL", "0s", "no time at all"),
            ("VIRUSTOTAL_FRESH_FOR", "a day", "no duration"),
            ("SAFE_BROWSING_VERSION", "v6", "neither"),
            ("URL_SCAN_DEADLINE", "half an hour", "no duration"),
            ("SAFE_BROWSING_API_KEY", "two words", "no key has"),
        ] {
            let error = read(&[(name, text)]).expect_err(name);
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
            assert!(error.contains(why) && error.lines().count() == 1, "{error}");
            assert!(!error.contains("two words"), "{error}");
        }
    }
}
